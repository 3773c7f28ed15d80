"""Fused loops of determinants over a positive definite kernel [token, token], sums in float64.

Memory traffic of greedy MAP inference: pick p reads the p rows of the Cholesky factor that are there, 8 n bytes each,
so 4 k^2 n bytes in all, next to one row of the kernel per pick. The rows fill 8 k n bytes (295 kB for 64 of 576
tokens), hence the second-level cache, whose bandwidth is the limit; the row being made stays in the first. In float32
it would be half of that, but duplicates need the digits: their conditional variance is the ridge, a millionth.
"""

from __future__ import annotations

import numpy as np

from ..arrays import Float64Array, FloatArray, IntArray
from . import plain
from .jit import fused
from .records import MapPicks


@fused(plain=plain.extend_cholesky)
def extend_cholesky(
    kernel: FloatArray, rows: Float64Array, variances: Float64Array, floor: Float64Array, count: int, token: int
) -> None:
    """Condition on `token`, in place: write row `count` of the Cholesky factor and lower the variances [token].

    No variance falls below `floor` [token], its limit in exact arithmetic, whatever rounding does. The diagonal of the
    kernel has no influence on any token that is not chosen yet.
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


@fused(plain=plain.map_picks)
def map_picks(kernel: FloatArray, variances: Float64Array, floor: Float64Array, budget: int) -> MapPicks:
    """Greedy MAP inference from the `variances` [token], which stand for the diagonal; ties go to the lowest index."""
    n = kernel.shape[0]
    rows = np.empty((budget, n))
    left = variances.copy()
    taken = np.zeros(n, np.bool_)
    selected = np.empty(budget, np.int64)
    for pick in range(budget):
        token = -1
        for i in range(n):
            if not taken[i] and (token < 0 or left[i] > left[token]):
                token = i
        if not left[token] > 0.0:
            return MapPicks(selected[:pick], left[token])
        extend_cholesky(kernel, rows, left, floor, pick, token)
        taken[token] = True
        selected[pick] = token
    lowest = np.inf
    for i in range(n):
        if not taken[i]:
            lowest = min(lowest, left[i])
    return MapPicks(selected, lowest)


@fused(plain=plain.greedy_map)
def greedy_map(kernel: Float64Array, floor: Float64Array, budget: int) -> IntArray:
    """Tokens [budget] of greedy MAP inference, in pick order; ties go to the lowest index."""
    n = kernel.shape[0]
    variances = np.empty(n)
    for i in range(n):
        variances[i] = kernel[i, i]
    return map_picks(kernel, variances, floor, budget).selected


@fused(plain=plain.log_elementary_symmetric)
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
