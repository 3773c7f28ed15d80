"""Fused greedy loops that compute a similarity only while it can still decide a pick, from rows [token, dim].

Conditional variances and distances to the nearest kept token only fall, so an old one bounds the new one from above: a
token is brought up to date when it comes out on top of a heap, and picked if it stays there.

Memory traffic: a cosine reads one row for each of two tokens, of which the kept one stays in the first-level cache, so
4 dim or 8 dim bytes. All rows of 2880 tokens of 1024 float32 numbers are 12 MB, which fits into a third-level cache:
0.1 microseconds a cosine are 38 GB/s, more than half of what one thread gets from there. A token that missed several
picks is read once for all of them.
"""

from __future__ import annotations

import heapq

import numpy as np

from ..arrays import Float64Array, FloatArray, IntArray
from . import plain
from .jit import fused

NEARLY_ONE = 1.0 - 1e-12
"""A cosine above this is looked at twice: that of equal rows is one, whatever its sum rounds to."""


@fused(plain=plain.cosine)
def cosine(rows: FloatArray, scale: Float64Array, i: int, j: int) -> float:
    """Cosine of tokens i and j, whose rows have the lengths 1 / `scale` [token]; exactly one for equal rows."""
    dim = rows.shape[1]
    product = 0.0
    for c in range(dim):
        product += np.float64(rows[i, c]) * np.float64(rows[j, c])
    product *= scale[i] * scale[j]
    if product > NEARLY_ONE:
        same = 0
        while same < dim and rows[i, same] == rows[j, same]:
            same += 1
        if same == dim:
            return 1.0
    result: float = min(max(product, -1.0), 1.0)
    return result


@fused
def lazy_greedy_map(
    rows: FloatArray, scale: Float64Array, quality: Float64Array, ridge: float, budget: int
) -> tuple[IntArray, int]:
    """Tokens [budget] of greedy MAP inference for diag(q) (cosines + ridge I) diag(q), and the cosines it computed.

    In pick order; ties go to the lowest index. No variance falls below its limit, ridge times the squared quality.
    """
    n = rows.shape[0]
    factor = np.empty((n, budget))
    variances = quality**2 * (1.0 + ridge)
    seen = np.zeros(n, np.int64)
    selected = np.empty(budget, np.int64)
    computed = 0
    heap = [(-variances[i], i) for i in range(n)]
    heapq.heapify(heap)
    for pick in range(budget):
        token = heap[0][1]
        while seen[token] < pick:
            for earlier in range(seen[token], pick):
                other = selected[earlier]
                entry = cosine(rows, scale, token, other) * quality[token] * quality[other]
                for column in range(earlier):
                    entry -= factor[token, column] * factor[other, column]
                entry /= np.sqrt(variances[other])
                factor[token, earlier] = entry
                variances[token] = max(variances[token] - entry * entry, ridge * quality[token] ** 2)
            computed += pick - seen[token]
            seen[token] = pick
            heapq.heapreplace(heap, (-variances[token], token))
            token = heap[0][1]
        heapq.heappop(heap)
        selected[pick] = token
    return selected, computed


@fused
def lazy_farthest_first(rows: FloatArray, scale: Float64Array, first: int, budget: int) -> tuple[IntArray, int]:
    """Tokens [budget] of the farthest-first traversal by 1 - cosine, and the number of cosines it computed."""
    n = rows.shape[0]
    nearest = np.full(n, 3.0)  # above every distance
    nearest[first] = 4.0
    seen = np.zeros(n, np.int64)
    selected = np.empty(budget, np.int64)
    computed = 0
    heap = [(-nearest[i], i) for i in range(n)]
    heapq.heapify(heap)
    for pick in range(budget):
        token = heap[0][1]
        while seen[token] < pick:
            for earlier in range(seen[token], pick):
                nearest[token] = min(nearest[token], 1.0 - cosine(rows, scale, token, selected[earlier]))
            computed += pick - seen[token]
            seen[token] = pick
            heapq.heapreplace(heap, (-nearest[token], token))
            token = heap[0][1]
        heapq.heappop(heap)
        selected[pick] = token
    return selected, computed
