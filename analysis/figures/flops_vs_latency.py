"""Whether time follows the arithmetic that is saved."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from . import frames
from .comparison import name_lines, panels_of
from .palette import MUTED, look
from .panels import Panels, themed


@themed
def flops_vs_latency(work: pd.DataFrame) -> Panels:
    """FLOPs until the first token against the time until then, as shares of the full model's; a panel per model.

    On the diagonal time would follow FLOPs; above it, something else takes the time.

    Parameters
    ----------
    work
        Columns `frames.WORK`, as `counted` returns: pruner "none" is the full model. A line joins the budgets of a
        pruner.

    Raises
    ------
    ValueError
        If columns or rows are missing or a row is there twice, or a full model is missing.
    """
    frames.WORK.check(work)
    points = frames.against_full(work, "first_token_ms", "work")
    points = points.assign(flops=frames.against_full(work, "first_token_flops", "work")["share"])
    models = [str(model) for model in points["model"].unique()]
    pruners = [str(name) for name in points["pruner"].unique()]
    figure, panels = panels_of(models, 2, 2.5, 0.35 + 0.165 * len(pruners))
    for ax, model in zip(panels, models, strict=True):
        _panel(ax, points[points["model"] == model])
    panels[0].set_ylim(bottom=0)
    figure.supylabel("Time to first token against full model", fontsize=8)
    figure.supxlabel("FLOPs to first token against full model", fontsize=8)
    name_lines(figure, [look(name) for name in pruners])
    return Panels(figure)


def _panel(ax: Axes, points: pd.DataFrame) -> None:
    ax.axline((0, 0), slope=1, color=MUTED, linewidth=0.8, linestyle=(0, (3, 2)), zorder=1.2)
    for name, line in points.groupby("pruner", sort=False):
        style, line = look(str(name)), line.sort_values("keep")
        ax.plot(
            line["flops"], line["share"], color=style.color, marker=style.marker, linestyle=style.dash, linewidth=0.9
        )
    ax.set_xlim(0, 1.05)
    ax.grid(visible=True, axis="both")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0, decimals=0))
