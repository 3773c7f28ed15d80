"""Where along the token sequence, or over the image, an attention row lies, and how far from even it is.

Each function takes weights [..., token] (NumPy, Dask, or an xarray DataArray with the dimension `dim`), divides them by
their sum over the tokens, and returns float64. Bad weights (NaN, negative, all zero) raise ValueError. "Index" is the
row-major token index j scaled to [0, 1]: j / (n - 1).
"""

from __future__ import annotations

import numpy as np
from scipy.special import rel_entr
from scipy.stats import rankdata

from .weights import Float64Array, Unit, Weights, bin_overlap, grid_positions, over_tokens

QUARTILES = ("1", "2", "3", "4")


def mean_index(weights: Weights, dim: str = "token") -> Weights:
    """Mean index under the weights: 0 = all on the first token, 1/2 = balanced, 1 = all on the last."""
    return over_tokens(_mean_index, weights, dim)


def centroid(weights: Weights, grid: tuple[int, int], dim: str = "token", *, unit: Unit = "side") -> Weights:
    """Mean row and column under the weights, [..., axis]; the axis is (row, column).

    With unit "side" both are scaled to [0, 1], with "patch" they are counted from 0.

    Raises
    ------
    ValueError
        If `grid` = (rows, columns) does not hold all tokens, or for another unit.
    """
    return over_tokens(_centroid, weights, dim, part="axis", labels=("row", "column"), grid=grid, unit=unit)


def quartile_share(weights: Weights, dim: str = "token") -> Weights:
    """Share of the weight on each quarter of the tokens in index order, [..., quartile]; the four sum to 1.

    The attention-shift panel of the VisPruner project page (Theia-4869/VisPruner@e7c1a94) shows it per layer. Where n
    is no multiple of 4, a token on a border counts in both quarters by its parts, so even attention gives 1/4 each.
    """
    return over_tokens(_quartile_share, weights, dim, part="quartile", labels=QUARTILES)


def slope(weights: Weights, dim: str = "token") -> Weights:
    """Least-squares slope of n * weight over the index: 0 = no linear trend, about 2 = rises linearly from zero.

    n * weight is the weight relative to even attention, so the slope does not depend on the number of tokens.
    """
    return over_tokens(_slope, weights, dim)


def spearman_index(weights: Weights, dim: str = "token") -> Weights:
    """Spearman rank correlation of weight and index, in [-1, 1]; ties share their mean rank; 0 for even attention."""
    return over_tokens(_spearman_index, weights, dim)


def js_to_uniform(weights: Weights, dim: str = "token") -> Weights:
    """Jensen-Shannon divergence from even attention in nats, in [0, log 2)."""
    return over_tokens(_js_to_uniform, weights, dim)


def wasserstein_to_uniform(weights: Weights, dim: str = "token") -> Weights:
    """Wasserstein-1 distance from even attention along the index, in [0, 1/2]: mean distance that weight must move.

    Unlike `js_to_uniform` it sees order: concentration on scattered tokens costs little, a drift to one end much.
    """
    return over_tokens(_wasserstein_to_uniform, weights, dim)


def _index(n: int) -> Float64Array:
    return np.arange(n) / max(n - 1, 1)


def _mean_index(p: Float64Array) -> Float64Array:
    return np.asarray(p @ _index(p.shape[-1]))


def _centroid(p: Float64Array, grid: tuple[int, int], unit: Unit) -> Float64Array:
    return p @ grid_positions(grid, p.shape[-1], unit)


def _quartile_share(p: Float64Array) -> Float64Array:
    return p @ bin_overlap(p.shape[-1], 4)


def _slope(p: Float64Array) -> Float64Array:
    n = p.shape[-1]
    if n == 1:
        return np.zeros(p.shape[:-1])
    centred = _index(n) - 0.5
    return np.asarray(n * (p @ centred) / np.square(centred).sum())


def _spearman_index(p: Float64Array) -> Float64Array:
    n = p.shape[-1]
    rank = rankdata(p, axis=-1) - (n + 1) / 2
    centred = np.arange(n) - (n - 1) / 2
    scale = np.sqrt(np.square(rank).sum(-1) * np.square(centred).sum())
    result: Float64Array = np.divide(rank @ centred, scale, out=np.zeros(p.shape[:-1]), where=scale > 0)
    return result


def _js_to_uniform(p: Float64Array) -> Float64Array:
    even = 1 / p.shape[-1]
    middle = (p + even) / 2
    result: Float64Array = np.maximum((rel_entr(p, middle) + rel_entr(even, middle)).sum(-1) / 2, 0)
    return result


def _wasserstein_to_uniform(p: Float64Array) -> Float64Array:
    n = p.shape[-1]
    drift = np.cumsum(p, -1) - np.arange(1, n + 1) / n
    return np.asarray(np.abs(drift[..., :-1]).sum(-1) / max(n - 1, 1))
