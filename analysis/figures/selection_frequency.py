"""Which places in the raster order are kept when the most attended tokens are."""

from __future__ import annotations

import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from . import frames
from .layers import chosen_layers, layer_legend, layer_lines, source_panels
from .palette import MUTED
from .panels import Panels, themed
from .style import reference_line

SHOWN = 6


@themed
def selection_frequency(frequency: pd.DataFrame) -> Panels:
    """Share of images in which a token is among the most attended, along the index; a line per layer.

    Parameters
    ----------
    frequency
        Columns `frames.FREQUENCY`, as `metrics.selection_frequency` returns: position along the index and frequency in
        [0, 1], `even` what a choice without preference would give. Of more than six layers the first, the last and
        four between are drawn.

    Raises
    ------
    ValueError
        If columns or rows are missing or a row is there twice, or `even` is not one number.
    """
    shown = chosen_layers(frames.FREQUENCY.check(frequency), None, SHOWN)
    even = shown["even"].unique()
    if len(even) != 1:
        raise ValueError(f"`even` must be one number, got {', '.join(f'{value:g}' for value in even)}")
    figure, panels = source_panels(shown, 2.5)
    for panel in panels:
        for line, color in layer_lines(panel, "position"):
            panel.ax.plot(line["position"], line["frequency"], color=color, linewidth=1.0)
        reference_line(panel.ax, float(even[0]))
        panel.ax.set(xlim=(0, 1), xlabel="Token index (0 first, 1 last)")
        panel.ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    top = float(shown["frequency"].max())
    panels[0].ax.set_ylim(0, 1.3 * top)  # room for the legends above the lines
    panels[0].ax.set_ylabel("Share of images that keep it")
    dashed = Line2D([], [], color=MUTED, linewidth=0.8, linestyle=(0, (3, 2)), label="even")
    for panel in panels:
        layer_legend(panel, loc="upper left", more=[dashed])
    return Panels(figure)
