"""What accuracy costs in time that was measured."""

from __future__ import annotations

import pandas as pd
from matplotlib.ticker import PercentFormatter

from . import frames
from .accuracy_vs_cost import cost_panel
from .comparison import name_lines, panels_of
from .palette import look
from .panels import Panels, themed
from .style import reference_line

TIMES = {"first_token_ms": "Time to first token", "total_ms": "Time of the answer"}
"""Columns of a latency table that can be drawn, and their names."""


@themed
def accuracy_vs_latency(accuracy: pd.DataFrame, latency: pd.DataFrame, *, time: str = "total_ms") -> Panels:
    """Mean accuracy with its interval against measured time as a share of the full model's; a panel per timed model.

    The tables may be of different models: the time of a large architecture does not need trained weights. Budgets are
    matched as shares of the visual tokens.

    Parameters
    ----------
    accuracy
        Columns `frames.ACCURACY` with the row of the full model, whose `keep` is its number of visual tokens; the mean
        over tasks is drawn.
    latency
        Columns `frames.LATENCY`, as `benchmarks.latency` writes them: pruner "none" is the full model, `of` what `keep`
        counts on; rows with a `note` failed and are left out.
    time
        "total_ms" or "first_token_ms".

    Raises
    ------
    ValueError
        If columns or rows are missing or a row is there twice, `time` is another one, a full model is missing, or the
        frames have no pruner and budget in common.
    """
    frames.ACCURACY.check(accuracy)
    if time not in TIMES:
        raise ValueError(f"`time` must be one of {', '.join(TIMES)}, got {time!r}")
    full = frames.full_model(accuracy)
    if full is None:
        raise ValueError(f"`accuracy` must have the row of the full model, pruner {frames.FULL!r}")
    mean = accuracy.loc[accuracy["task"] == frames.MEAN, [*frames.ACCURACY.columns]]
    timed = frames.against_full(frames.timed(latency), time, "latency")
    timed = timed.assign(keep=(timed["keep"] / timed["of"] * full["keep"]).round().astype(int))
    points = mean.merge(timed[["model", "pruner", "keep", "share"]], on=["pruner", "keep"])
    if points.empty:
        raise ValueError("`accuracy` and `latency` must have pruners and budgets in common, got none")
    models = list(dict.fromkeys(str(model) for model in timed["model"] if (points["model"] == model).any()))
    pruners = list(dict.fromkeys(frames.ranked(points, frames.budgets(points)[-1])))
    figure, panels = panels_of(models, 2, 2.5, 0.35 + 0.165 * len(pruners))
    for ax, model in zip(panels, models, strict=True):
        cost_panel(ax, points[points["model"] == model], "share")
        reference_line(ax, float(full["estimate"]), "full model")
    panels[0].set_xlim(1.12 * float(points["share"].max()), float(points["share"].min()) / 1.12)
    panels[0].margins(y=0.08)
    panels[0].yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    figure.supylabel("Accuracy, mean over tasks", fontsize=8)
    figure.supxlabel(f"{TIMES[time]}, share of the full model (→ faster)", fontsize=8)
    name_lines(figure, [look(name) for name in pruners])
    return Panels(figure)
