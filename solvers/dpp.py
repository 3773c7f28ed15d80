"""Determinantal point processes: the most probable set by greedy inference, and exact samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .arrays import Float64Array, IntArray
from .kernels.determinant import greedy_map, log_elementary_symmetric
from .objectives.log_det import LogDet
from .objectives.objective import AbstractObjective
from .problem import Problem
from .solver import AbstractSolver, Outcome


@dataclass(frozen=True)
class _DppSolver(AbstractSolver):
    """Shared frame of the solvers that choose by a DPP kernel, whatever they are scored by.

    Parameters
    ----------
    kernel
        The kernel to choose by; None means the objective if it is a `LogDet`, else `LogDet()`.
    """

    kernel: LogDet | None = None

    def _kernel_of(self, objective: AbstractObjective[Any]) -> LogDet:
        if self.kernel is not None:
            return self.kernel
        return objective if isinstance(objective, LogDet) else LogDet()

    def _supports(self, problem: Problem, objective: AbstractObjective[Any]) -> str | None:
        return self._kernel_of(objective).supports(problem)

    def _prepare(self, problem: Problem, objective: AbstractObjective[Any]) -> None:
        self._kernel_of(objective).kernel(problem)


@dataclass(frozen=True)
class DppMap(_DppSolver):
    """Fast greedy MAP inference (Chen, Zhang and Zhou, 2018, arXiv:1709.05135, Algorithm 1), O(n k^2).

    The same picks as `Greedy` under `LogDet`, in one fused loop. Deviations: exactly k tokens are taken, also when
    gains turn negative; conditional variances stay at or above the kernel's ridge; ties go to the lowest index.

    Parameters
    ----------
    kernel
        The kernel to choose by; None means the objective if it is a `LogDet`, else `LogDet()`.
    """

    def _solve(
        self, problem: Problem, objective: AbstractObjective[Any], rng: np.random.Generator, time_limit: float | None
    ) -> Outcome:
        chosen_by = self._kernel_of(objective)
        selected = greedy_map(chosen_by.kernel(problem), chosen_by.floor(problem), problem.budget)
        return Outcome(selected, evaluations=problem.tokens * problem.budget)


@dataclass(frozen=True)
class KDpp(_DppSolver):
    """One exact sample of the k-DPP: P(S) proportional to det L_S over all S of k tokens.

    Kulesza and Taskar, 2012, arXiv:1207.6083, Algorithm 8 (which eigenvectors) and the projection DPP of Algorithm 1
    (which tokens). Elementary symmetric polynomials are kept in log space and the projection step is an incremental
    Cholesky factorisation, so neither 64 of 576 tokens nor a determinant of 1e-70 is a numerical problem. Exact up to
    the rounding of the eigenvalues, about n 2e-16 of the largest: with a quality over more than some seven orders of
    magnitude, tokens at its lower end are drawn too often or too rarely.

    Parameters
    ----------
    kernel
        The kernel to sample from; None means the objective if it is a `LogDet`, else `LogDet()`.
    """

    deterministic: ClassVar[bool] = False

    def _prepare(self, problem: Problem, objective: AbstractObjective[Any]) -> None:
        self._spectrum(problem, objective)

    def _spectrum(self, problem: Problem, objective: AbstractObjective[Any]) -> tuple[Float64Array, Float64Array]:
        chosen_by = self._kernel_of(objective)

        def decompose() -> tuple[Float64Array, Float64Array]:
            values, vectors = np.linalg.eigh(chosen_by.kernel(problem))
            # The ridge bounds the spectrum from below; only rounding can take an eigenvalue under it.
            return np.log(np.maximum(values, chosen_by.floor(problem).min())), vectors

        spectrum: tuple[Float64Array, Float64Array] = problem.cached(f"spectrum {chosen_by!r}", decompose)
        return spectrum

    def _solve(
        self, problem: Problem, objective: AbstractObjective[Any], rng: np.random.Generator, time_limit: float | None
    ) -> Outcome:
        log_values, vectors = self._spectrum(problem, objective)
        columns = _sample_eigenvectors(log_values, problem.budget, rng)
        return Outcome(_sample_projection(vectors[:, columns], rng))


def _sample_eigenvectors(log_values: Float64Array, budget: int, rng: np.random.Generator) -> IntArray:
    """Columns [budget] of an elementary DPP, drawn with probability proportional to the product of eigenvalues."""
    table = log_elementary_symmetric(log_values, budget)
    columns: list[int] = []
    for m in range(len(log_values), 0, -1):
        missing = budget - len(columns)
        if missing == 0:
            break
        keep = np.exp(log_values[m - 1] + table[m - 1, missing - 1] - table[m, missing])
        if missing == m or rng.random() < keep:
            columns.append(m - 1)
    return np.array(columns, dtype=np.int64)


def _sample_projection(basis: Float64Array, rng: np.random.Generator) -> IntArray:
    """Tokens [k] of the projection DPP whose kernel is basis @ basis.T, for orthonormal columns [token, k]."""
    tokens, budget = basis.shape
    rows = np.empty((budget, tokens))
    variances = np.einsum("ij,ij->i", basis, basis)
    selected = np.empty(budget, dtype=np.int64)
    for pick in range(budget):
        variances[selected[:pick]] = 0.0
        cumulative = np.cumsum(np.maximum(variances, 0.0))
        # "right" skips tokens of zero probability, also for a draw of exactly 0.
        token = int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"))
        selected[pick] = token
        row = basis @ basis[token] - rows[:pick, token] @ rows[:pick]
        rows[pick] = row / np.sqrt(variances[token])
        variances -= rows[pick] ** 2
    return selected
