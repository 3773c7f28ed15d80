"""LLaVA-PruMerge: tokens of outlying attention, each with its neighbours added, and one token for all the others."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..arrays import Float64Array, IntArray, unit_rows
from .assignment import Assignment
from .checks import budget, integer, not_negative, per_token, token_vectors
from .ranking import cosines, strongest_first


def prumerge(
    attention: npt.ArrayLike,
    keys: npt.ArrayLike,
    keep: int | None,
    plus: bool = False,
    neighbours: int = 32,
) -> Assignment:
    """Merge into each chosen token the tokens with the most similar keys, and all tokens not chosen into one more.

    A chosen token becomes v_i + sum of a_j v_j over its neighbours j (a is the attention; the weights are not
    renormalised, and neighbours may be chosen tokens too, or belong to several). The extra token is the sum of a_j v_j
    over the tokens that were not chosen.

    Parameters
    ----------
    attention
        CLS attention [token], not negative. It weighs the merged tokens, so its scale counts: probabilities of the
        softmax over all keys, without the CLS column and not renormalised. The reference computes it from the last
        layer's whole queries and keys, as if they were a single head: softmax(q k^T / sqrt(dim)).
    keys
        Keys of that layer [token, dim], all heads side by side; only directions count.
    keep
        Number of output tokens in [1, n], the extra one included. None is the published, adaptive number: as many as
        have an attention above Q3 + 1.5 IQR, and the extra one.
    plus
        PruMerge+: spatial samples join the chosen tokens. With r the share of tokens chosen by attention they are every
        t-th token from the first on, t = floor(floor(1/r) / 3), the last token excluded. With a given `keep`, which the
        reference does not offer, this is a reading: as many tokens by attention as leave room for their samples, and
        what is left of the budget by attention.
    neighbours
        How many tokens are added to each chosen one, at least 0; all others if there are fewer. 32 as published.

    Returns
    -------
    Assignment
        For the features of layer -2 before the projector, in the published order: by attention, then the samples in
        index order, then the extra token. The extra token has no place of its own in the reference; its anchor is the
        last token that was not chosen. Equal attention and equal similarity go to the lower index.

    Raises
    ------
    ValueError
        For NaN or infinite values, wrong shapes, negative attention, a zero key, a budget outside [1, n], a negative
        number of neighbours, or an attention of 0 on every token that is not chosen.

    Notes
    -----
    Deviations where the reference fails or adds a zero vector: fewer than 32 other tokens; with `plus`, no outlier
    (then r counts as 1/n) or more than a third of the tokens (then every token is a sample); nothing left for the extra
    token (then there is none). The reference multiplies n by outliers/n in floating point, which loses a token to
    rounding for some n, but for no number of outliers at n = 576.

    References
    ----------
    Y. Shang et al. (2024), arXiv:2403.15388; code 42Shawn/LLaVA-PruMerge@097c041,
    llava/model/multimodal_encoder/clip_encoder.py; the samples as in `token_prune_merge_advanced_plus` @1ca8b2b.
    """
    vectors = token_vectors("keys", keys)
    scores = not_negative("attention", per_token("attention", attention, tokens=len(vectors)))
    slots = None if keep is None else budget(keep, scores.size) - 1
    width = integer("neighbours", neighbours)
    if width < 0:
        raise ValueError(f"`neighbours` must be at least 0, got {width}")
    chosen = _chosen(scores, slots, plus)
    dropped = np.setdiff1d(np.arange(scores.size), chosen)
    if dropped.size and not scores[dropped].any():
        raise ValueError(f"`attention` must not be 0 on all of the {dropped.size} tokens that are not chosen")

    similarity = _similarity(unit_rows("keys", vectors), chosen)
    near = _largest(similarity, min(width, scores.size - 1))
    weights = np.zeros((chosen.size + bool(dropped.size), scores.size))
    weights[: chosen.size] = np.where(near, scores, 0.0)
    weights[np.arange(chosen.size), chosen] = 1.0
    if dropped.size:
        weights[-1, dropped] = scores[dropped]
    return Assignment(np.concatenate([chosen, dropped[-1:]]), weights)


def upper_outliers(scores: Float64Array) -> int:
    """How many of the scores lie above Q3 + 1.5 IQR, quartiles interpolated linearly: the adaptive number of tokens."""
    low, high = np.percentile(scores, [25.0, 75.0])
    return int(np.count_nonzero(scores > high + 1.5 * (high - low)))


def _chosen(scores: Float64Array, slots: int | None, plus: bool) -> IntArray:
    """Tokens that stand for themselves; `slots` of them, or as many as the outliers of the attention say."""
    order = strongest_first(scores)
    if slots is None:
        outliers = upper_outliers(scores)
        return np.concatenate([order[:outliers], _samples(order, outliers)]) if plus else order[:outliers]
    if not plus:
        return order[:slots]
    chosen = order[:0]
    rank = np.argsort(order)
    for strongest in range(slots, 0, -1):
        if strongest + np.count_nonzero(rank[_grid(order, strongest)] >= strongest) <= slots:
            chosen = np.concatenate([order[:strongest], _samples(order, strongest)])
            break
    left = order[~np.isin(order, chosen)]
    return np.concatenate([chosen, left[: slots - chosen.size]])


def _samples(order: IntArray, strongest: int) -> IntArray:
    """The spatial samples that are not among the first `strongest` of `order`, in index order."""
    return np.setdiff1d(np.arange(order.size)[_grid(order, strongest)], order[:strongest])


def _grid(order: IntArray, strongest: int) -> slice:
    """Every t-th token from the first on, the last one excluded."""
    return slice(0, order.size - 1, max(1, order.size // max(1, strongest) // 3))


def _largest(values: Float64Array, count: int) -> npt.NDArray[np.bool_]:
    """Whether each is among the `count` largest of its row [row, column]; of equal ones the first are."""
    if count == 0:
        return np.zeros(values.shape, dtype=bool)
    last = np.partition(values, -count, axis=1)[:, -count, None]
    above, equal = values > last, values == last
    room = count - above.sum(1, keepdims=True)
    largest: npt.NDArray[np.bool_] = above | (equal & (np.cumsum(equal, axis=1) <= room))
    return largest


def _similarity(unit: Float64Array, chosen: IntArray) -> Float64Array:
    """Cosines [chosen, token], minus infinity for a token with itself."""
    similarity = cosines(unit[chosen], unit)
    similarity[np.arange(chosen.size), chosen] = -np.inf
    return similarity
