"""How often each solver is how near to the best one."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from .comparison import name_solvers, percent_axis
from .palette import solver_look
from .panels import Panels, themed
from .style import width


@themed
def performance_profile(profile: pd.DataFrame) -> Panels:
    """Dolan-More profile: share of instances on which a solver's value is within a relative distance of the best.

    Parameters
    ----------
    profile
        What `Study.performance_profile` returns: index `shortfall`, ascending, a column of shares per solver. A
        marker is where a line reaches half of the instances, or its end; the legend has them in this order.

    Raises
    ------
    ValueError
        If the frame is empty, or the index does not ascend from 0 or more.
    """
    shortfalls = profile.index.to_numpy(dtype=np.float64)
    if profile.empty:
        raise ValueError("`profile` must have at least one solver and one shortfall, got none")
    if (np.diff(shortfalls) <= 0).any() or shortfalls[0] < 0:
        raise ValueError("the index of `profile` must hold ascending shortfalls of at least 0")
    figure = Figure(figsize=(width(0.85), max(2.7, 0.4 + 0.165 * len(profile.columns))))
    ax = figure.subplots()
    percent_axis(ax, "x", 100 * float(shortfalls[-1]))
    right = ax.get_xlim()[1]
    halfway = {}
    for name in profile.columns:
        style, shares = solver_look(str(name)), profile[name].to_numpy(dtype=np.float64)
        # Nobody gets nearer to the best beyond the last shortfall: lines go on to the edge.
        x, y = np.append(100 * shortfalls, right), np.append(shares, shares[-1])
        ax.step(x, y, where="post", color=style.color, linestyle=style.dash)
        half = int(np.argmax(shares >= min(0.5, float(shares[-1]))))
        ax.plot([100 * shortfalls[half]], [shares[half]], color=style.color, marker=style.marker, linestyle="")
        halfway[str(name)] = (-min(0.5, float(shares[-1])), float(shortfalls[half]))
    ax.set_ylim(-0.02, 1.02)
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    ax.set_xlabel("Distance to the best value of any solver (%)")
    ax.set_ylabel("Share of instances")
    name_solvers(figure, sorted(halfway, key=lambda name: halfway[name]), lines=True)
    return Panels(figure)
