"""How far each selection is from the best possible one, by proof."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from . import frames
from .palette import MUTED, kind_look, solver_look
from .panels import Panels, themed
from .style import width

OBJECTIVE_NAMES = {
    "Saliency": "Saliency",
    "FacilityLocation": "Facility location",
    "WeightedFacilityLocation": "Weighted coverage",
    "SaturatedCoverage": "Saturated coverage",
    "GraphCut": "Graph cut",
    "LogDet": "Log-determinant",
    "GramLogDet": "Gram log-determinant",
    "MaxMin": "Max-min distance",
    "MaxSum": "Max-sum distance",
    "CoveringRadius": "Covering radius",
}
LINEAR_BELOW = 0.1
"""Gaps below this many percent are drawn on a linear scale, so that 0 has a place."""


@themed
def certified_gap(selection: pd.DataFrame, *, keep: int | None = None) -> Panels:
    """Dot plot: a row per solver or rule, a panel per objective, the certified relative gap with its interval.

    Parameters
    ----------
    selection
        Columns `frames.SELECTION`; `gap` is (upper bound - value) / |upper bound| averaged over images with the
        interval `low` to `high`, not finite where nothing is proven.
    keep
        Budget to draw; None takes the lower median of the frame.

    Raises
    ------
    ValueError
        If columns or rows are missing or a row is there twice, or `keep` is not in the frame.
    """
    frames.SELECTION.check(selection)
    keep = frames.chosen_budget(selection, keep, "selection")
    rows = selection[selection["keep"] == keep]
    objectives = [str(name) for name in rows["objective"].unique()]
    solvers = _order(rows, objectives[0])
    kinds = dict(zip(rows["solver"].astype(str), rows["kind"].astype(str), strict=True))

    figure = Figure(figsize=(width(), 0.75 + 0.165 * len(solvers)))
    panels = figure.subplots(1, len(objectives), sharey=True, squeeze=False)[0]
    for ax, objective in zip(panels, objectives, strict=True):
        _panel(ax, rows[rows["objective"] == objective].set_index("solver"), solvers, kinds)
        ax.set_title(OBJECTIVE_NAMES.get(objective, objective))
    panels[0].set_yticks(range(len(solvers)), [solver_look(name).label for name in solvers])
    panels[0].set_ylim(len(solvers) - 0.4, -0.6)
    figure.supxlabel(f"Certified gap to the upper bound at {keep} tokens (%)", fontsize=8)
    shown = dict.fromkeys(kinds.values())
    handles = [
        Line2D(
            [],
            [],
            color=kind_look(kind).color,
            marker=kind_look(kind).marker,
            linestyle="",
            label=kind_look(kind).label,
        )
        for kind in shown
    ]
    figure.legend(handles=handles, loc="outside upper right", ncols=len(handles), handletextpad=0.1, columnspacing=1.2)
    return Panels(figure)


def _order(rows: pd.DataFrame, objective: str) -> list[str]:
    """Solvers by their gap under `objective`, smallest first; those without one come last, by name."""
    scored = rows[rows["objective"] == objective]
    gaps = dict(zip(scored["solver"].astype(str), scored["gap"].astype(float), strict=True))
    names = [str(name) for name in rows["solver"].unique()]
    return sorted(names, key=lambda name: (gaps[name] if np.isfinite(gaps.get(name, np.nan)) else np.inf, name))


def _why_no_gap(rows: pd.DataFrame, solver: str) -> str:
    if solver not in rows.index:
        return "not run"
    return "no bound" if rows["seconds"].notna()[solver] else "not supported"


def _panel(ax: Axes, rows: pd.DataFrame, solvers: list[str], kinds: dict[str, str]) -> None:
    finite = rows[np.isfinite(rows["gap"].to_numpy(float))]
    largest = 100 * float(finite[["gap", "high"]].replace(np.inf, np.nan).max().max()) if len(finite) else 1.0
    ax.set_xscale("symlog", linthresh=LINEAR_BELOW, linscale=0.6)
    ax.set_xlim(-0.25 * LINEAR_BELOW, max(1.6 * largest, 2.0))
    ticks = [0.0, *(10.0**power for power in range(-1, 7) if 10.0**power <= ax.get_xlim()[1])]
    ax.set_xticks(ticks)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.grid(visible=True, axis="both")
    ax.tick_params(axis="y", length=0)
    for place, solver in enumerate(solvers):
        style = kind_look(kinds[solver])
        if solver not in finite.index:
            reason = _why_no_gap(rows, solver)
            ax.text(0, place, f"  {reason}", va="center", fontsize=6.5, color=MUTED, style="italic")
            continue
        row = finite.loc[solver]
        if np.isfinite([row["low"], row["high"]]).all():
            ax.plot([100 * row["low"], 100 * row["high"]], [place, place], color=style.color, linewidth=1.6, alpha=0.45)
        ax.plot(
            [100 * row["gap"]],
            [place],
            color=style.color,
            marker=style.marker,
            linestyle="",
            markersize=4,
            clip_on=False,
        )
