"""Saturated coverage: every token is covered by the sum of the kept ones, up to a share of what is possible."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from ..arrays import Float64Array, FloatArray, frozen
from ..kernels.gains import saturated_gains
from ..problem import Problem
from .facility_location import coverage, grid_step, scale_reason
from .objective import AbstractObjective


@dataclass
class SaturatedCoverageState:
    """Coverage matrix, room up to saturation [token], those kept, and the current gains [token]."""

    coverage: FloatArray
    room: Float64Array
    selected: list[int]
    gains: Float64Array


@dataclass(frozen=True)
class SaturatedCoverage(AbstractObjective[SaturatedCoverageState]):
    """f(S) = sum over all tokens i of min(sum over j in S of c_ij, saturation sum over all j of c_ij).

    Lin and Bilmes (2011, ACL, "A class of submodular functions for document summarization"), their coverage term.
    c is max(0, similarity), rounded as in `coverage`, and so is the cap: all sums are exact. Monotone and submodular.

    Parameters
    ----------
    saturation
        Share of its total coverage at which a token is satisfied, in (0, 1]; the default is this package's choice.
        With 1 the function is modular.
    """

    saturation: float = 0.25
    monotone: ClassVar[bool] = True
    submodular: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 < self.saturation <= 1:
            raise ValueError(f"`saturation` must be in (0, 1], got {self.saturation}")

    def supports(self, problem: Problem) -> str | None:
        return scale_reason(problem)

    def caps(self, problem: Problem) -> Float64Array:
        """Coverage at which each token is satisfied [token], float64, a multiple of the grid of `coverage`."""

        def build() -> Float64Array:
            matrix = coverage(problem)
            step = grid_step(matrix)
            return frozen(np.round(self.saturation * matrix.sum(axis=1, dtype=np.float64) / step) * step)

        caps: Float64Array = problem.cached(f"caps {self!r}", build)
        return caps

    def value(self, problem: Problem, selected: npt.ArrayLike) -> float:
        covered = coverage(problem)[np.asarray(selected, dtype=np.int64)].sum(axis=0, dtype=np.float64)
        return float(np.minimum(covered, self.caps(problem)).sum())

    def start(self, problem: Problem) -> SaturatedCoverageState:
        matrix, room = coverage(problem), self.caps(problem).copy()
        gains = np.empty(problem.tokens)
        saturated_gains(matrix, room, gains)
        return SaturatedCoverageState(matrix, room, [], gains)

    def gains(self, state: SaturatedCoverageState) -> Float64Array:
        return state.gains

    def add(self, state: SaturatedCoverageState, token: int) -> SaturatedCoverageState:
        np.maximum(state.room - state.coverage[token], 0.0, out=state.room)
        state.selected.append(token)
        saturated_gains(state.coverage, state.room, state.gains)
        state.gains[state.selected] = -np.inf
        return state
