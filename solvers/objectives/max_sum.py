"""Max-sum dispersion: the sum of distances between kept tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..arrays import Float64Array
from ..names import nearest
from ..problem import Problem
from .distances import DISTANCES, distances
from .pairwise import PairwiseObjective


@dataclass(frozen=True)
class MaxSum(PairwiseObjective):
    """f(S) = sum over pairs of S of their distance: the max-sum dispersion problem.

    Monotone; not submodular, since a token gains from every further one. A single token is worth nothing, so that
    `Greedy` takes token 0 first.

    Parameters
    ----------
    distance
        "cosine" for (s_ii + s_jj) / 2 - s_ij, for cosines 1 - cos; "chord" for the square root of twice that, the
        Euclidean distance of unit features. Unlike for `MaxMin`, their optima differ.
    """

    distance: str = "cosine"
    monotone: ClassVar[bool] = True
    submodular: ClassVar[bool] = False

    def __post_init__(self) -> None:
        nearest(self.distance, DISTANCES, "distance")

    def linear(self, problem: Problem) -> Float64Array:
        return np.zeros(problem.tokens)

    def pairs(self, problem: Problem) -> Float64Array:
        return distances(problem, self.distance)
