"""Labels at the ends of lines, moved apart where they would overlap, in place of a legend box."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import ConnectionPatch
from matplotlib.transforms import ScaledTranslation, blended_transform_factory
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import isotonic_regression

from .palette import INK, Look

LINE_HEIGHT = 8.4 / 72
"""Least distance of two 7-point labels, in inches."""


def height_for(labels: int, least: float) -> float:
    """Inches of a figure whose axes have room for so many labels, at least `least`."""
    return max(least, 0.8 + labels * LINE_HEIGHT)


class LineEnd(NamedTuple):
    """The last point of a line, in data coordinates, and how the line looks."""

    x: float
    y: float
    look: Look


def spread_apart(positions: ArrayLike, gap: float, low: float, high: float) -> NDArray[np.float64]:
    """Positions nearest to `positions` (least squares) that keep their order and stay `gap` apart in [low, high].

    Parameters
    ----------
    positions
        Wanted places [label], any order.
    gap
        Least distance of neighbours, in the same unit; smaller than asked where `high - low` leaves no room.
    low, high
        Ends of the room.

    Returns
    -------
    float64 [label], in the order of `positions`.

    Notes
    -----
    With z_i = y_i - i gap the wish is an isotonic regression, cut off at the ends of the room.
    """
    wanted = np.asarray(positions, dtype=np.float64)
    count = wanted.size
    if count == 0:
        return wanted
    gap = min(gap, (high - low) / max(count - 1, 1))
    order = np.argsort(wanted, kind="stable")
    shifted = isotonic_regression(wanted[order] - np.arange(count) * gap).x
    shifted = np.clip(shifted, low, high - (count - 1) * gap)
    placed = np.empty(count)
    placed[order] = shifted + np.arange(count) * gap
    return placed


def label_line_ends(ax: Axes, ends: Mapping[str, LineEnd]) -> None:
    """Name lines to the right of the axes, each name joined to its line's end by a hairline.

    Parameters
    ----------
    ax
        Axes with a linear y scale, whose limits and neighbours are final.
    ends
        Name to line end; the printed text is the look's label.
    """
    if not ends:
        return
    figure = ax.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()  # the layout engine decides the height only now
    height = ax.get_window_extent().height / figure.dpi
    bottom, top = ax.get_ylim()
    names = list(ends)
    places = spread_apart([ends[name].y for name in names], (top - bottom) * LINE_HEIGHT / height, bottom, top)
    right_edge = ScaledTranslation(1, 0, ax.transAxes)  # type: ignore[arg-type]
    beside = blended_transform_factory(figure.dpi_scale_trans + right_edge, ax.transData)
    for name, place in zip(names, places, strict=True):
        x, y, look = ends[name]
        hairline = ConnectionPatch(
            (x, y), (0.16, place), "data", beside, axesA=ax, color=look.color, linewidth=0.5, alpha=0.6, zorder=1
        )
        hairline.set_in_layout(False)
        ax.add_artist(hairline)
        text_at = 0.19
        if look.marker:
            ax.plot([0.22], [place], transform=beside, color=look.color, marker=look.marker, clip_on=False)
            text_at = 0.29
        ax.text(text_at, place, look.label, transform=beside, va="center_baseline", fontsize=7, color=INK)
