"""What figures with a line per layer share: a panel per source, shades from first to last layer, and their legend."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .palette import source_look
from .style import width

NAMED = 3
"""Most layers that a legend names; of more, the first, the middle and the last."""


Corner = Literal["upper left", "upper right", "lower right", "above"]
"""Where the legend of a panel stands; "above" is beside its title, in one line."""


class Panel(NamedTuple):
    """One source: where it is drawn, its rows, and the colour of each of its layers."""

    ax: Axes
    source: str
    rows: pd.DataFrame
    shades: dict[int, tuple[float, float, float]]


def source_panels(frame: pd.DataFrame, height: float, *, stacked: bool = False) -> tuple[Figure, list[Panel]]:
    """A figure with one panel per source, side by side or one below the other, in order of appearance."""
    sources = [str(source) for source in frame["source"].unique()]
    count = len(sources)
    size = (width(), height * count) if stacked else (width(1 if count > 1 else 0.5), height)
    figure = Figure(figsize=size)
    shape = (count, 1) if stacked else (1, count)
    axes = figure.subplots(*shape, squeeze=False, sharex=True, sharey=not stacked).ravel()
    panels = []
    for ax, source in zip(axes, sources, strict=True):
        rows = frame[frame["source"] == source]
        look = source_look(source)
        ax.set_title(look.label)
        layers = sorted(int(layer) for layer in rows["layer"].unique())
        panels.append(Panel(ax, source, rows, dict(zip(layers, shades(look.color, len(layers)), strict=True))))
    return figure, panels


def shades(color: str, count: int) -> list[tuple[float, float, float]]:
    """`count` shades of one hue, light to full: order survives in grey print and for every kind of colour vision."""
    hue = np.array(to_rgb(color))
    mixed = [1 - strength * (1 - hue) for strength in np.linspace(0.3, 1, count)] if count > 1 else [hue]
    return [(float(r), float(g), float(b)) for r, g, b in mixed]


def layer_lines(panel: Panel, along: str) -> Iterator[tuple[pd.DataFrame, tuple[float, float, float]]]:
    """The rows of each layer, ordered along a column, and its shade."""
    for layer, color in panel.shades.items():
        yield panel.rows[panel.rows["layer"] == layer].sort_values(along), color


def chosen_layers(frame: pd.DataFrame, layers: Sequence[int] | None, most: int) -> pd.DataFrame:
    """Rows of `layers`, or for None of at most `most` layers of each source: the first, the last, evenly between.

    Raises
    ------
    ValueError
        If no source has one of the layers.
    """
    if layers is not None:
        known = sorted({int(layer) for layer in frame["layer"]})
        absent = [layer for layer in layers if layer not in known]
        if absent or not layers:
            raise ValueError(f"`layers` must be among {known}, got {absent or 'none'}")
        return frame[frame["layer"].isin(list(layers))]
    parts = []
    for _, rows in frame.groupby("source", sort=False):
        parts.append(rows[rows["layer"].isin(_spread(sorted(int(layer) for layer in rows["layer"].unique()), most))])
    return pd.concat(parts)


def layer_legend(panel: Panel, *, loc: Corner, more: Sequence[Line2D] = ()) -> None:
    """Name the layers of a panel by their shades, and what else is in it."""
    named = _spread(list(panel.shades), NAMED)
    handles = [Line2D([], [], color=panel.shades[layer], label=f"layer {layer}") for layer in named]
    place: dict[str, Any] = {"loc": loc, "borderaxespad": 0.3}
    if loc == "above":
        place = {"loc": "lower right", "bbox_to_anchor": (1, 1), "ncols": len(handles) + len(more), "borderaxespad": 0}
    panel.ax.legend(handles=[*handles, *more], handlelength=1.4, labelspacing=0.25, **place)


def _spread(layers: list[int], most: int) -> list[int]:
    at = np.unique(np.linspace(0, len(layers) - 1, min(most, len(layers))).round().astype(int))
    return [layers[i] for i in at]
