"""VisPruner: part of the budget by CLS attention, the rest by removing duplicates among the other tokens."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..arrays import Float64Array, IntArray, unit_rows
from .checks import budget, per_token, real, token_vectors
from .ranking import ascending, cosines, strongest_first

DROPPED_PER_ROUND = 8
"""Duplicates removed per round; a constant of the reference, not a parameter of its command line."""


def vispruner(features: npt.ArrayLike, attention: npt.ArrayLike, keep: int, important_ratio: float = 0.5) -> IntArray:
    """Keep `floor(keep * important_ratio)` tokens by attention and the others by diversity.

    The tokens not taken by attention form a pool in the order of their attention. Each round splits it by
    position into an even and an odd half and drops the (at most 8) even tokens that are most similar to some
    odd token; the surviving even tokens, most similar first, followed by the odd ones, are the pool of the
    next round. Dropped tokens are discarded, not merged. The tokens already taken by attention do not take
    part.

    Parameters
    ----------
    features
        Encoder features before the projector [token, dim]; only directions count. CLIP: hidden state -2,
        patches only.
    attention
        CLS attention of the same block, mean over heads [token].
    keep
        Number of tokens k to keep, in [1, n]; per image, tile or frame.
    important_ratio
        Share of the budget filled by attention, in [0, 1]. 1 is FasterVLM.

    Returns
    -------
    int64 [keep]
        Kept tokens, ascending.

    Raises
    ------
    ValueError
        For NaN or infinite values, wrong shapes, a zero feature row, a budget outside [1, n] or a ratio
        outside [0, 1].

    Notes
    -----
    Where the reference runs the result is the same. It fails for an odd pool and for a diverse
    part of fewer than 8 tokens; here an odd pool gives its middle token to the even half and a round drops no
    more than the even half holds. The reference accepts a budget above n and then prunes nothing.
    Similarities are computed in float64: in half precision the diverse part changes almost entirely, so
    compare sets only from float32 inputs on.

    References
    ----------
    Q. Zhang et al. (2025), ICCV, arXiv:2412.01818v2; code Theia-4869/VisPruner@aefa01a, `encode_images`.
    """
    vectors = token_vectors("features", features)
    scores = per_token("attention", attention, tokens=len(vectors))
    count = budget(keep, len(vectors))
    # The reference truncates the product in double precision: 100 * 0.29 gives 28.
    important = int(count * real("important_ratio", important_ratio, 0.0, 1.0))
    order = strongest_first(scores)
    unit = unit_rows("features", vectors)
    pool = order[important:]
    diverse = pool[_without_duplicates(unit[pool], count - important)]
    return ascending(np.concatenate([order[:important], diverse]))


def _without_duplicates(unit: Float64Array, keep: int) -> IntArray:
    """Positions in `unit` [pool, dim] that survive the rounds; `unit` is in the order of attention."""
    if keep == 0:
        return np.empty(0, dtype=np.int64)
    pool = np.arange(len(unit), dtype=np.int64)
    if keep == pool.size:
        return pool
    similarity = cosines(unit, unit)
    # At least one token stays, so a pool that is still too large has an odd half to compare with.
    while pool.size > keep:
        even, odd = pool[0::2], pool[1::2]
        # Whole rows of the symmetric matrix and the maximum down the columns: several times faster than
        # gathering the even x odd block.
        closest = similarity.take(odd, axis=0).max(axis=0)[even]
        dropped = min(DROPPED_PER_ROUND, pool.size - keep, even.size)
        pool = np.concatenate([even[strongest_first(closest)[dropped:]], odd])
    return pool
