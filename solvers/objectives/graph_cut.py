"""Graph cut: how similar the kept tokens are to all tokens, less how similar they are to one another."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..arrays import Float64Array, frozen
from ..problem import Problem
from .facility_location import coverage, scale_reason
from .pairwise import PairwiseObjective


@dataclass(frozen=True)
class GraphCut(PairwiseObjective):
    """f(S) = sum over i, and j in S, of c_ij, less redundancy times the sum over i and j in S of c_ij.

    c is max(0, similarity), rounded as in `coverage`. With redundancy 1 this is the weight of the cut between kept and
    dropped tokens. Submodular; monotone up to a redundancy of 1/2, and not declared so above.

    Parameters
    ----------
    redundancy
        Weight of the similarity among kept tokens, finite and at least 0. The default is the largest one for which
        every problem is monotone.
    """

    redundancy: float = 0.5
    monotone: ClassVar[bool] = False
    submodular: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not (math.isfinite(self.redundancy) and self.redundancy >= 0):
            raise ValueError(f"`redundancy` must be finite and at least 0, got {self.redundancy}")
        # A fact of the instance: adding j loses at most redundancy times (c_jj + 2 sum over S), and gains the row sum.
        object.__setattr__(self, "monotone", self.redundancy <= 0.5)

    def supports(self, problem: Problem) -> str | None:
        return scale_reason(problem)

    def linear(self, problem: Problem) -> Float64Array:
        similar = coverage(problem)

        def build() -> Float64Array:
            return frozen(similar.sum(axis=0, dtype=np.float64) - self.redundancy * np.diag(similar))

        linear: Float64Array = problem.cached(f"linear {self!r}", build)
        return linear

    def pairs(self, problem: Problem) -> Float64Array:
        def build() -> Float64Array:
            pairs = -2.0 * self.redundancy * coverage(problem).astype(np.float64)
            np.fill_diagonal(pairs, 0.0)
            return frozen(pairs)

        pairs: Float64Array = problem.cached(f"pairs {self!r}", build)
        return pairs
