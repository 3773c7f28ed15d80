"""Which tasks suffer under which pruner, at one budget."""

from __future__ import annotations

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from . import frames, palette
from .panels import Panels, themed
from .style import narrow, width


@themed
def accuracy_by_task(accuracy: pd.DataFrame, *, keep: int | None = None) -> Panels:
    """Heat map of accuracy in percent: a row per pruner, best mean first, a column per task; the full model on top.

    Parameters
    ----------
    accuracy
        Columns `frames.ACCURACY`, accuracies in [0, 1].
    keep
        Budget to draw; None takes the lower median of the frame.

    Raises
    ------
    ValueError
        If columns or rows are missing or a row is there twice, or `keep` is not in the frame.
    """
    frames.ACCURACY.check(accuracy)
    keep = frames.chosen_budget(accuracy, keep, "accuracy")
    order = frames.ranked(accuracy, keep)
    full = accuracy[accuracy["pruner"] == frames.FULL]
    rows = pd.concat([full, accuracy[(accuracy["keep"] == keep) & accuracy["pruner"].isin(order)]])
    names = ([frames.FULL] if len(full) else []) + order
    columns = [*frames.tasks(accuracy), frames.MEAN]
    table = rows.pivot(index="pruner", columns="task", values="estimate").reindex(index=names, columns=columns)

    figure = Figure(figsize=(width(), 0.75 + 0.2 * len(names)))
    ax = figure.subplots()
    palest = 10 * np.floor(10 * np.nanmin(table.to_numpy(float)))
    sns.heatmap(
        100 * table, annot=True, fmt=".0f", cmap="Blues", vmin=palest, vmax=100, linewidths=1.2, linecolor="white",
        annot_kws={"fontsize": 7}, cbar=False, ax=ax,
    )  # fmt: skip
    if len(full):
        ax.axhline(1, color=palette.INK, linewidth=1)
    ax.axvline(len(columns) - 1, color=palette.INK, linewidth=1)
    ax.set_yticklabels([palette.look(name).label for name in names], rotation=0)
    ax.xaxis.tick_top()
    if narrow():
        ax.set_xticklabels(
            [column.replace("_", " ") for column in columns], rotation=40, ha="left", rotation_mode="anchor"
        )
    else:
        ax.set_xticklabels([column.replace("_", "\n") for column in columns], rotation=0)
    ax.tick_params(length=0)
    ax.set(xlabel="", ylabel="")
    ax.set_title(f"Accuracy at {keep} visual tokens (%)", pad=8)
    return Panels(figure)
