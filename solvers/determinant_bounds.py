"""Upper bounds on the log-determinant of any k rows and columns of a kernel."""

from __future__ import annotations

import math
import time
from typing import NamedTuple

import numpy as np

from .arrays import Float64Array
from .objectives.log_det import KernelLogDet
from .problem import Problem
from .solution import Bound

EPS = float(np.finfo(np.float64).eps)
WORST_ROUNDING = 1e-3
"""Largest relative rounding error of an eigenvalue with which the factorisation bound is still claimed."""


def spectral(problem: Problem, objective: KernelLogDet) -> Bound:
    """Sum of the k largest log eigenvalues of the kernel (Ko, Lee and Queyranne, 1995), by interlacing."""
    values = np.linalg.eigvalsh(objective.kernel(problem))
    # A computed eigenvalue is off by at most about n eps times the largest one, which matters near the ridge.
    slack = problem.tokens * EPS * values[-1]
    return Bound(math.fsum(np.log(np.maximum(values[-problem.budget :], 0.0) + slack)), "spectral")


def hadamard(problem: Problem, objective: KernelLogDet) -> Bound:
    """Sum of the k largest log diagonal entries: a determinant is at most the product of its diagonal."""
    diagonal = np.sort(np.diag(objective.kernel(problem)))[-problem.budget :]
    return Bound(math.fsum(np.log(diagonal)), "Hadamard")


def factorisation(
    problem: Problem, objective: KernelLogDet, *, iterations: int = 16, deadline: float = math.inf
) -> Bound:
    """Factorisation bound of maximum-entropy sampling (Nikolov, 2015; Li and Xie, 2020, arXiv:2001.08537, Section 2).

    For weights x in [0, 1] with sum k, the concave function phi(x) = Gamma_k(spectrum of diag(x)^1/2 L diag(x)^1/2)
    equals log det L_S at the indicator of S. Its tangent at any x lies above it, so phi(x) + max over S of
    gradient . (1_S - x) bounds every selection. Multiplicative steps x <- x gradient^3, rescaled, tighten it.

    Parameters
    ----------
    problem, objective
        What is to be bounded.
    iterations
        Number of weights tried; each costs one partial eigendecomposition [token, token].
    deadline
        Moment of `time.perf_counter` after which no further weights are tried.

    Notes
    -----
    Where rounding drowns the smallest eigenvalues that count (a quality over many orders of magnitude and a budget that
    reaches its lower end), no bound is claimed: the value is inf.
    """
    kernel, k = objective.kernel(problem), problem.budget
    weights = np.full(problem.tokens, k / problem.tokens)
    best = math.inf
    for _ in range(iterations):
        tangent = _tangent(kernel, weights, k)
        if tangent is None:
            break
        reach = math.fsum(np.sort(tangent.gradient)[-k:]) - float(tangent.gradient @ weights)
        best = min(best, tangent.value + tangent.slack + reach)
        if best - tangent.value < 1e-4 * max(1.0, abs(best)) or time.perf_counter() > deadline:
            break
        weights = capped(weights * tangent.gradient**3, k)
    return Bound(best, "factorisation")


class _Tangent(NamedTuple):
    value: float
    gradient: Float64Array
    slack: float
    """Bound on the rounding error of `value`: that of the smallest eigenvalue, in each of k logarithms."""


def _tangent(kernel: Float64Array, weights: Float64Array, k: int) -> _Tangent | None:
    """Gamma_k of the weighted kernel and its gradient [token], or None if rounding could be larger than either.

    Gamma_k keeps the `large` leading eigenvalues and replaces the rest by k - large copies of their sum over k - large,
    where `large` is the smallest number for which that mean is at least the next eigenvalue.
    """
    n = len(weights)
    root = np.sqrt(weights)
    weighted = root[:, None] * kernel * root
    trace = float(np.trace(weighted))
    values, vectors = leading(weighted, k)
    means = (trace - np.concatenate([[0.0], np.cumsum(values)[:-1]])) / np.arange(k, 0, -1)
    fits = means >= values
    fits[-1] = True  # true in exact arithmetic, where the sum of the rest contains the k-th value
    large = int(np.argmax(fits))
    tail = float(max(means[large], values[large]))
    # Eigenvalues are off by about n eps trace at most.
    rounding = n * EPS * trace
    if rounding > WORST_ROUNDING * tail:
        return None
    value = math.fsum(np.log(values[:large])) + (k - large) * math.log(tail)
    loading = (kernel @ (root[:, None] * vectors[:, :large])) ** 2 / values[:large]
    gradient = np.maximum(np.diag(kernel) / tail + loading @ (1.0 / values[:large] - 1.0 / tail), 0.0)
    return _Tangent(value, gradient, k * rounding / tail)


def leading(matrix: Float64Array, size: int) -> tuple[Float64Array, Float64Array]:
    """The `size` largest eigenvalues, descending, and their eigenvectors [row, size] of a symmetric matrix."""
    from scipy.linalg import eigh  # a third of a second to import

    n = len(matrix)
    try:
        values, vectors = eigh(matrix, subset_by_index=[n - size, n - 1], check_finite=False)
    except np.linalg.LinAlgError:  # LAPACK's partial solver gives up on some clustered spectra, as of equal tokens
        values, vectors = np.linalg.eigh(matrix)
        values, vectors = values[n - size :], vectors[:, n - size :]
    return values[::-1], vectors[:, ::-1]


def capped(weights: Float64Array, k: int) -> Float64Array:
    """Non-negative `weights` scaled to sum k, with none above one; even ones where fewer than k are positive."""
    order = np.sort(weights)[::-1]
    remaining = np.cumsum(order[::-1])[::-1]
    for full in range(k):
        if remaining[full] <= 0:
            break
        scale = (k - full) / remaining[full]
        if scale * order[full] <= 1.0:
            result: Float64Array = np.minimum(weights * scale, 1.0)
            return result
    return np.full(len(weights), k / len(weights))
