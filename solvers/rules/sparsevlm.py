"""SparseVLM: the tokens that the words of the question which look at the image attend to, in three stages."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..arrays import Float64Array, IntArray, finite
from .checks import budget, integer, per_token, token_vectors
from .ranking import COSINE_DECIMALS, ascending, strongest_first

RECYCLED_SHARE = 0.3
"""Share of the dropped tokens, the best of them, that is clustered; one more is."""
TOKENS_PER_CLUSTER = 10
"""One cluster for so many of those, and one more."""
PRIORITY_HEADS = 14 / 32
"""Heads of SparseVLM+: 14 in the reference, which is this share in LLaVA-1.5-7B."""


def sparsevlm(attention: npt.ArrayLike, keep: int) -> IntArray:
    """Keep the tokens with the largest mean attention of the raters.

    Parameters
    ----------
    attention
        Attention of each rater to each visual token [rater, token], mean over heads, in the last layer that runs on the
        longer sequence; or its mean over raters [token]. Raters are the words that `sparsevlm_raters` names. For
        SparseVLM+ it comes from `sparsevlm_corrected`. Only the order counts.
    keep
        Number of tokens k to keep, in [1, n]; without those that `sparsevlm_recycle` makes of the others.

    Returns
    -------
    int64 [keep]
        Kept tokens, ascending. Equal attention goes to the lower index (the reference leaves ties unspecified).

    Raises
    ------
    ValueError
        For NaN or infinite attention, a wrong shape, or a budget outside [1, n].

    Notes
    -----
    The reference numbers the position ids anew at each stage; SparseVLM+ keeps them.

    References
    ----------
    Y. Zhang et al. (2024), ICML 2025, arXiv:2410.04417; code Gumpest/SparseVLMs@26a5f48,
    llava/model/language_model/score.py, `attn_postprocess_topk`.
    """
    rows = finite("attention", attention)
    if rows.ndim not in (1, 2) or rows.size == 0:
        raise ValueError(f"`attention` must have shape [rater, token] or [token], got {rows.shape}")
    scores = np.atleast_2d(rows).mean(axis=0, dtype=np.float64)
    return ascending(strongest_first(scores)[: budget(keep, scores.size)])


def sparsevlm_raters(visual: npt.ArrayLike, text: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Which words rate the visual tokens: those more relevant to them than the average word.

    The relevance of a word is the share that it has, mean over visual tokens, in the softmax over all words of its
    product with the visual token.

    Parameters
    ----------
    visual
        Visual tokens as they enter the language model [token, dim].
    text
        The tokens after the image, as they enter the language model [word, dim].

    Returns
    -------
    bool [word]
        At least one is True: where no word is above the average, which takes equal words, all of them rate (the
        reference then has no rater and no score).

    Raises
    ------
    ValueError
        For NaN or infinite values, or wrong shapes.

    References
    ----------
    Y. Zhang et al. (2024), section 3.2; code as for `sparsevlm`, modelling_sparse_llama.py.
    """
    tokens, words = token_vectors("visual", visual), token_vectors("text", text)
    if tokens.shape[1] != words.shape[1]:
        raise ValueError(f"`text` must have the dimension of `visual`, {tokens.shape[1]}, got {words.shape[1]}")
    weights = tokens @ words.T
    weights = np.exp(weights - weights.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    # Rounded like cosines: the mean of equal numbers differs from them in the last bit.
    relevance = np.round(weights.mean(axis=0), COSINE_DECIMALS)
    raters: npt.NDArray[np.bool_] = relevance > np.round(1.0 / len(words), COSINE_DECIMALS)
    return raters if raters.any() else np.ones(len(words), dtype=np.bool_)


def clusters_of(dropped: int) -> int:
    """Clusters that the reference makes of so many dropped tokens."""
    return _candidates(dropped) // TOKENS_PER_CLUSTER + 1 if dropped else 0


def sparsevlm_recycle(states: npt.ArrayLike, scores: npt.ArrayLike, clusters: int | None = None) -> IntArray:
    """Cluster the best of the dropped tokens by density peaks; the caller puts the mean of each cluster in their place.

    The best are `int(0.3 n) + 1` of the n dropped tokens. The density of a token is exp(-mean of squared distances to
    its `clusters` nearest, itself among them), distances divided by sqrt(dim). Centres are the tokens of largest
    density times distance to the nearest denser token; every other one joins the nearest centre.

    Parameters
    ----------
    states
        Hidden states of the dropped tokens [dropped token, dim], after the layer whose attention has chosen.
    scores
        Their mean attention [dropped token].
    clusters
        How many; None takes the published number, `clusters_of(n)`.

    Returns
    -------
    int64 [dropped token]
        Cluster of each token, or -1 for those discarded. Clusters are numbered from the strongest centre on, which is
        the order in which the reference appends them behind the kept visual tokens. None is empty.

    Raises
    ------
    ValueError
        For NaN or infinite values, wrong shapes, or a number of clusters outside [1, clustered tokens].

    Notes
    -----
    Deviations: the reference adds noise to the density so that none are equal; here the lower index counts as denser.
    Densities are compared as logarithms, since distances between hidden states can make every one of them underflow.

    References
    ----------
    Y. Zhang et al. (2024), arXiv:2410.04417; code Gumpest/SparseVLMs@26a5f48, llava/model/language_model/utils.py,
    `cluster_and_merge`.
    """
    from scipy.spatial.distance import cdist  # a heavy import

    vectors = token_vectors("states", states)
    dropped = len(vectors)
    order = strongest_first(per_token("scores", scores, tokens=dropped))
    best = ascending(order[: _candidates(dropped)])
    count = clusters_of(dropped) if clusters is None else integer("clusters", clusters)
    if not 1 <= count <= best.size:
        raise ValueError(f"`clusters` must be in [1, {best.size}], got {count}")

    distance: Float64Array = cdist(vectors[best], vectors[best]) / np.sqrt(vectors.shape[1])
    log_density = -np.square(np.sort(distance, axis=1)[:, :count]).mean(axis=1)
    place = np.argsort(strongest_first(log_density))
    apart = np.where(place[None, :] < place[:, None], distance, distance.max()).min(axis=1)
    with np.errstate(divide="ignore"):
        centres = strongest_first(log_density + np.log(apart))[:count]
    joined = distance[centres].argmin(axis=0)
    joined[centres] = np.arange(count)
    labels: IntArray = np.full(dropped, -1, dtype=np.int64)
    labels[best] = joined
    return labels


def rope_response(
    query_positions: npt.ArrayLike, key_positions: npt.ArrayLike, inverse_frequencies: npt.ArrayLike
) -> Float64Array:
    """What the rotary position encoding alone contributes to attention: the logit of a query and a key of ones.

    2 / sqrt(dim) * sum over frequencies f of cos((p - q) f), dim twice the number of frequencies.

    Parameters
    ----------
    query_positions
        Position ids of the raters [rater].
    key_positions
        Position ids of the visual tokens [token].
    inverse_frequencies
        Angle per position of each pair of dimensions [frequency], for LLaMA 10000^(-2 m / dim), m = 0, 1, ...

    Returns
    -------
    float64 [rater, token]

    Raises
    ------
    ValueError
        For NaN or infinite values, or wrong shapes.

    References
    ----------
    SparseVLM+, the second version of arXiv:2410.04417; code Gumpest/SparseVLMs@26a5f48, modelling_sparse_llama.py with
    USE_VERSION=2_0. The closed form is this project's.
    """
    queries, keys = finite("query_positions", query_positions), finite("key_positions", key_positions)
    frequencies = finite("inverse_frequencies", inverse_frequencies).astype(np.float64, copy=False)
    for name, values in (
        ("query_positions", queries),
        ("key_positions", keys),
        ("inverse_frequencies", frequencies),
    ):
        if values.ndim != 1 or values.size == 0:
            raise ValueError(f"`{name}` must have one axis and not be empty, got shape {values.shape}")
    distance, inverse = np.unique(queries[:, None] - keys[None, :], return_inverse=True)
    response = np.cos(np.multiply.outer(distance, frequencies)).sum(axis=1) * (2.0 / np.sqrt(2.0 * frequencies.size))
    response_of: Float64Array = response[inverse.reshape(queries.size, keys.size)]
    return response_of


def sparsevlm_corrected(attention: npt.ArrayLike, response: npt.ArrayLike, heads: int | None = None) -> Float64Array:
    """Attention of SparseVLM+: divided by the response of the position encoding, of the heads that look at the image.

    Parameters
    ----------
    attention
        Attention of each rater to each visual token by head [head, rater, token].
    response
        `rope_response` for the same raters and tokens [rater, token]; without zeros.
    heads
        How many heads, those with the largest sum of corrected attention (equal sums: lower index). None takes 14 of
        32, and as large a share of other numbers: a reading, since the reference takes 14 whatever the model.

    Returns
    -------
    float64 [rater, token]
        Mean over these heads, for `sparsevlm`.

    Raises
    ------
    ValueError
        For NaN or infinite values, wrong shapes, a zero response, or a number of heads outside [1, head].

    References
    ----------
    As for `rope_response`, and score.py, `select_attn_head_by_sum`.
    """
    weights = finite("attention", attention)
    if weights.ndim != 3 or weights.size == 0:
        raise ValueError(f"`attention` must have shape [head, rater, token], got {weights.shape}")
    divisor = finite("response", response)
    if divisor.shape != weights.shape[1:]:
        raise ValueError(f"`response` must have shape [rater, token] {weights.shape[1:]}, got {divisor.shape}")
    if not divisor.all():
        raise ValueError(f"`response` must have no zeros, got {np.count_nonzero(divisor == 0)}")
    count = max(1, round(PRIORITY_HEADS * len(weights))) if heads is None else integer("heads", heads)
    if not 1 <= count <= len(weights):
        raise ValueError(f"`heads` must be in [1, {len(weights)}], got {count}")
    corrected = weights / divisor.astype(np.float64)
    chosen = ascending(strongest_first(corrected.sum(axis=(1, 2)))[:count])
    mean: Float64Array = corrected[chosen].mean(axis=0)
    return mean


def _candidates(dropped: int) -> int:
    """How many of the dropped tokens are clustered."""
    return min(int(dropped * RECYCLED_SHARE) + 1, dropped)
