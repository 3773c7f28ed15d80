"""Features like those of CLIP patches, from a seed."""

from __future__ import annotations

import numpy as np

from ..arrays import Float64Array
from ..problem import Problem
from ..solver import checked_seed
from .checks import at_least, rows_and_columns

CLUSTERS = 24
"""Directions that the tokens of `clip_like` mix."""
_COMMON, _NOISE = 0.6, 0.75  # lengths of the shared direction and of the noise, beside a mixture of length one or less
_SHARPNESS = 2.5  # standard deviation of the mixture's logits
_SMOOTH = 1.0  # standard deviation in tokens of the Gaussian that the smooth part of the noise is filtered with


def clip_like(
    budget: int = 64, *, grid: tuple[int, int] = (24, 24), tiles: int = 1, dim: int = 1024, seed: int = 0
) -> Problem:
    """Synthetic tokens with the similarities of CLIP patches, and a saliency under the name "cls".

    A direction that all tokens share, a spatially smooth mixture of 24 directions, smooth and white noise; rows of
    length one. With the default grid and width the cosines of an image have their 1 % quantile near 0.19, their median
    near 0.33, their 99 % quantile near 0.64 and a mean of 0.69 between horizontal neighbours; the 64 most salient
    tokens hold about 75 % of the saliency. What a real model sees has other values: see `load`.

    Parameters
    ----------
    budget
        Number of tokens to keep, in [1, n].
    grid
        Rows and columns of a tile.
    tiles
        Number of tiles; they share all directions. The groups of the problem are the tiles where there are several,
        its grid is `grid` where there is one.
    dim
        Width of the features.
    seed
        Seed of the NumPy generator.

    Returns
    -------
    Problem
        features float32 [token, dim], tile by tile in row order; signal "cls" float64 [token] with sum one.

    Raises
    ------
    ValueError
        If the budget is not in [1, n], the seed negative, or another number below one.

    Examples
    --------
    >>> clip_like(8, grid=(4, 5), tiles=2, dim=16)
    Problem('clip_like 2x4x5 dim 16 seed 0', keep 8 of 40, features [40, 16], signals ['cls'])
    """
    rows, columns = rows_and_columns(grid)
    tiles, dim = at_least("tiles", tiles, 1), at_least("dim", dim, 1)
    rng = np.random.default_rng(checked_seed(seed))
    directions = _unit(rng.standard_normal((CLUSTERS + 1, dim)))
    features, logits = zip(*(_tile(rng, directions, rows, columns) for _ in range(tiles)), strict=True)
    weights = np.exp(np.concatenate(logits) - np.max(logits))
    return Problem.from_features(
        np.concatenate(features).astype(np.float32),
        budget,
        signals={"cls": weights / weights.sum()},
        grid=(rows, columns) if tiles == 1 else None,
        groups=np.repeat(np.arange(tiles), rows * columns) if tiles > 1 else None,
        id=f"clip_like {f'{tiles}x' if tiles > 1 else ''}{rows}x{columns} dim {dim} seed {seed}",
    )


def _tile(
    rng: np.random.Generator, directions: Float64Array, rows: int, columns: int
) -> tuple[Float64Array, Float64Array]:
    """Features [token, dim] of one tile, and its logits of saliency [token]."""
    dim = directions.shape[1]
    mixture = _smooth(rng.standard_normal((rows, columns, CLUSTERS)), 2 * _SMOOTH)
    mixture = np.exp(_SHARPNESS * mixture / max(float(mixture.std()), 1e-300))
    mixture /= mixture.sum(axis=2, keepdims=True)
    white = rng.standard_normal((rows, columns, dim)) / np.sqrt(dim)
    smooth = _smooth(rng.standard_normal((rows, columns, dim)), _SMOOTH)
    smooth /= np.linalg.norm(smooth, axis=2).mean()
    tokens = _COMMON * directions[0] + mixture @ directions[1:] + _NOISE * (smooth + white) / np.sqrt(2.0)
    blobs = _smooth(rng.standard_normal((rows, columns, 1)), _SMOOTH)[..., 0]
    logits = 1.6 * blobs / max(float(blobs.std()), 1e-300) + 0.8 * rng.standard_normal((rows, columns))
    return _unit(tokens.reshape(-1, dim)), logits.reshape(-1)


def _smooth(noise: Float64Array, width: float) -> Float64Array:
    """`noise` [row, column, channel], each channel filtered by a Gaussian of so many tokens."""
    from scipy.ndimage import gaussian_filter  # a heavy import, for those who make instances only

    filtered: Float64Array = gaussian_filter(noise, (width, width, 0.0))
    return filtered


def _unit(rows: Float64Array) -> Float64Array:
    lengths: Float64Array = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / lengths
