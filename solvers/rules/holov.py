"""HoloV: every stretch of the image gets a share of the budget, filled by attention."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..arrays import Float64Array, IntArray, unit_rows
from .checks import budget, integer, not_negative, per_token, token_vectors
from .quotas import quotas
from .ranking import ascending, cosines, strongest_first

VARIANCE_WEIGHT = 0.09
"""Weight of the variance of a token's cosines beside its attention; a constant of the reference."""
ATTENTION_SCALE = 1e3
EPSILON = 1e-6
"""Scale of the attention and guard of the division, constants of the reference: together they decide how little the
variance counts where all cosines of a chunk are nearly equal."""


def holov(features: npt.ArrayLike, attention: npt.ArrayLike, keep: int, chunks: int = 16) -> IntArray:
    """Cut the sequence into chunks, give each a quota by its mean score, and fill it by attention.

    The score of a token is 1000 times its attention, plus 0.09 times the variance of its cosines with the other tokens
    of its chunk, rescaled within the chunk to the mean of the first term. A chunk's quota is its share of the sum of
    mean scores, rounded down; tokens left over go to the chunks of the largest shares.

    Parameters
    ----------
    features
        Visual tokens in raster order [token, dim]; only directions count.
    attention
        CLS attention of each token [token], not negative.
    keep
        Number of tokens k to keep, in [1, n].
    chunks
        Number of contiguous stretches of the sequence, as long as each other or the first ones longer by one; 16 as in
        the reference. With fewer tokens than chunks every token is a chunk.

    Returns
    -------
    int64 [keep]
        Kept tokens, ascending. Equal attention goes to the lower index, equal shares to the earlier chunk.

    Raises
    ------
    ValueError
        For NaN or infinite values, wrong shapes, a zero feature row, negative attention, a budget outside [1, n], or
        fewer than one chunk.

    Notes
    -----
    The rescaled variances of a chunk have the mean of its scaled attention, except for the guard of the division. So
    its mean score is 1.09 times that attention: the quotas are, to about 1e-6 over the mean variance, the shares of
    attention, and the features hardly enter.

    Deviations: the reference returns the tokens chunk by chunk in the order of attention; where a quota exceeds its
    chunk it fills up with zero vectors, while here the other chunks get the rest; it does not scale the attention of a
    chunk of a single token, and its caller fixes the budget at 64.

    References
    ----------
    X. Zou et al. (2025), NeurIPS, arXiv:2510.02912; code obananas/HoloV@1d2e65e, llava/model/utils.py, `HoloV`.
    """
    vectors = token_vectors("features", features)
    scores = not_negative("attention", per_token("attention", attention, tokens=len(vectors)))
    count = budget(keep, len(vectors))
    parts = integer("chunks", chunks)
    if parts < 1:
        raise ValueError(f"`chunks` must be at least 1, got {parts}")
    stretches = np.array_split(np.arange(len(vectors)), min(parts, len(vectors)))
    unit = unit_rows("features", vectors)
    weights = np.array([_chunk_score(unit[stretch], scores[stretch]) for stretch in stretches])
    given = quotas(weights, count, np.array([stretch.size for stretch in stretches]))
    filled = zip(stretches, given, strict=True)
    return ascending(np.concatenate([stretch[strongest_first(scores[stretch])[:quota]] for stretch, quota in filled]))


def _chunk_score(unit: Float64Array, attention: Float64Array) -> float:
    """Mean score of a chunk's tokens, from unit rows [token, dim] and attention [token]."""
    scaled = ATTENTION_SCALE * attention
    if len(unit) == 1:
        return float(scaled[0])
    others = cosines(unit, unit)
    np.fill_diagonal(others, 0.0)
    mean = others.sum(axis=1, keepdims=True) / (len(unit) - 1)
    # The reference leaves the zeroed diagonal in the sum of squares.
    variance = np.square(others - mean).sum(axis=1) / (len(unit) - 1)
    rescaled = variance * scaled.mean() / (variance.mean() + EPSILON)
    return float((scaled + VARIANCE_WEIGHT * rescaled).mean())
