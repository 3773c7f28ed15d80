"""Bytes that the fused loops have to move: divided by a measured bandwidth, the time that no version can undercut.

Most of it comes from a cache (see the loops themselves), so the bandwidth to divide by is that of the level which holds
the matrix, or, for a batch, that of main memory for `once` and of the cache for the rest.
"""

from __future__ import annotations

import numpy as np

from ..arrays import FloatArray, IntArray


def once(tokens: int, itemsize: int = 4) -> int:
    """Reading a similarity [token, token] one time."""
    return itemsize * tokens**2


def changes(coverage: FloatArray, picks: IntArray) -> int:
    """How often a token is covered better than before while `picks` are added in order, summed over tokens."""
    kept = coverage[picks]
    before = np.vstack([np.zeros_like(kept[:1]), np.maximum.accumulate(kept, axis=0)[:-1]])
    return int(np.count_nonzero(kept > before))


def greedy_cover(tokens: int, changed: int) -> int:
    """Facility-location greedy: float32 rows, each once for the totals and once for each of the `changes`."""
    return 4 * tokens * (tokens + changed)


def greedy_map(tokens: int, budget: int) -> int:
    """Greedy MAP inference: earlier Cholesky rows at each pick, a kernel row read and a new row written, float64."""
    return 8 * tokens * (budget * (budget - 1) // 2 + 2 * budget)


def greedy_spread(tokens: int, budget: int) -> int:
    """Greedy max-min dispersion, distances and isolation given: one float64 row per pick."""
    return 8 * tokens * budget
