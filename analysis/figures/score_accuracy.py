"""What a score is good for: accuracy with the tokens that it ranks first."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from . import frames
from .palette import INK, MUTED, score_look
from .panels import Panels, themed
from .style import width


@themed
def score_accuracy(scores: pd.DataFrame) -> Panels:
    """Bars with 95 % intervals: a panel per budget, a bar per score that ranks the tokens, in the order of the frame.

    Parameters
    ----------
    scores
        Columns `frames.SCORES`, accuracies in [0, 1], as the rows of `causes.usefulness_summary` whose quantity is
        "accuracy" and whose task is "mean". The bar of "random" is continued as a line.

    Raises
    ------
    ValueError
        If columns or rows are missing or a row is there twice.
    """
    frames.SCORES.check(scores)
    names = [str(name) for name in scores["score"].unique()]
    keeps = frames.budgets(scores)
    figure = Figure(figsize=(width(), 0.75 + 0.17 * len(names)))
    panels = figure.subplots(1, len(keeps), sharex=True, sharey=True, squeeze=False)[0]
    for ax, keep in zip(panels, keeps, strict=True):
        _panel(ax, scores[scores["keep"] == keep].set_index("score"), names)
        ax.set_title(f"{keep} tokens")
    panels[0].set_yticks(range(len(names)), [score_look(name).label for name in names])
    panels[0].set_ylim(len(names) - 0.4, -0.6)
    panels[0].set_xlim(0, 1)
    panels[0].set_xticks([0, 0.25, 0.5, 0.75])  # not 1, which would touch the 0 of the next panel
    panels[0].xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=""))
    figure.supxlabel("Accuracy with the tokens ranked first (%)", fontsize=8)
    return Panels(figure)


def _panel(ax: Axes, rows: pd.DataFrame, names: list[str]) -> None:
    if "random" in rows.index:
        ax.axvline(float(rows["estimate"]["random"]), color=MUTED, linewidth=0.8, linestyle=(0, (3, 2)), zorder=1.2)
    for place, name in enumerate(names):
        if name not in rows.index:
            continue
        row = rows.loc[name]
        ax.barh(place, row["estimate"], height=0.72, color=score_look(name).color, alpha=0.85)
        ax.plot([row["low"], row["high"]], [place, place], color=INK, linewidth=1.0, solid_capstyle="butt")
    ax.grid(visible=False)
    ax.tick_params(axis="y", length=0)
