"""Determinantal point processes: the most probable set by greedy inference, and exact samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .arrays import Float64Array, IntArray
from .constraints import AbstractConstraint, Cardinality, Forced, IndependenceSystem, Partition
from .feature_space import directions, lacks_directions
from .greedy import constrained_greedy
from .kernels.determinant import greedy_map, log_elementary_symmetric
from .kernels.lazy import lazy_greedy_map
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
    from_features
        Whether to work on the features and never form the kernel [token, token].
    """

    kernel: LogDet | None = None
    from_features: bool = False

    def _kernel_of(self, objective: AbstractObjective[Any]) -> LogDet:
        if self.kernel is not None:
            return self.kernel
        return objective if isinstance(objective, LogDet) else LogDet()

    def _supports(self, problem: Problem, objective: AbstractObjective[Any]) -> str | None:
        reason = self._kernel_of(objective).supports(problem)
        return reason or (lacks_directions(problem) if self.from_features else None)


@dataclass(frozen=True)
class DppMap(_DppSolver):
    """Fast greedy MAP inference (Chen, Zhang and Zhou, 2018, arXiv:1709.05135, Algorithm 1), O(n k^2).

    The same picks as `Greedy` under `LogDet`, in one fused loop. Deviations: exactly k tokens are taken, also when
    gains turn negative; conditional variances stay at or above the kernel's ridge; ties go to the lowest index. Under a
    partition or forced tokens it takes the best token still allowed, after those that must stay.

    MAP local search is `LocalSearch(start=DppMap())` under `LogDet`: swaps from here until none raises the determinant.

    Parameters
    ----------
    kernel
        The kernel to choose by; None means the objective if it is a `LogDet`, else `LogDet()`.
    from_features
        Whether to work on the features and never form the kernel: a variance is brought up to date only while it could
        be the largest (lazy and fast greedy, Hemmi et al., 2022, arXiv:2206.05947), which takes a part of n k cosines
        instead of all n^2; `evaluations` counts them. It needs metric="cosine" and no constraint. The picks are the
        same up to gains that agree to the rounding of a cosine, about 1e-13 divided by the conditional variance: equal
        tokens tie exactly here too.
    """

    constraints: ClassVar[tuple[type[AbstractConstraint], ...]] = (Cardinality, Partition, Forced)

    def _supports(self, problem: Problem, objective: AbstractObjective[Any]) -> str | None:
        if self.from_features and type(problem.constraint) is not Cardinality:
            return f"`from_features` selects under Cardinality only, got the constraint {problem.constraint!r}"
        return super()._supports(problem, objective)

    def _prepare(self, problem: Problem, objective: AbstractObjective[Any]) -> None:
        if not self.from_features:
            self._kernel_of(objective).kernel(problem)

    def _solve(
        self, problem: Problem, objective: AbstractObjective[Any], rng: np.random.Generator, time_limit: float | None
    ) -> Outcome:
        chosen_by, rule = self._kernel_of(objective), problem.constraint
        if self.from_features:
            quality = chosen_by.quality(problem)
            picks, cosines = lazy_greedy_map(*directions(problem), quality, chosen_by.ridge, problem.budget)
            return Outcome(picks, evaluations=cosines)
        if type(rule) is Cardinality:
            picks = greedy_map(chosen_by.kernel(problem), chosen_by.floor(problem), problem.budget)
        else:
            assert isinstance(rule, IndependenceSystem)
            picks = constrained_greedy(problem, chosen_by, rule)
        return Outcome(picks, evaluations=problem.tokens * problem.budget)


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
    from_features
        Whether to take the spectrum from the features: for unit rows X the eigenvectors of X X^T + ridge I outside the
        null space follow from those of X^T X [dim, dim] (the dual representation, section 3.3 there), and all others
        have the eigenvalue `ridge`. Any orthonormal vectors of the null space serve for these, so as many as the sample
        asks for are drawn uniformly. It needs metric="cosine" and a kernel without quality (with one, the ridge is no
        multiple of the identity), and pays where dim < n. The distribution is that of the kernel; the sample of a seed
        is another one.
    """

    deterministic: ClassVar[bool] = False

    def _supports(self, problem: Problem, objective: AbstractObjective[Any]) -> str | None:
        chosen_by = self._kernel_of(objective)
        if self.from_features and chosen_by.signal is not None:
            return f"`from_features` samples from kernels without a quality only, got {chosen_by.name}"
        return super()._supports(problem, objective)

    def _prepare(self, problem: Problem, objective: AbstractObjective[Any]) -> None:
        self._spectrum(problem, objective)

    def _spectrum(self, problem: Problem, objective: AbstractObjective[Any]) -> tuple[Float64Array, Float64Array]:
        """Logarithms of all eigenvalues [token], and the eigenvectors of the last of them [token, last]."""
        chosen_by = self._kernel_of(objective)

        def decompose() -> tuple[Float64Array, Float64Array]:
            if self.from_features:
                return _dual_spectrum(problem, chosen_by.ridge)
            values, vectors = np.linalg.eigh(chosen_by.kernel(problem))
            # The ridge bounds the spectrum from below; only rounding can take an eigenvalue under it.
            return np.log(np.maximum(values, chosen_by.floor(problem).min())), vectors

        source = "dual spectrum" if self.from_features else "spectrum"
        spectrum: tuple[Float64Array, Float64Array] = problem.cached(f"{source} {chosen_by!r}", decompose)
        return spectrum

    def _solve(
        self, problem: Problem, objective: AbstractObjective[Any], rng: np.random.Generator, time_limit: float | None
    ) -> Outcome:
        log_values, vectors = self._spectrum(problem, objective)
        columns = _sample_eigenvectors(log_values, problem.budget, rng) - (problem.tokens - vectors.shape[1])
        basis = vectors[:, columns[columns >= 0]]
        in_null_space = problem.budget - basis.shape[1]
        if in_null_space:
            basis = np.hstack([basis, _orthogonal_to(vectors, in_null_space, rng)])
        return Outcome(_sample_projection(basis, rng))


def _dual_spectrum(problem: Problem, ridge: float) -> tuple[Float64Array, Float64Array]:
    """Logarithms of the eigenvalues of X X^T + ridge I [token] for unit rows X, and its eigenvectors [token, rank]."""
    rows, scale = directions(problem)
    unit = rows * scale[:, None]
    values, vectors = np.linalg.eigh(unit.T @ unit)
    # Below this an eigenvalue is rounding, and its vector would not be orthogonal to the others.
    spanning = values > max(unit.shape) * np.finfo(np.float64).eps * values[-1]
    values = values[spanning]
    null_space = np.full(problem.tokens - values.size, ridge)
    return np.log(np.concatenate([null_space, values + ridge])), unit @ (vectors[:, spanning] / np.sqrt(values))


def _orthogonal_to(vectors: Float64Array, count: int, rng: np.random.Generator) -> Float64Array:
    """Orthonormal columns [token, count], uniform in the complement of the orthonormal `vectors` [token, ...]."""
    drawn = rng.normal(size=(vectors.shape[0], count))
    for _ in range(2):  # once is not orthogonal to the last digit
        drawn -= vectors @ (vectors.T @ drawn)
    columns: Float64Array = np.linalg.qr(drawn)[0]
    return columns


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
