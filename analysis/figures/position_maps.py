"""Where in the image attention falls on average, layer by layer."""

from __future__ import annotations

import pandas as pd

from . import frames
from .palette import MUTED, source_look
from .panels import Panels, themed
from .pictures import panel_grid


@themed
def position_maps(profile: pd.DataFrame, *, columns: int = 6) -> Panels:
    """Mean attention per token of the grid, a panel per source and layer, every panel with its own colour scale.

    Scales run from 0 to the largest weight, which is printed below with how many times even attention it is: contents
    average out over images, so that what remains is a habit of position.

    Parameters
    ----------
    profile
        Columns `frames.PROFILE`, as `metrics.profile` returns.
    columns
        Panels side by side.

    Raises
    ------
    ValueError
        If columns or rows are missing or a row is there twice, or a token of the grid is missing.
    """
    frames.PROFILE.check(profile)
    parts = list(profile.groupby(["source", "layer"], sort=False))
    titles = [f"{source_look(str(source)).label}\nlayer {layer}" for (source, layer), _ in parts]
    rows, wide = int(profile["row"].max()) + 1, int(profile["column"].max()) + 1
    figure, panels = panel_grid(titles, columns, rows / wide, notes=True)
    for ax, (place, part) in zip(panels, parts, strict=True):
        weights = part.pivot_table("weight", "row", "column").to_numpy()
        if len(part) != rows * wide or weights.shape != (rows, wide):
            raise ValueError(f"`profile` must have {rows} x {wide} tokens for {place[0]}, layer {place[1]}")
        largest = float(weights.max())
        times = largest / float(weights.mean())
        ax.imshow(weights, cmap="YlOrRd", vmin=0, vmax=largest, interpolation="nearest")
        ax.set_xlabel(f"largest {100 * largest:.2g} %, {times:.2g} x mean", fontsize=6, color=MUTED, labelpad=3)
    return Panels(figure)
