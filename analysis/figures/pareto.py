"""What a smaller gap costs in time."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from . import frames
from .certified_gap import OBJECTIVE_NAMES
from .comparison import at_budget, largest_finite, name_solvers, percent_axis
from .palette import MUTED, solver_look
from .panels import Panels, themed
from .style import width


@themed
def pareto(front: pd.DataFrame, *, budget: int | None = None) -> Panels:
    """A panel per objective: mean seconds against mean gap, a point per solver; the efficient ones are joined.

    Parameters
    ----------
    front
        Columns `frames.FRONT`, as `Study.pareto` returns them. Efficient solvers are filled, dominated ones hollow;
        those without a finite gap are left out.
    budget
        Budget to draw; None takes the lower median of the frame.

    Raises
    ------
    ValueError
        If columns or rows are missing or a row is there twice, or `budget` is not in the frame.
    """
    frames.FRONT.check(front)
    rows, budget = at_budget(front, budget, "front")
    rows = rows[np.isfinite(rows["relative_gap"].to_numpy(dtype=np.float64))]
    objectives = [str(name) for name in rows["objective"].unique()]
    if not objectives:
        raise ValueError(f"`front` must have a solver with a finite gap at {budget} tokens, got none")
    solvers = [str(name) for name in rows["solver"].unique()]
    figure = Figure(figsize=(width(), max(2.7, 0.5 + 0.165 * len(solvers))))
    panels = figure.subplots(1, len(objectives), sharey=True, squeeze=False)[0]
    for ax, objective in zip(panels, objectives, strict=True):
        _panel(ax, rows[rows["objective"] == objective])
        ax.set_title(OBJECTIVE_NAMES.get(objective, objective))
    percent_axis(panels[0], "y", 100 * largest_finite(rows["relative_gap"]))
    panels[0].set_ylabel(f"Mean certified gap at {budget} tokens (%)")
    figure.supxlabel("Mean seconds", fontsize=8)
    name_solvers(figure, solvers, lines=False)
    return Panels(figure)


def _panel(ax: Axes, rows: pd.DataFrame) -> None:
    ax.set_xscale("log")
    best = rows[rows["efficient"].to_numpy(dtype=bool)].sort_values("seconds")
    # To the right and below of the steps lies what no solver reached.
    ax.step(best["seconds"], 100 * best["relative_gap"], where="post", color=MUTED, linewidth=0.8, zorder=1.5)
    for row in rows.to_dict("records"):
        style = solver_look(str(row["solver"]))
        filled = bool(row["efficient"])
        crossed = style.marker in {"x", "+"}  # have no inside
        ax.plot(
            [row["seconds"]], [100 * row["relative_gap"]], linestyle="", marker=style.marker, markersize=4.6,
            color=style.color, markerfacecolor=style.color if filled or crossed else "white", clip_on=False,
        )  # fmt: skip
