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
from .palette import solver_look


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
        figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), handlelength=length)
    else:
        figure.legend(handles=handles, loc="outside right upper", handlelength=length, labelspacing=0.35)
