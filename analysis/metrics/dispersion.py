"""How concentrated an attention row is: from all on one token to the same on every token.

Each function takes weights [..., token] (NumPy, Dask, or an xarray DataArray with the dimension `dim`), divides them by
their sum over the tokens, and returns one float64 per row. Bad weights (NaN, negative, all zero) raise ValueError.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import entr

from .weights import Float64Array, Unit, Weights, grid_positions, over_tokens

SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Shares of the tokens at which published mass curves were read off."""


def entropy(weights: Weights, dim: str = "token") -> Weights:
    """Shannon entropy in nats: 0 with all weight on one token, log n with the same on each of n."""
    return over_tokens(_entropy, weights, dim)


def effective_tokens(weights: Weights, dim: str = "token") -> Weights:
    """Number of equally attended tokens with the same entropy, exp(entropy), in [1, n]."""
    return over_tokens(_effective_tokens, weights, dim)


def participation_ratio(weights: Weights, dim: str = "token") -> Weights:
    """Inverse sum of squared probabilities, in [1, n]: like `effective_tokens`, but ruled by the largest weights."""
    return over_tokens(_participation_ratio, weights, dim)


def gini(weights: Weights, dim: str = "token") -> Weights:
    """Gini coefficient: 0 with the same weight on each token, 1 - 1/n with all weight on one."""
    return over_tokens(_gini, weights, dim)


def top_mass(weights: Weights, p: float = 0.1, dim: str = "token") -> Weights:
    """Share of the attention held by the most attended share `p` of the tokens, in [p, 1].

    A fractional number of tokens is interpolated: 10 % of 576 tokens are the top 57 and 0.6 of the next.

    Raises
    ------
    ValueError
        If `p` is not in (0, 1].
    """
    shares = _checked_shares((p,), "p")
    return over_tokens(_top_mass, weights, dim, share=shares[0])


def mass_curve(weights: Weights, shares: Sequence[float] = SHARES, *, offset: int = 0, dim: str = "token") -> Weights:
    """Share of the attention held by the top `shares` of the tokens: the cumulative curve, [..., share].

    Parameters
    ----------
    weights
        Attention weights [..., token].
    shares
        Shares of the tokens, each in (0, 1].
    offset
        Tokens counted beyond each share. 0 is exact; 1 reproduces the curve as FasterVLM's script draws it, where
        the point at k/n holds k + 1 tokens (llava/eval/analyze_attn_dispersion.py, Theia-4869/FasterVLM@f5d5f12).
    dim
        Token dimension of a DataArray.

    Raises
    ------
    ValueError
        If a share is not in (0, 1], or the offset is negative.
    """
    checked = _checked_shares(shares, "shares")
    if offset < 0:
        raise ValueError(f"`offset` must be at least 0 tokens, got {offset}")
    return over_tokens(_mass_curve, weights, dim, part="share", labels=checked, shares=checked, offset=offset)


def spatial_spread(weights: Weights, grid: tuple[int, int], dim: str = "token", *, unit: Unit = "side") -> Weights:
    """Root mean square distance from the centroid: 0 with all weight on one token.

    With unit "side" rows and columns are scaled to [0, 1]: about 0.41 for even attention on a large grid, 0.71 for two
    opposite corners. With unit "patch" they are counted: about 9.8 for even attention on 24 x 24.

    Raises
    ------
    ValueError
        If `grid` = (rows, columns) does not hold all tokens, or for another unit.
    """
    return over_tokens(_spatial_spread, weights, dim, grid=grid, unit=unit)


def _checked_shares(shares: Sequence[float], name: str) -> tuple[float, ...]:
    for share in shares:
        if not 0 < share <= 1:
            raise ValueError(f"`{name}` must be in (0, 1], got {share}")
    return tuple(float(share) for share in shares)


def _entropy(p: Float64Array) -> Float64Array:
    return np.asarray(entr(p).sum(-1))


def _effective_tokens(p: Float64Array) -> Float64Array:
    return np.exp(_entropy(p))


def _participation_ratio(p: Float64Array) -> Float64Array:
    return np.asarray(1 / np.square(p).sum(-1))


def _gini(p: Float64Array) -> Float64Array:
    n = p.shape[-1]
    return np.asarray(np.sort(p, -1) @ (2 * np.arange(1, n + 1) - n - 1) / n)


def _top_mass(p: Float64Array, share: float) -> Float64Array:
    return _mass_curve(p, (share,))[..., 0]


def _mass_curve(p: Float64Array, shares: tuple[float, ...], offset: int = 0) -> Float64Array:
    n = p.shape[-1]
    held = np.zeros((*p.shape[:-1], n + 1))
    np.cumsum(-np.sort(-p, -1), -1, out=held[..., 1:])
    tokens = np.minimum(np.asarray(shares) * n + offset, n)
    below = np.minimum(tokens.astype(np.int64), n - 1)
    result: Float64Array = held[..., below] + (tokens - below) * (held[..., below + 1] - held[..., below])
    return result


def _spatial_spread(p: Float64Array, grid: tuple[int, int], unit: Unit) -> Float64Array:
    at = grid_positions(grid, p.shape[-1], unit)
    variance = p @ np.square(at) - np.square(p @ at)
    result: Float64Array = np.sqrt(np.maximum(variance.sum(-1), 0))
    return result
