"""Which patches each pruner keeps."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping

import numpy as np
from matplotlib.collections import LineCollection
from numpy.typing import NDArray

from .palette import INK, MUTED, look
from .panels import Panels, themed
from .pictures import Picture, as_pixels, faded, panel_grid, token_mask


@themed
def kept_tokens(
    image: Picture,
    kept: Mapping[str, Iterable[int]],
    grid: tuple[int, int],
    *,
    needed: Iterable[int] = (),
    notes: Mapping[str, str] | None = None,
    title: str | None = None,
    columns: int = 6,
) -> Panels:
    """One panel per pruner: kept patches in colour, the others faded; tokens that the question needs are outlined.

    Parameters
    ----------
    image
        The picture, PIL or uint8 [y, x, rgb].
    kept
        Pruner name to kept token indices (raster order).
    grid
        (rows, columns) of the visual tokens.
    needed
        Tokens without which the question cannot be answered, outlined in every panel.
    notes
        Pruner name to a short line below its panel, for example the answer it leads to.
    title
        What stands over the figure, for example the question.
    columns
        Panels side by side, the unpruned picture included.

    Raises
    ------
    ValueError
        If there is no pruner, or a token is outside the grid.
    """
    if not kept:
        raise ValueError("`kept` must hold at least one pruner")
    pixels = as_pixels(image)
    height, width = pixels.shape[:2]
    notes = notes or {}
    outline = _outline(needed, grid, (height, width))
    titles = ["Image", *(textwrap.fill(look(name).label, 18) for name in kept)]
    figure, panels = panel_grid(titles, columns, height / width, heading=title, notes=bool(notes))
    panels[0].imshow(pixels, interpolation="nearest")
    dim = faded(pixels, 0.72)
    for ax, (name, tokens) in zip(panels[1:], kept.items(), strict=True):
        lit = token_mask(tokens, grid, (height, width))
        ax.imshow(np.where(lit[..., None], pixels, dim), interpolation="nearest")
        if name in notes:
            ax.set_xlabel(notes[name], fontsize=6.5, color=MUTED, labelpad=3)
    for ax in panels:
        ax.add_collection(LineCollection(list(outline), colors="white", linewidths=1.8, capstyle="projecting"))
        ax.add_collection(LineCollection(list(outline), colors=INK, linewidths=0.8, capstyle="projecting"))
    return Panels(figure)


def _outline(tokens: Iterable[int], grid: tuple[int, int], size: tuple[int, int]) -> NDArray[np.float64]:
    """Border segments [segment, end, xy] of the region that `tokens` cover, in pixel coordinates."""
    rows, cols = grid
    inside = np.pad(token_mask(tokens, grid, grid), 1)
    step_y, step_x = size[0] / rows, size[1] / cols
    across = np.argwhere(inside[1:, 1:-1] != inside[:-1, 1:-1])  # between a patch and the one below
    down = np.argwhere(inside[1:-1, 1:] != inside[1:-1, :-1])  # between a patch and the one to its right
    horizontal = [[(x * step_x, y * step_y), ((x + 1) * step_x, y * step_y)] for y, x in across]
    vertical = [[(x * step_x, y * step_y), (x * step_x, (y + 1) * step_y)] for y, x in down]
    return np.array(horizontal + vertical, dtype=np.float64).reshape(-1, 2, 2) - 0.5
