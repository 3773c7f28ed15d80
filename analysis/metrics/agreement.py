"""How alike two attention rows, or two selections of tokens, are.

Each function of weights takes two arrays [..., token] that broadcast (NumPy, Dask, or xarray DataArrays, whose other
dimensions are matched by name: rename one to compare all with all), divides each row by its sum over the tokens, and
returns one float64 per pair of rows. Bad weights (NaN, negative, all zero) raise ValueError. Ties between tokens go to
the lowest index.
"""

from __future__ import annotations

import operator

import numpy as np
import numpy.typing as npt
from scipy.special import rel_entr
from scipy.stats import rankdata

from .weights import Float64Array, Weights, over_token_pairs


def spearman(first: Weights, second: Weights, dim: str = "token") -> Weights:
    """Spearman rank correlation over the tokens, in [-1, 1]; ties share their mean rank; 0 where a row is even."""
    result: Weights = over_token_pairs(_spearman, first, second, dim)
    return result


def jaccard_at_k(first: Weights, second: Weights, k: int, dim: str = "token") -> Weights:
    """Jaccard index of the two sets of k most attended tokens, in [0, 1]: 1 the same set, 0 disjoint.

    Two random sets of k of n tokens have about k / (2 n - k).

    Raises
    ------
    ValueError
        If `k` is not an integer of at least 1, or larger than the number of tokens.
    """
    size = operator.index(k)
    if size < 1:
        raise ValueError(f"`k` must be at least 1, got {k}")
    result: Weights = over_token_pairs(_jaccard_at_k, first, second, dim, k=size)
    return result


def rank_biased_overlap(first: Weights, second: Weights, p: float = 0.98, dim: str = "token") -> Weights:
    """Rank-biased overlap of the two complete rankings, in [0, 1]: top-weighted agreement (Webber et al., 2010).

    (1 - p) sum over depths d of p^(d-1) times the share of the two top-d sets that is common, plus p^n for the depths
    beyond the n tokens, where both rankings hold all of them (W. Webber, A. Moffat, J. Zobel, ACM TOIS 28(4), 2010).

    Parameters
    ----------
    first, second
        Attention weights [..., token].
    p
        Persistence, in (0, 1): the top 1 / (1 - p) ranks carry about 86 % of the weight; 0.98 looks at some 50 tokens.
    dim
        Token dimension of a DataArray.

    Raises
    ------
    ValueError
        If `p` is not in (0, 1).
    """
    if not 0 < p < 1:
        raise ValueError(f"`p` must be in (0, 1), got {p}")
    result: Weights = over_token_pairs(_rank_biased_overlap, first, second, dim, persistence=p)
    return result


def js_between(first: Weights, second: Weights, dim: str = "token") -> Weights:
    """Jensen-Shannon divergence in nats, in [0, log 2]: 0 for equal rows, log 2 for rows without a common token."""
    result: Weights = over_token_pairs(_js_between, first, second, dim)
    return result


def wasserstein_between(first: Weights, second: Weights, dim: str = "token") -> Weights:
    """Wasserstein-1 distance along the index scaled to [0, 1]: how far weight must move from one row to the other."""
    result: Weights = over_token_pairs(_wasserstein_between, first, second, dim)
    return result


def jaccard(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """Jaccard index of two selections, each distinct token indices [k]: common over all tokens, in [0, 1].

    Raises
    ------
    ValueError
        For an empty selection, or one that names a token twice.
    """
    sets = []
    for selection in (first, second):
        tokens = np.asarray(selection)
        if tokens.ndim != 1 or tokens.size == 0 or tokens.dtype.kind not in "iu":
            raise ValueError(f"a selection must hold token indices [k], got shape {tokens.shape} of {tokens.dtype}")
        sets.append(set(tokens.tolist()))
        if len(sets[-1]) < tokens.size:
            raise ValueError("a selection must name no token twice")
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def _spearman(p: Float64Array, q: Float64Array) -> Float64Array:
    centre = (p.shape[-1] + 1) / 2
    one, other = rankdata(p, axis=-1) - centre, rankdata(q, axis=-1) - centre
    scale = np.sqrt(np.square(one).sum(-1) * np.square(other).sum(-1))
    together = (one * other).sum(-1)
    result: Float64Array = np.divide(together, scale, out=np.zeros_like(together), where=scale > 0)
    return result


def ranks(p: Float64Array) -> npt.NDArray[np.int64]:
    """Rank of each token from 0, the most attended; ties to the lowest index, int64 [..., token]."""
    order = np.argsort(-p, axis=-1, kind="stable")
    return np.argsort(order, axis=-1, kind="stable")


def _jaccard_at_k(p: Float64Array, q: Float64Array, k: int) -> Float64Array:
    if k > p.shape[-1]:
        raise ValueError(f"`k` must be at most the {p.shape[-1]} tokens, got {k}")
    common = ((ranks(p) < k) & (ranks(q) < k)).sum(-1)
    return np.asarray(common / (2 * k - common))


def _rank_biased_overlap(p: Float64Array, q: Float64Array, persistence: float) -> Float64Array:
    n = p.shape[-1]
    # A token is common to both sets from the depth on at which the later of its two ranks is reached.
    enters = np.maximum(ranks(p), ranks(q))
    depth = np.arange(1, n + 1)
    weight = (1 - persistence) * persistence ** (depth - 1) / depth
    # The token counts at that depth and all deeper ones: its share of the sum is the tail of the weights.
    tail = np.cumsum(weight[::-1])[::-1]
    return np.asarray(tail[enters].sum(-1) + persistence**n)


def _js_between(p: Float64Array, q: Float64Array) -> Float64Array:
    middle = (p + q) / 2
    result: Float64Array = np.maximum((rel_entr(p, middle) + rel_entr(q, middle)).sum(-1) / 2, 0)
    return result


def _wasserstein_between(p: Float64Array, q: Float64Array) -> Float64Array:
    drift = np.cumsum(p - q, -1)[..., :-1]
    return np.asarray(np.abs(drift).sum(-1) / max(p.shape[-1] - 1, 1))
