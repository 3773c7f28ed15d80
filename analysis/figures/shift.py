"""Where in the raster order attention falls, layer by layer."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from . import frames
from .labels import LineEnd, label_line_ends
from .palette import MUTED, QUARTILES, Look, source_look
from .panels import Panels, themed
from .style import interval_band, reference_line, width


@themed
def shift(quartiles: pd.DataFrame) -> Panels:
    """Share of visual attention on each quarter of the raster order; one panel per source, an even share is 25 %.

    Parameters
    ----------
    quartiles
        Columns `frames.QUARTILES`: a row per source, layer (from 1) and quartile (1 = first rows of the image to
        4 = last rows), shares in [0, 1].

    Raises
    ------
    ValueError
        If columns or rows are missing or a row is there twice, or a quartile is not 1, 2, 3 or 4.
    """
    frames.QUARTILES.check(quartiles)
    strange = sorted(set(quartiles["quartile"]) - {1, 2, 3, 4})
    if strange:
        raise ValueError(f"`quartile` must be 1, 2, 3 or 4, got {', '.join(map(str, strange))}")
    sources = [str(source) for source in quartiles["source"].unique()]
    figure = Figure(figsize=(width(1 if len(sources) > 1 else 0.5), 2.1))
    panels = figure.subplots(1, len(sources), sharey=True, squeeze=False)[0]
    ends: list[dict[str, LineEnd]] = []
    for ax, source in zip(panels, sources, strict=True):
        rows = quartiles[quartiles["source"] == source]
        named = {}
        for quartile, line in rows.groupby("quartile"):
            line = line.sort_values("layer")
            last = line.iloc[-1]
            color = QUARTILES[int(str(quartile)) - 1]
            interval_band(ax, line["layer"], line["low"], line["high"], color)
            ax.plot(line["layer"], line["estimate"], color=color, marker="o")
            style = Look(f"Q{quartile}", color, "")
            named[f"Q{quartile}"] = LineEnd(float(last["layer"]), float(last["estimate"]), style)
        named["even"] = LineEnd(float(ax.get_xlim()[1]), 0.25, Look("even", MUTED, ""))
        ends.append(named)
        reference_line(ax, 0.25)
        ax.set_title(source_look(source).label)
        ax.set_xlabel("Layer")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    panels[0].set_ylabel("Share of visual attention")
    panels[0].margins(y=0.08)
    for ax, named in zip(panels, ends, strict=True):
        label_line_ends(ax, named)
    return Panels(figure)
