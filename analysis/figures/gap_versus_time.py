"""How fast a certified gap closes."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from . import frames
from .certified_gap import OBJECTIVE_NAMES
from .comparison import at_budget, largest_finite, name_solvers, percent_axis
from .palette import MUTED, solver_look
from .panels import Panels, themed
from .style import width


@themed
def gap_versus_time(progress: pd.DataFrame, *, budget: int | None = None) -> Panels:
    """A panel per objective: gap of the best selection so far to the best bound, and to the solver's own bound.

    Parameters
    ----------
    progress
        Columns `frames.PROGRESS`, as `Study.gap_versus_time` returns them. A solver whose gap is the same at all times
        is a point and a pale line: it has nothing to improve.
    budget
        Budget to draw; None takes the lower median of the frame.

    Raises
    ------
    ValueError
        If columns or rows are missing or a row is there twice, or `budget` is not in the frame.
    """
    frames.PROGRESS.check(progress)
    rows, budget = at_budget(progress, budget, "progress")
    objectives = [str(name) for name in rows["objective"].unique()]
    solvers = [str(name) for name in rows["solver"].unique()]
    figure = Figure(figsize=(width(), max(2.9, 0.95 + 0.165 * len(solvers))))  # the legend has four lines more
    panels = figure.subplots(1, len(objectives), sharey=True, squeeze=False)[0]
    largest = 100 * largest_finite(rows[["relative_gap", "proven_gap"]])
    for ax, objective in zip(panels, objectives, strict=True):
        _panel(ax, rows[rows["objective"] == objective])
        ax.set_title(OBJECTIVE_NAMES.get(objective, objective))
    percent_axis(panels[0], "y", largest)
    panels[0].set_ylabel(f"Mean gap at {budget} tokens (%)")
    figure.supxlabel("Seconds", fontsize=8)
    kinds = [
        Line2D([], [], color=MUTED, label="to the best bound\nknown"),
        Line2D([], [], color=MUTED, linewidth=0.8, alpha=0.6, label="to its own bound\nso far"),
    ]
    name_solvers(figure, solvers, lines=True, more=kinds)
    return Panels(figure)


def _panel(ax: Axes, rows: pd.DataFrame) -> None:
    ax.set_xscale("log")
    for solver, line in rows.groupby("solver", sort=False):
        style, line = solver_look(str(solver)), line.sort_values("seconds")
        seconds = line["seconds"].to_numpy(dtype=np.float64)
        gaps, proven = (100 * line[name].to_numpy(dtype=np.float64) for name in ("relative_gap", "proven_gap"))
        still = bool(np.ptp(gaps) == 0) if np.isfinite(gaps).all() else False
        ax.plot(seconds, gaps, color=style.color, linestyle=style.dash, alpha=0.35 if still else 1.0)
        ax.plot(seconds[:1], gaps[:1], color=style.color, marker=style.marker, linestyle="")
        known = np.isfinite(proven)
        ax.plot(seconds[known], proven[known], color=style.color, linewidth=0.8, alpha=0.6)
