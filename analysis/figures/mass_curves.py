"""How much of the attention the most attended tokens hold."""

from __future__ import annotations

import itertools
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from . import frames
from .layers import chosen_layers, layer_legend, layer_lines, source_panels
from .palette import INK, MUTED
from .panels import Panels, themed
from .style import narrow

PUBLISHED_MARKERS = ("o", "s", "^", "D", "v")
SHOWN = 6


@themed
def mass_curves(curves: pd.DataFrame, *, published: pd.DataFrame | None = None) -> Panels:
    """Cumulative curve per layer, a panel per source: the top p % of the tokens hold q % of the visual attention.

    Parameters
    ----------
    curves
        Columns `frames.CURVES`, as `metrics.mass_curves` returns: share of the tokens and mass, in (0, 1].
    published
        Columns `frames.PUBLISHED_CURVES`, as `published_mass_curves` returns: drawn as markers in ink on the panel of
        the same source, with their labels. Those of other sources are not drawn.

    Raises
    ------
    ValueError
        If columns or rows are missing or a row is there twice.
    """
    shown = chosen_layers(frames.CURVES.check(curves), None, SHOWN)
    figure, panels = source_panels(shown, 2.9)
    for panel in panels:
        ax = panel.ax
        ax.plot([0, 100], [0, 100], color=MUTED, linewidth=0.8, linestyle=(0, (3, 2)), zorder=1.2)
        ax.annotate("even", (78, 78), xytext=(3, -3), textcoords="offset points", va="top", fontsize=7, color=MUTED)
        for line, color in layer_lines(panel, "share"):
            ax.plot([0, *(100 * line["share"])], [0, *(100 * line["mass"])], color=color)
        layer_legend(panel, loc="lower right", more=_overlay(ax, panel.source, published))
        ax.set(xlim=(-2, 102), ylim=(-2, 102), xlabel="Most attended tokens")
        ax.xaxis.set_major_formatter(PercentFormatter(100, decimals=0))
        ax.yaxis.set_major_formatter(PercentFormatter(100, decimals=0))
    panels[0].ax.set_ylabel("Share of visual attention")
    return Panels(figure)


def _overlay(ax: Axes, source: str, published: pd.DataFrame | None) -> list[Line2D]:
    """Draw the published points of one source; their legend entries."""
    if published is None:
        return []
    rows = frames.PUBLISHED_CURVES.check(published)
    handles = []
    for marker, (label, line) in zip(
        itertools.cycle(PUBLISHED_MARKERS), rows[rows["source"] == source].groupby("label", sort=False), strict=False
    ):
        line = line.sort_values("share")
        style: dict[str, Any] = {
            "color": INK,
            "marker": marker,
            "markerfacecolor": "white",
            "linestyle": ":",
            "linewidth": 0.8,
        }
        ax.plot(100 * line["share"], 100 * line["mass"], zorder=3, **style)
        name = str(label).replace(" (", "\n(") if narrow() else str(label)
        handles.append(Line2D([], [], label=name, **style))
    return handles
