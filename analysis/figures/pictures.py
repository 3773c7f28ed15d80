"""Pictures under overlays: from image and token grid to the pixels of a panel."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from .style import width

LEAST = 1.1
"""Inches of the narrowest picture."""
LUMA = np.array([0.299, 0.587, 0.114])

Picture = Image.Image | NDArray[np.uint8]


def as_pixels(image: Picture) -> NDArray[np.float64]:
    """`image` as float64 [y, x, rgb] in [0, 1].

    Raises
    ------
    ValueError
        If an array is not uint8 [y, x, rgb].
    """
    if isinstance(image, Image.Image):
        return np.asarray(image.convert("RGB"), dtype=np.float64) / 255
    pixels = np.asarray(image)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise ValueError(f"`image` must be a PIL image or uint8 [y, x, rgb], got {pixels.dtype} {pixels.shape}")
    return pixels / 255


def faded(pixels: NDArray[np.float64], strength: float) -> NDArray[np.float64]:
    """Grey version of `pixels` [y, x, rgb], moved towards white by `strength` in [0, 1]."""
    grey = (pixels @ LUMA)[..., None].repeat(3, axis=2)
    result: NDArray[np.float64] = grey + (1 - grey) * strength
    return result


def token_mask(tokens: Iterable[int], grid: tuple[int, int], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Pixels [y, x] of a picture of `size` (height, width) that the patches of `tokens` cover.

    Raises
    ------
    ValueError
        If a token is outside the grid.
    """
    rows, cols = grid
    indices = np.asarray(list(tokens), dtype=np.int64)
    wrong = indices[(indices < 0) | (indices >= rows * cols)]
    if wrong.size:
        raise ValueError(f"tokens must be in [0, {rows * cols - 1}] for a grid of {rows} x {cols}, got {wrong[0]}")
    kept = np.zeros(rows * cols, dtype=np.bool_)
    kept[indices] = True
    height, width = size
    y = np.minimum(np.arange(height) * rows // height, rows - 1)
    x = np.minimum(np.arange(width) * cols // width, cols - 1)
    result: NDArray[np.bool_] = kept.reshape(rows, cols)[np.ix_(y, x)]
    return result


def checked_map(values: ArrayLike, name: str) -> NDArray[np.float64]:
    """`values` as float64 [row, col].

    Raises
    ------
    ValueError
        If it is not two-dimensional, or holds NaN, infinite or negative numbers.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f"map {name!r} must be [row, col], got shape {array.shape}")
    if not np.isfinite(array).all() or (array < 0).any():
        raise ValueError(f"map {name!r} must hold finite numbers of at least 0")
    return array


def panel_grid(
    titles: Sequence[str], columns: int, aspect: float, *, heading: str | None = None, notes: bool = False
) -> tuple[Figure, list[Axes]]:
    """An empty figure for pictures, rows evenly filled, as high as its pictures and words need.

    Parameters
    ----------
    titles
        Words over each picture; a line break is allowed.
    columns
        Most panels side by side; fewer on paper too narrow for the words below them.
    aspect
        Height over width of the pictures.
    heading
        Line over the whole figure, or None.
    notes
        Whether there will be a line below the pictures.

    Returns
    -------
    The figure, and one empty panel per title.
    """
    rows = -(-len(titles) // min(columns, int(width() / LEAST)))
    wide = -(-len(titles) // rows)
    broken = [any("\n" in title for title in titles[row * wide : (row + 1) * wide]) for row in range(rows)]
    lines = rows * (1 + notes) + sum(broken) + bool(heading)
    height = rows * ((width() / wide - 0.06) * aspect + 0.13) + 0.125 * lines
    figure = Figure(figsize=(width(), height), layout="compressed")
    panels = list(figure.subplots(rows, wide, squeeze=False).ravel())
    for ax, title in zip(panels, [*titles, *[""] * (len(panels) - len(titles))], strict=True):
        ax.set_title(title, fontsize=7)
        ax.set_xticks([])
        ax.set_yticks([])
        ax.grid(visible=False)
        ax.spines[:].set_visible(False)
    if heading:
        figure.suptitle(heading, x=0.004, ha="left", fontsize=8)
    return figure, panels[: len(titles)]
