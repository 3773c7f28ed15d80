"""Whether a selection that an objective values more answers better."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from . import frames
from .certified_gap import OBJECTIVE_NAMES
from .comparison import name_solvers
from .palette import solver_look
from .panels import Panels, themed
from .style import columns, width

COLUMNS = 4
LEAST = 1.45
"""Inches of a panel, as the longest title needs them."""


@themed
def accuracy_vs_value(optimising: pd.DataFrame, *, keep: int | None = None) -> Panels:
    """A panel per objective: mean value as a share of the best bound against accuracy, a point per solver.

    Each panel has a value axis of its own, since objectives differ in how much a bad selection is worth; the accuracy
    axis is shared.

    Parameters
    ----------
    optimising
        Columns `frames.OPTIMISING`, as `data.make.optimising` writes them; rows without an accuracy (a solver that
        cannot take the objective) are left out.
    keep
        Budget to draw; None takes the lower median of the frame.

    Raises
    ------
    ValueError
        If columns or rows are missing or a row is there twice, `keep` is not in the frame, or no row has an accuracy.
    """
    frames.OPTIMISING.check(optimising)
    keep = frames.chosen_budget(optimising, keep, "optimising")
    rows = optimising[(optimising["keep"] == keep) & optimising["accuracy"].notna()]
    if rows.empty:
        raise ValueError(f"`optimising` must have a row with an accuracy at {keep} tokens, got none")
    objectives = [str(name) for name in rows["objective"].unique()]
    wide = min(columns(COLUMNS, LEAST), len(objectives))
    shape = math.ceil(len(objectives) / wide), wide
    figure = Figure(figsize=(width(), 0.9 + 1.35 * shape[0]))
    panels = figure.subplots(*shape, sharey=True, squeeze=False).ravel()
    for ax, objective in zip(panels, objectives, strict=False):
        _panel(ax, rows[rows["objective"] == objective])
        ax.set_title(_title(objective), fontsize=7)
    for ax in panels[len(objectives) :]:
        ax.set_axis_off()
    figure.supylabel(f"Accuracy at {keep} tokens", fontsize=8)
    figure.supxlabel("Mean value as a share of the best bound", fontsize=8)
    name_solvers(figure, [str(name) for name in rows["solver"].unique()], lines=False, above=True)
    return Panels(figure)


def _title(objective: str) -> str:
    """Printed name: that of the class and, in brackets, the values of its parameters; of a sum, those of its terms."""
    if " + " in objective:
        terms = [_title(term.split(" ", 1)[1]) for term in objective.split(" + ")]
        return " + ".join([terms[0], *(term.lower() for term in terms[1:])])
    plain, _, parameters = objective.partition("(")
    values = [pair.rpartition("=")[2] for pair in parameters.rstrip(")").split(", ")]
    return OBJECTIVE_NAMES.get(plain, plain) + (f" ({', '.join(values)})" if parameters else "")


def _panel(ax: Axes, rows: pd.DataFrame) -> None:
    for row in rows.to_dict("records"):
        style = solver_look(str(row["solver"]))
        place = [float(row["share_mean"])], [float(row["accuracy"])]
        if np.isfinite([row["low"], row["high"]]).all():
            ax.plot(place[0] * 2, [row["low"], row["high"]], color=style.color, linewidth=1.0, alpha=0.45)
        # hollow: solvers that find the same value lie on one another
        ax.plot(
            *place, linestyle="", marker=style.marker, markersize=5, color=style.color, markerfacecolor="none",
            markeredgewidth=1.1,
        )  # fmt: skip
    ax.margins(x=0.12)
    ax.grid(visible=True, axis="both")
    ax.xaxis.set_major_locator(MaxNLocator(3))
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
