"""What the figures of a solver comparison share: the choice of a budget, and the scale of gaps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator

from .certified_gap import LINEAR_BELOW
from .palette import Look, solver_look
from .style import width

NAME = 0.95
"""Inches of a solver in a legend of one line."""


def panels_of(models: Sequence[str], columns: int, height: float, least: float = 0.0) -> tuple[Figure, list[Axes]]:
    """A figure with a titled panel per model, `columns` side by side, on common axes.

    Rows are `height` inches high, the figure at least `least`.
    """
    wide = min(columns, len(models))
    rows = -(-len(models) // wide)
    figure = Figure(figsize=(width(), max(height * rows, least)))
    axes = list(figure.subplots(rows, wide, sharex=True, sharey=True, squeeze=False).ravel())
    for ax in axes[len(models) :]:
        ax.set_axis_off()
    for ax, model in zip(axes, models, strict=False):
        ax.set_title(model)
    return figure, axes[: len(models)]


def at_budget(frame: pd.DataFrame, budget: int | None, name: str) -> tuple[pd.DataFrame, int]:
    """Rows at `budget`, or at the lower median one for None, and which it is.

    Raises
    ------
    ValueError
        If the frame has no row with it.
    """
    known = sorted({int(value) for value in frame["budget"]}, reverse=True)
    if budget is not None and budget not in known:
        raise ValueError(f"`budget` must be one of {', '.join(map(str, known))} in `{name}`, got {budget}")
    chosen = known[len(known) // 2] if budget is None else budget
    return frame[frame["budget"] == chosen], chosen


def percent_axis(ax: Axes, which: Literal["x", "y"], largest: float) -> None:
    """Percentages from 0 to `largest` along one axis, linear up to `LINEAR_BELOW`, then logarithmic."""
    top = max(1.6 * largest, 2.0)
    limits = (-0.25 * LINEAR_BELOW, top)
    if which == "x":
        ax.set_xscale("symlog", linthresh=LINEAR_BELOW, linscale=0.6)
        ax.set_xlim(limits)
    else:
        ax.set_yscale("symlog", linthresh=LINEAR_BELOW, linscale=0.6)
        ax.set_ylim(limits)
    axis = ax.xaxis if which == "x" else ax.yaxis
    axis.set_ticks([0.0, *(10.0**power for power in range(-1, 7) if 10.0**power <= top)])
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def largest_finite(values: pd.Series | pd.DataFrame) -> float:
    """Largest finite number, 0 where there is none."""
    numbers = values.to_numpy(dtype=np.float64).ravel()
    return float(numbers[np.isfinite(numbers)].max(initial=0.0))


def name_solvers(
    figure: Figure, solvers: Iterable[str], *, lines: bool, more: Sequence[Line2D] = (), above: bool = False
) -> None:
    """One legend to the right of all panels, or above them: a marker (and line) per solver, in order, then `more`."""
    handles = []
    for name in solvers:
        style = solver_look(name)
        handle = Line2D([], [], color=style.color, marker=style.marker, label=style.label)
        handle.set(linestyle=style.dash if lines else "")
        handles.append(handle)
    handles += more
    length = 2.2 if lines else 1.0
    if above:
        ncols = min(len(handles), int(figure.get_figwidth() / NAME))
        figure.legend(handles=handles, loc="outside upper center", ncols=ncols, handlelength=length)
    else:
        figure.legend(handles=handles, loc="outside right upper", handlelength=length, labelspacing=0.35)


def name_lines(figure: Figure, looks: Iterable[Look]) -> None:
    """One legend to the right of all panels, a line with its marker per look, in order."""
    handles = []
    for look in looks:
        handle = Line2D([], [], color=look.color, marker=look.marker, linewidth=0.9, label=look.label)
        handle.set(linestyle=look.dash)
        handles.append(handle)
    figure.legend(handles=handles, loc="outside right upper", handlelength=2.2, labelspacing=0.35)
