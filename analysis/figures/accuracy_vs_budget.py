"""End-task accuracy against the number of tokens kept."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from . import frames, palette
from .labels import LineEnd, height_for, label_line_ends
from .panels import Panels, themed
from .style import interval_band, reference_line, width


@themed
def accuracy_vs_budget(accuracy: pd.DataFrame, *, task: str = frames.MEAN) -> Panels:
    """Accuracy of every pruner over the budgets with 95 % bands, and the full model's as a line.

    Budgets shrink to the right, where methods differ most and where the names stand. The oracle and the choices that
    look at nothing are drawn in black and grey, broken lines.

    Parameters
    ----------
    accuracy
        Columns `frames.ACCURACY`, accuracies in [0, 1]; the row with pruner "none" is the full model.
    task
        Task to draw; "mean" is the mean over tasks.

    Raises
    ------
    ValueError
        If columns or rows are missing or a row is there twice, or `task` is not in the frame.
    """
    rows = _rows_of(accuracy, task)
    keeps = frames.budgets(rows)
    frames.chosen_budget(rows, None, "accuracy")
    place = {keep: index for index, keep in enumerate(keeps)}

    names = frames.ranked(rows, keeps[-1], task)
    figure = Figure(figsize=(width(0.72), height_for(len(names), 3.1)))
    ax = figure.subplots()
    ends = {}
    for name in names:
        line = rows[rows["pruner"] == name].sort_values("keep", ascending=False)
        style = palette.look(name)
        x = [place[int(keep)] for keep in line["keep"]]
        interval_band(ax, x, line["low"], line["high"], style.color)
        ax.plot(x, line["estimate"], color=style.color, marker=style.marker, linestyle=style.dash, clip_on=False)
        ends[name] = LineEnd(x[-1], float(line["estimate"].iloc[-1]), style)
    full = frames.full_model(accuracy, task)
    if full is not None:
        ax.axhspan(full["low"], full["high"], color=palette.MUTED, alpha=0.12, linewidth=0, zorder=1)
        reference_line(ax, float(full["estimate"]), f"full model, {int(full['keep'])} tokens")
    ax.margins(y=0.06)
    ax.set_xlim(-0.15, len(keeps) - 1)
    ax.set_xticks(range(len(keeps)), [str(keep) for keep in keeps])
    ax.set_xlabel("Visual tokens kept")
    ax.set_ylabel("Accuracy, mean over tasks" if task == frames.MEAN else f"Accuracy, {task}")
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    label_line_ends(ax, ends)
    return Panels(figure)


def _rows_of(accuracy: pd.DataFrame, task: str) -> pd.DataFrame:
    frames.ACCURACY.check(accuracy)
    rows = accuracy[accuracy["task"] == task]
    if rows.empty:
        known = ", ".join(map(str, accuracy["task"].unique()))
        raise ValueError(f"`task` must be one of {known}, got {task!r}")
    return rows
