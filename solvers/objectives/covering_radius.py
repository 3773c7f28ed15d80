"""Covering radius: how far the worst covered token is from the nearest kept one (k-center)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from ..arrays import Float64Array
from ..kernels.gains import covering_radii
from ..names import nearest
from ..problem import Problem
from .distances import DISTANCES, distances
from .objective import AbstractObjective


@dataclass
class CoveringRadiusState:
    """Distances [token, token], distance to the nearest kept token [token], those kept, and the gains [token]."""

    distances: Float64Array
    nearest: Float64Array
    selected: list[int]
    gains: Float64Array


@dataclass(frozen=True)
class CoveringRadius(AbstractObjective[CoveringRadiusState]):
    """f(S) = largest distance of the problem - max over all tokens of the distance to the nearest token of S.

    The k-center problem, turned into a maximum that is 0 for the empty set: the radius is the Hausdorff distance of
    all tokens to the kept ones, by which MoB (2025, arXiv:2505.10118) bounds its error. Deviation from MoB: it shares
    the budget between a covering of the image and one of the prompt; this is the covering of the image. Monotone, not
    submodular.

    Parameters
    ----------
    distance
        "cosine" for (s_ii + s_jj) / 2 - s_ij, for cosines 1 - cos; "chord" for the square root of twice that, the
        Euclidean distance of unit features. Both have the same optima.
    """

    distance: str = "cosine"
    monotone: ClassVar[bool] = True
    submodular: ClassVar[bool] = False

    def __post_init__(self) -> None:
        nearest(self.distance, DISTANCES, "distance")

    def distances(self, problem: Problem) -> Float64Array:
        """Distances [token, token], float64, read-only, cached on the problem."""
        return distances(problem, self.distance)

    def reach(self, problem: Problem) -> float:
        """Largest distance between two tokens, the radius that the empty set stands for."""
        return float(problem.cached(f"reach {self.distance}", lambda: self.distances(problem).max()))

    def value(self, problem: Problem, selected: npt.ArrayLike) -> float:
        chosen = np.asarray(selected, dtype=np.int64)
        if chosen.size == 0:
            return 0.0
        return self.reach(problem) - float(self.distances(problem)[chosen].min(axis=0).max())

    def start(self, problem: Problem) -> CoveringRadiusState:
        apart, reach = self.distances(problem), self.reach(problem)
        return CoveringRadiusState(apart, np.full(problem.tokens, reach), [], reach - apart.max(axis=0))

    def gains(self, state: CoveringRadiusState) -> Float64Array:
        return state.gains

    def add(self, state: CoveringRadiusState, token: int) -> CoveringRadiusState:
        np.minimum(state.nearest, state.distances[token], out=state.nearest)
        state.selected.append(token)
        covering_radii(state.distances, state.nearest, state.gains)
        np.subtract(state.nearest.max(), state.gains, out=state.gains)
        state.gains[state.selected] = -np.inf
        return state
