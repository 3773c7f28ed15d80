"""What accuracy costs in arithmetic and in memory."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter

from . import frames, palette
from .labels import LineEnd, height_for, label_line_ends
from .panels import Panels, themed
from .style import reference_line, width

PANELS = {"flops_ratio": "FLOPs of the prefill", "kv_ratio": "KV cache"}
TICKS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0)


@themed
def accuracy_vs_cost(accuracy: pd.DataFrame, cost: pd.DataFrame) -> Panels:
    """Mean accuracy with its interval against prefill FLOPs and KV cache, both as shares of the full model.

    Parameters
    ----------
    accuracy
        Columns `frames.ACCURACY`; the mean over tasks is drawn.
    cost
        Columns `frames.COST`; ratios to the full model.

    Raises
    ------
    ValueError
        If columns or rows are missing or a row is there twice, or the frames have no pruner and budget in common.
    """
    frames.ACCURACY.check(accuracy)
    frames.COST.check(cost)
    mean = accuracy[(accuracy["task"] == frames.MEAN) & (accuracy["pruner"] != frames.FULL)]
    points = mean.merge(cost[list(frames.COST.columns)], on=["pruner", "keep"])
    if points.empty:
        raise ValueError("`accuracy` and `cost` must have pruners and budgets in common, got none")
    figure = Figure(figsize=(width(), height_for(points["pruner"].nunique(), 2.7)))
    panels = figure.subplots(1, len(PANELS), sharey=True)
    full = frames.full_model(accuracy)
    ends: dict[str, LineEnd] = {}
    for ax, (ratio, label) in zip(panels, PANELS.items(), strict=True):
        ends = cost_panel(ax, points, ratio)
        if full is not None:
            reference_line(ax, float(full["estimate"]), "full model")
        ax.set_title(label)
    panels[0].margins(y=0.08)
    panels[0].set_ylabel("Accuracy, mean over tasks")
    panels[0].yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    figure.supxlabel("Share of the full model (→ cheaper)", fontsize=8)
    label_line_ends(panels[-1], ends)
    return Panels(figure)


def cost_panel(ax: Axes, points: pd.DataFrame, ratio: str) -> dict[str, LineEnd]:
    """Draw every pruner against `ratio`, cheaper to the right; return the cheap ends of the lines."""
    ends = {}
    for name in frames.ranked(points, frames.budgets(points)[-1]):
        line = points[points["pruner"] == name].sort_values("keep", ascending=False)
        style = palette.look(name)
        ax.vlines(line[ratio], line["low"], line["high"], color=style.color, linewidth=0.7, alpha=0.5)
        ax.plot(
            line[ratio], line["estimate"], color=style.color, marker=style.marker, linestyle=style.dash, linewidth=1
        )
        ends[name] = LineEnd(float(line[ratio].iloc[-1]), float(line["estimate"].iloc[-1]), style)
    ax.set_xscale("log")
    low, high = float(points[ratio].min()), float(points[ratio].max())
    ax.set_xlim(high * 1.12, low / 1.12)
    ax.xaxis.set_major_locator(FixedLocator(TICKS))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    return ends
