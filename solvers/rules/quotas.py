"""A budget divided among parts of an image: chunks, tiles."""

from __future__ import annotations

import numpy as np

from ..arrays import Float64Array, IntArray
from .ranking import strongest_first


def quotas(weights: Float64Array, total: int, sizes: IntArray) -> IntArray:
    """Tokens for each part, int64 [part], that add up to `total`, no part getting more than it holds.

    Each part first gets its proportional share, rounded down. What is left goes out one by one, from the part of the
    largest weight to that of the smallest and round again, past parts that are full.

    Parameters
    ----------
    weights
        Weight of each part [part], at least 0; all 0 means equal.
    total
        Tokens to hand out, in [0, sum of sizes].
    sizes
        Tokens that each part holds, int64 [part].
    """
    whole = weights.sum()
    shares = np.floor(weights * total / whole) if whole > 0.0 else np.zeros(len(weights))
    given = np.minimum(shares.astype(np.int64), sizes)
    order = strongest_first(weights)
    while (left := total - int(given.sum())) > 0:
        given[order[given[order] < sizes[order]][:left]] += 1
    return given
