"""VisionZip: dominant tokens by CLS attention, and contextual ones that the rest is merged into."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..arrays import unit_rows
from .assignment import Assignment
from .checks import budget, integer, per_token, token_vectors
from .ranking import ascending, cosines, strongest_first

CONTEXTUAL_SHARE = 10 / 64
"""Share of the budget for contextual tokens. It gives every published pair (dominant + contextual): 192 = 162 + 30,
128 = 108 + 20, 64 = 54 + 10 and, per crop of LLaVA-NeXT, 32 = 27 + 5."""


def visionzip(attention: npt.ArrayLike, keys: npt.ArrayLike, keep: int, contextual: int | None = None) -> Assignment:
    """Keep `keep - contextual` tokens by attention and merge all others into `contextual` tokens.

    Among the tokens not taken by attention, every s-th in index order is a target, s their number divided by
    `contextual` and rounded down. Each other token goes to the target with the most similar key. A contextual token is
    the target **plus** the mean of the tokens assigned to it, a sum of two vectors and not an average; a target to
    which nothing goes stays itself.

    Parameters
    ----------
    attention
        CLS attention [token], sum or mean over heads; only the order counts. CLIP: layer -2, key columns of the
        patches.
    keys
        Keys of the same layer, mean over heads [token, dim]; only directions count.
    keep
        Number of output tokens k, in [1, n].
    contextual
        How many of them are contextual, in [0, keep]. None takes `CONTEXTUAL_SHARE` of `keep`, rounded (halves to the
        even number): the published numbers at 192, 128, 64 and 32; between these it is a reading. With 0 it is a
        selection.

    Returns
    -------
    Assignment
        `keep` outputs for the features of the same layer before the projector: the dominant tokens in index order, then
        the contextual ones, as published. An anchor is the token itself, or the target. Equal attention and equal
        similarity go to the lower index.

    Raises
    ------
    ValueError
        For NaN or infinite values, wrong shapes, a zero key, a budget outside [1, n] or `contextual` outside [0, keep].

    Notes
    -----
    Deviation: the published counts include the CLS state as one of the dominant tokens. It is not among the tokens
    here, so that one patch more is kept in its place and everything that reaches the language model has a place in the
    image.

    References
    ----------
    S. Yang et al. (2024), CVPR 2025, arXiv:2412.04467; code dvlab-research/VisionZip@3151f6d, visionzip/clip_encoder.py
    and utils.py.
    """
    vectors = token_vectors("keys", keys)
    scores = per_token("attention", attention, tokens=len(vectors))
    count = budget(keep, len(vectors))
    merged = _contextual(contextual, count)
    order = strongest_first(scores)
    dominant, rest = ascending(order[: count - merged]), ascending(order[count - merged :])
    if merged == 0:
        return Assignment.selection(dominant, scores.size)

    step = rest.size // merged
    targets = rest[: merged * step : step]
    others = np.setdiff1d(rest, targets)
    unit = unit_rows("keys", vectors)
    nearest = cosines(unit[others], unit[targets]).argmax(axis=1)

    anchors = np.concatenate([dominant, targets])
    weights = np.zeros((count, scores.size))
    weights[np.arange(count), anchors] = 1.0
    weights[dominant.size + nearest, others] = 1.0 / np.bincount(nearest, minlength=merged)[nearest]
    return Assignment(anchors, weights)


def _contextual(contextual: Any, keep: int) -> int:
    if contextual is None:
        return round(keep * CONTEXTUAL_SHARE)
    number = integer("contextual", contextual)
    if not 0 <= number <= keep:
        raise ValueError(f"`contextual` must be in [0, {keep}], got {number}")
    return number
