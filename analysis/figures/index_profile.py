"""Attention along the token index: the attention-shift curve."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.ticker import FuncFormatter

from . import frames
from .layers import chosen_layers, layer_legend, layer_lines, source_panels
from .palette import HAIRLINE
from .panels import Panels, themed

SHOWN = 3


@themed
def index_profile(profile: pd.DataFrame, *, layers: Sequence[int] | None = None) -> Panels:
    """Mean attention on each token in raster order, a panel per source; hairlines part the rows of the image.

    Parameters
    ----------
    profile
        Columns `frames.PROFILE`, as `metrics.profile` returns: weights of the softmax over all keys.
    layers
        Layers (from 1) to draw; None draws the first, the middle and the last of each source.

    Raises
    ------
    ValueError
        If columns or rows are missing or a row is there twice, or a layer is not in the frame.
    """
    shown = chosen_layers(frames.PROFILE.check(profile), layers, SHOWN)
    figure, panels = source_panels(shown, 1.9, stacked=True)
    columns = int(shown["column"].max()) + 1
    tokens = int(shown["token"].max()) + 1
    for panel in panels:
        for border in range(0, tokens + 1, columns):
            panel.ax.axvline(border, color=HAIRLINE, linewidth=0.4, zorder=1)
        for line, color in layer_lines(panel, "token"):
            panel.ax.plot(line["token"] + 0.5, line["weight"], color=color, linewidth=0.8)
        panel.ax.set(xlim=(0, tokens), ylim=(0, None), ylabel="Mean attention")
        panel.ax.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g}%"))
        layer_legend(panel, loc="above")
    panels[-1].ax.set_xlabel("Token index; a hairline begins each row of the image")
    return Panels(figure)
