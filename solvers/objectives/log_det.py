"""Log-determinant: the volume that the kept tokens span, as in determinantal point processes."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from ..arrays import Float64Array, frozen
from ..kernels.determinant import extend_cholesky
from ..problem import Problem
from .objective import AbstractObjective

QUALITIES = (1e-100, 1e100)
"""Range of a quality, within which its square times the ridge stays a normal float64."""


@dataclass
class LogDetState:
    """Kernel [token, token], rows of the Cholesky factor [pick, token], conditional variances and gains [token]."""

    kernel: Float64Array
    rows: Float64Array
    variances: Float64Array
    floor: Float64Array
    gains: Float64Array
    count: int


@dataclass(frozen=True)
class KernelLogDet(AbstractObjective[LogDetState]):
    """f(S) = log det of a positive definite kernel restricted to S; gains by incremental Cholesky factorisation."""

    @abstractmethod
    def kernel(self, problem: Problem) -> Float64Array:
        """Kernel [token, token], float64, read-only, cached on the problem."""

    @abstractmethod
    def floor(self, problem: Problem) -> Float64Array:
        """Lower bound on the conditional variance of each token in exact arithmetic [token]."""

    def start(self, problem: Problem) -> LogDetState:
        kernel = self.kernel(problem)
        variances = np.diag(kernel).copy()
        # Rows are touched only as they are filled, so the square buffer costs what the picks need.
        rows = np.empty_like(kernel)
        return LogDetState(kernel, rows, variances, self.floor(problem), np.log(variances), 0)

    def gains(self, state: LogDetState) -> Float64Array:
        return state.gains

    def add(self, state: LogDetState, token: int) -> LogDetState:
        extend_cholesky(state.kernel, state.rows, state.variances, state.floor, state.count, token)
        state.count += 1
        selected = np.isneginf(state.gains)
        state.gains = np.log(state.variances)
        state.gains[selected] = -np.inf
        state.gains[token] = -np.inf
        return state


@dataclass(frozen=True)
class LogDet(KernelLogDet):
    """f(S) = log det of L restricted to S, with L = diag(q) (similarity + ridge I) diag(q); f of the empty set is 0.

    With a quality signal q this is the conditional DPP of CDPruner (Zhang et al., 2025, arXiv:2506.10967): relevance
    times diversity. Submodular; not monotone in general, since a unit diagonal makes every gain at most log(1 + ridge).

    Parameters
    ----------
    signal
        Name of a positive per-token signal q in [1e-100, 1e100], or None for q = 1.
    ridge
        Added to the diagonal of the similarity, > 0. Deviation from the papers: it makes the determinant of duplicate
        tokens ridge-small instead of zero, so every selection has a finite value.
    """

    signal: str | None = None
    ridge: float = 1e-6
    monotone: ClassVar[bool] = False
    submodular: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not (math.isfinite(self.ridge) and self.ridge >= 1e-9):
            raise ValueError(f"`ridge` must be finite and at least 1e-9, got {self.ridge}")

    def supports(self, problem: Problem) -> str | None:
        if self.signal is not None:
            missing = problem.lacks(self.signal)
            if missing is not None:
                return missing
            lowest = float(problem.signal(self.signal).min())
            if lowest <= 0:
                return f"signal {self.signal!r} must be positive to be a quality, got a minimum of {lowest:.6g}"
            highest = float(problem.signal(self.signal).max())
            if lowest < QUALITIES[0] or highest > QUALITIES[1]:
                return (
                    f"signal {self.signal!r} must lie in [{QUALITIES[0]:g}, {QUALITIES[1]:g}] to be a quality, "
                    f"got [{lowest:.6g}, {highest:.6g}]"
                )
        if self._least_eigenvalue(problem) <= 0:
            return f"the similarity must be positive semidefinite (up to ridge {self.ridge:g}) for a log-determinant"
        return None

    def _least_eigenvalue(self, problem: Problem) -> float:
        """Lower bound, at most the ridge, on the eigenvalues of similarity + ridge I; not positive if in doubt."""
        if problem.features is not None and problem.metric == "cosine":
            return self.ridge  # a Gram matrix of unit rows, rounded far below the smallest ridge
        low, high = problem.cached("similarity spectrum", lambda: np.linalg.eigvalsh(problem.similarity)[[0, -1]])
        rounding = problem.tokens * np.finfo(np.float64).eps * max(abs(low), abs(high))
        return min(self.ridge, float(low - rounding) + self.ridge)

    def _ridged(self, problem: Problem) -> Float64Array:
        return problem.similarity + self.ridge * np.eye(problem.tokens)

    def quality(self, problem: Problem) -> Float64Array:
        """q [token], float64; ones without a signal."""
        if self.signal is None:
            return np.ones(problem.tokens)
        return problem.signal(self.signal).astype(np.float64)

    def kernel(self, problem: Problem) -> Float64Array:
        """L [token, token], float64, read-only, cached on the problem."""
        q = self.quality(problem)
        build = lambda: frozen(q[:, None] * self._ridged(problem) * q)  # noqa: E731
        matrix: Float64Array = problem.cached(f"kernel {self!r}", build)
        return matrix

    def floor(self, problem: Problem) -> Float64Array:
        """Lower bound on the conditional variance of each token in exact arithmetic [token].

        q^2 times the least eigenvalue of similarity + ridge I, which is the ridge where the similarity is semidefinite.
        """
        return self._least_eigenvalue(problem) * self.quality(problem) ** 2

    def value(self, problem: Problem, selected: npt.ArrayLike) -> float:
        # Sorted, so that rounding does not depend on the order of the set.
        chosen = np.sort(np.asarray(selected, dtype=np.int64))
        kept = problem.similarity[chosen[:, None], chosen]
        kept[np.diag_indices(chosen.size)] += self.ridge
        logs = np.log(np.diag(np.linalg.cholesky(kept)))
        if self.signal is None:
            return 2.0 * math.fsum(logs.tolist())
        # The quality is a factor of its own: inside, a wide range of it would cost the digits of the rest.
        return 2.0 * math.fsum([*logs.tolist(), *np.log(self.quality(problem)[chosen]).tolist()])
