"""How attention scores are distributed over their range."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from . import frames
from .layers import chosen_layers, layer_legend, layer_lines, source_panels
from .panels import Panels, themed

SHOWN = 6


@themed
def score_histogram(histogram: pd.DataFrame, *, up_to: float = 0.2) -> Panels:
    """Share of the scores in each bin, a panel per source and a line per layer, shares on a logarithmic axis.

    A steep fall at the left says that nearly all tokens are far below the largest score (concentrated), a hump that
    scores are alike (dispersed). Empty bins break the line.

    Parameters
    ----------
    histogram
        Columns `frames.HISTOGRAM`, as `metrics.score_histogram` returns: scores relative to the largest, in (0, 1].
        Of more than six layers the first, the last and four between are drawn.
    up_to
        End of the score axis, in (0, 1]: beyond it there are few scores, and the published figure ends at 0.16.

    Raises
    ------
    ValueError
        If columns or rows are missing or a row is there twice, `up_to` is outside (0, 1], or no bin up to it holds
        anything.
    """
    if not 0 < up_to <= 1:
        raise ValueError(f"`up_to` must be in (0, 1], got {up_to}")
    shown = chosen_layers(frames.HISTOGRAM.check(histogram), None, SHOWN)
    shown = shown[shown["score"] <= up_to]
    filled = shown.loc[shown["share"] > 0, "share"]
    if filled.empty:
        raise ValueError(f"`histogram` must have a bin up to {up_to:g} that holds scores")
    figure, panels = source_panels(shown, 2.5)
    for panel in panels:
        for line, color in layer_lines(panel, "score"):
            share = line["share"].to_numpy(dtype=np.float64)
            panel.ax.plot(line["score"], np.where(share > 0, share, np.nan), color=color, linewidth=1.0)
        panel.ax.set(xlim=(0, up_to), yscale="log", xlabel="Score / largest score")
        panel.ax.xaxis.set_major_locator(MaxNLocator(4))
        layer_legend(panel, loc="upper right")
    panels[0].ax.set_ylabel("Share of the scores")
    panels[0].ax.set_ylim(0.6 * float(filled.min()), 2.0)
    return Panels(figure)
