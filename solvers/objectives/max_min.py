"""Max-min dispersion: the smallest distance between kept tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from ..arrays import Float64Array, frozen
from ..kernels.dispersion import smallest_distance
from ..names import nearest
from ..problem import Problem
from .distances import DISTANCES, distances
from .objective import AbstractObjective


@dataclass
class MaxMinState:
    """Distances [token, token], distance to the nearest kept token [token], those kept, and the value so far."""

    distances: Float64Array
    nearest: Float64Array
    selected: list[int]
    value: float


@dataclass(frozen=True)
class MaxMin(AbstractObjective[MaxMinState]):
    """f(S) = smallest distance between two tokens of S: the max-min diversity problem of DivPrune.

    The distance is (s_ii + s_jj) / 2 - s_ij, for cosines 1 - cos as in DivPrune (Alvar et al., 2025,
    arXiv:2503.02175). A single token is worth its distance to the nearest other token of the problem and the empty set
    0; with these two conventions `Greedy` is DivPrune's farthest-first rule, first pick included. Neither monotone nor
    submodular.

    Parameters
    ----------
    distance
        "cosine" for the distance above, "chord" for sqrt(2 distance), the Euclidean distance of unit features. Both
        have the same optima; only the chord is a metric, for which farthest-first reaches at least half the optimum.
    """

    distance: str = "cosine"
    monotone: ClassVar[bool] = False
    submodular: ClassVar[bool] = False

    def __post_init__(self) -> None:
        nearest(self.distance, DISTANCES, "distance")

    def distances(self, problem: Problem) -> Float64Array:
        """Distances [token, token], float64, read-only, cached on the problem."""
        return distances(problem, self.distance)

    def isolation(self, problem: Problem) -> Float64Array:
        """Distance of each token to the nearest other one [token]; 0 if there is no other."""
        if problem.tokens == 1:
            return np.zeros(1)
        apart = self.distances(problem).copy()
        np.fill_diagonal(apart, np.inf)
        lowest: Float64Array = apart.min(axis=1)
        return lowest

    def value(self, problem: Problem, selected: npt.ArrayLike) -> float:
        chosen = np.array(selected, dtype=np.int64)  # a copy: the loop is compiled for arrays that may be written to
        if chosen.size == 0:
            return 0.0
        if chosen.size == 1:
            return float(self.isolation(problem)[chosen[0]])
        return float(smallest_distance(self.distances(problem), chosen))

    def start(self, problem: Problem) -> MaxMinState:
        isolation = problem.cached(f"isolation {self.distance}", lambda: frozen(self.isolation(problem)))
        return MaxMinState(self.distances(problem), isolation.copy(), [], 0.0)

    def gains(self, state: MaxMinState) -> Float64Array:
        if len(state.selected) < 2:
            gains = state.nearest - state.value
        else:
            gains = np.minimum(state.nearest, state.value) - state.value
        gains[state.selected] = -np.inf
        return gains

    def add(self, state: MaxMinState, token: int) -> MaxMinState:
        if not state.selected:
            state.value, state.nearest = float(state.nearest[token]), state.distances[token].copy()
        else:
            reached = float(state.nearest[token])
            state.value = reached if len(state.selected) == 1 else min(state.value, reached)
            np.minimum(state.nearest, state.distances[token], out=state.nearest)
        state.selected.append(token)
        return state
