"""Fused loops of determinants over a positive definite kernel, float64 [token, token]."""

from __future__ import annotations

import numpy as np

from ..arrays import Float64Array, IntArray
from .jit import fused


@fused
def extend_cholesky(
    kernel: Float64Array, rows: Float64Array, variances: Float64Array, floor: Float64Array, count: int, token: int
) -> None:
    """Condition on `token`, in place: write row `count` of the Cholesky factor and lower the variances [token].

    No variance falls below `floor` [token], its limit in exact arithmetic, whatever rounding does.
    """
    n = kernel.shape[0]
    row = rows[count]
    for i in range(n):
        row[i] = kernel[token, i]
    for earlier in range(count):
        weight = rows[earlier, token]
        for i in range(n):
            row[i] -= weight * rows[earlier, i]
    scale = 1.0 / np.sqrt(variances[token])
    for i in range(n):
        row[i] *= scale
        variances[i] = max(variances[i] - row[i] * row[i], floor[i])


@fused
def greedy_map(kernel: Float64Array, floor: Float64Array, budget: int) -> IntArray:
    """Tokens [budget] of greedy MAP inference, in pick order; ties go to the lowest index."""
    n = kernel.shape[0]
    rows = np.empty((budget, n))
    variances = np.empty(n)
    for i in range(n):
        variances[i] = kernel[i, i]
    taken = np.zeros(n, np.bool_)
    selected = np.empty(budget, np.int64)
    for pick in range(budget):
        token = -1
        for i in range(n):
            if not taken[i] and (token < 0 or variances[i] > variances[token]):
                token = i
        extend_cholesky(kernel, rows, variances, floor, pick, token)
        taken[token] = True
        selected[pick] = token
    return selected


@fused
def log_elementary_symmetric(log_values: Float64Array, degree: int) -> Float64Array:
    """log e_l(first m values), float64 [m = 0..n, l = 0..degree], by the usual recursion in log space."""
    n = len(log_values)
    table = np.full((n + 1, degree + 1), -np.inf)
    table[:, 0] = 0.0
    for m in range(1, n + 1):
        for size in range(1, min(m, degree) + 1):
            without = table[m - 1, size]
            having = table[m - 1, size - 1] + log_values[m - 1]
            high = max(without, having)
            if high > -np.inf:
                table[m, size] = high + np.log(np.exp(without - high) + np.exp(having - high))
    return table
