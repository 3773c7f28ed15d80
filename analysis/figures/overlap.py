"""Which solvers keep the same tokens."""

from __future__ import annotations

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from .palette import solver_look
from .panels import Panels, themed
from .style import TEXT, width


@themed
def overlap(matrix: pd.DataFrame) -> Panels:
    """Heat map of the mean Jaccard similarity of kept tokens in percent, a row and a column per solver.

    Parameters
    ----------
    matrix
        What `Study.overlap` returns: square and symmetric, in [0, 1], NaN for pairs that never met. Of a pair only the
        entry below the diagonal is drawn.

    Raises
    ------
    ValueError
        If there are fewer than two solvers, or rows and columns are not the same.
    """
    names = [str(name) for name in matrix.index]
    if len(names) < 2:
        raise ValueError(f"`matrix` must have at least two solvers, got {len(names)}")
    if names != [str(name) for name in matrix.columns]:
        raise ValueError("`matrix` must have the same solvers as rows and columns, in the same order")
    shown = 100 * matrix.to_numpy(dtype=np.float64)[1:, :-1]
    size = width(min(1, (1.7 + 0.3 * len(names)) / TEXT))
    figure = Figure(figsize=(size, 0.62 * size + 0.5))
    ax = figure.subplots()
    sns.heatmap(
        shown, mask=np.triu(np.ones_like(shown, dtype=bool), 1), annot=True, fmt=".0f", cmap="Blues", vmin=0, vmax=100,
        linewidths=1.2, linecolor="white", annot_kws={"fontsize": 6.5}, cbar=False, ax=ax,
    )  # fmt: skip
    ax.set_yticklabels([solver_look(name).label for name in names[1:]], rotation=0)
    ax.set_xticklabels(
        [solver_look(name).label for name in names[:-1]], rotation=40, ha="right", rotation_mode="anchor"
    )
    ax.tick_params(length=0)
    ax.grid(visible=False)
    ax.set(xlabel="", ylabel="")
    figure.suptitle("Tokens in common, Jaccard similarity (%)", x=0.01, ha="left", fontsize=8, fontweight="bold")
    return Panels(figure)
