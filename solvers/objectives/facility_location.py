"""Facility location: how well the kept tokens cover all tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ..arrays import Float64Array, FloatArray, IntArray32, frozen
from ..kernels.coverage import cover, total_gains
from ..problem import Problem
from .objective import AbstractObjective

GRID_BITS = 24
"""Coverage is a multiple of 2**-24 of its scale: the step of float32 just below one."""


SCALES = (1e-30, 1e30)
"""Range of the largest similarity within which that grid fits into float32."""


def coverage(problem: Problem) -> FloatArray:
    """How well token j covers token i, float32 [token, token]: max(0, similarity), on a fixed-point grid.

    Two rules make facility location exact arithmetic instead of floating-point luck:

    * A negative similarity covers nothing, like no kept token at all. This keeps the function normalised, monotone
      and submodular for cosines of any sign.
    * Values are rounded to multiples of 2**-24 of the power of two at or above the largest one. Such numbers fit into
      float32, and their sums and differences are exact in float64 up to 2**29 tokens. So gains, values and bounds
      do not depend on the order of summation, on the number of threads or on the batch size, and equal tokens tie
      exactly. The rounding moves a cosine by at most 3e-8, less than float32 features do.
    """

    def build() -> FloatArray:
        step = np.float32(grid_step(problem.similarity))
        return frozen(coverage_steps(problem).astype(np.float32) * step)  # up to 2**24 powers of two: exact

    matrix: FloatArray = problem.cached("coverage", build)
    return matrix


def coverage_steps(problem: Problem) -> IntArray32:
    """`coverage` counted in steps of its grid, int32 [token, token], in [0, 2**24]."""

    def build() -> IntArray32:
        steps = np.rint(np.maximum(problem.similarity, 0.0) / grid_step(problem.similarity)).astype(np.int32)
        return frozen(steps)

    counted: IntArray32 = problem.cached("coverage steps", build)
    return counted


def grid_step(values: npt.NDArray[np.floating[Any]]) -> float:
    """Distance of neighbouring fixed-point numbers for `values`, a power of two."""
    largest = float(values.max())
    return float(2.0 ** (np.ceil(np.log2(largest)) - GRID_BITS)) if largest > 0 else 1.0


def scale_reason(problem: Problem) -> str | None:
    """None if `coverage` is defined on `problem`, else a sentence with the reason."""
    largest = problem.cached("largest similarity", lambda: float(problem.similarity.max()))
    if largest > 0 and not SCALES[0] <= largest <= SCALES[1]:
        return f"the largest similarity must lie in [{SCALES[0]:g}, {SCALES[1]:g}], got {largest:g}"
    return None


@dataclass
class FacilityLocationState:
    """Coverage matrix, the best coverage so far [token], and the current gains [token]."""

    coverage: FloatArray
    best: FloatArray
    gains: Float64Array


@dataclass(frozen=True)
class FacilityLocation(AbstractObjective[FacilityLocationState]):
    """f(S) = sum over all tokens i of max(0, max over j in S of similarity(i, j)): the p-median problem, maximised.

    Monotone and submodular for every similarity. See `coverage` for negative similarities and rounding; the largest
    similarity must lie in [1e-30, 1e30], or be at most 0.
    """

    monotone: ClassVar[bool] = True
    submodular: ClassVar[bool] = True

    def supports(self, problem: Problem) -> str | None:
        return scale_reason(problem)

    def value(self, problem: Problem, selected: npt.ArrayLike) -> float:
        rows = coverage(problem)[np.asarray(selected, dtype=np.int64)]
        return float(rows.max(axis=0, initial=0.0).astype(np.float64).sum())

    def start(self, problem: Problem) -> FacilityLocationState:
        matrix = coverage(problem)
        gains = problem.cached("coverage totals", lambda: frozen(total_gains(matrix)))
        return FacilityLocationState(matrix, np.zeros(problem.tokens, dtype=np.float32), gains.copy())

    def gains(self, state: FacilityLocationState) -> Float64Array:
        return state.gains

    def add(self, state: FacilityLocationState, token: int) -> FacilityLocationState:
        cover(state.coverage, state.best, state.gains, token)
        state.gains[token] = -np.inf
        return state
