"""How concentrated attention is, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from . import frames, style
from .palette import source_look
from .panels import Panels, themed
from .style import interval_band, reference_line, width

METRIC_NAMES = {
    "effective_tokens": "Effective tokens",
    "entropy": "Entropy (nats)",
    "gini": "Gini coefficient",
    "top_mass": "Mass on the top 10 %",
    "participation_ratio": "Participation ratio",
    "spatial_spread": "Spatial spread",
    "spatial_spread_patches": "Spatial spread (patches)",
}


@themed
def dispersion(attention: pd.DataFrame, *, metrics: Sequence[str] | None = None, columns: int | None = None) -> Panels:
    """One panel per metric: vision CLS against the last text token, with 95 % bands and the uniform value.

    Parameters
    ----------
    attention
        Columns `frames.ATTENTION`: a row per source, layer (from 1) and metric; `uniform` is the metric of perfectly
        even attention, NaN where it has none.
    metrics
        Names to draw, in this order; None draws those of `METRIC_NAMES` that the frame has (at most four), else the
        frame's first four.
    columns
        Panels side by side; None takes four, or as many as the paper has room for.

    Raises
    ------
    ValueError
        If columns or rows are missing or a row is there twice, or a metric is not in the frame.
    """
    frames.ATTENTION.check(attention)
    known = [str(name) for name in attention["metric"].unique()]
    chosen = list(metrics) if metrics is not None else ([m for m in METRIC_NAMES if m in known] or known)[:4]
    absent = [name for name in chosen if name not in known]
    if absent or not chosen:
        raise ValueError(f"`metrics` must be among {', '.join(known)}, got {', '.join(absent) or 'none'}")

    columns = style.columns(4) if columns is None else columns
    wide = min(columns, len(chosen))
    rows = -(-len(chosen) // wide)
    figure = Figure(figsize=(width(wide / max(columns, wide)), 1.75 * rows))
    axes = figure.subplots(rows, wide, squeeze=False).ravel()
    for spare in axes[len(chosen) :]:
        spare.set_visible(False)
    for index, (ax, metric) in enumerate(zip(axes, chosen, strict=False)):
        _panel(ax, attention[attention["metric"] == metric])
        ax.set_title(METRIC_NAMES.get(metric, metric))
        if index >= len(chosen) - wide:
            ax.set_xlabel("Layer")
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper left", ncols=len(names), handlelength=1.6, borderaxespad=0.1)
    return Panels(figure)


def _panel(ax: Axes, rows: pd.DataFrame) -> None:
    for source, line in rows.groupby("source", sort=False):
        style = source_look(str(source))
        line = line.sort_values("layer")
        interval_band(ax, line["layer"], line["low"], line["high"], style.color)
        ax.plot(line["layer"], line["estimate"], color=style.color, marker=style.marker, label=style.label)
    ax.margins(y=0.05)
    references = rows["uniform"].dropna().unique()
    if len(references) == 1:
        uniform = float(references[0])
        above = uniform > float(rows["estimate"].median())
        reference_line(ax, uniform, "uniform", at=1.0, below=not above)
        bottom, top = ax.get_ylim()  # room for the name on the side where no line can be
        room = 0.16 * (top - bottom)
        ax.set_ylim(bottom - room * (not above), top + room * above)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    ax.yaxis.set_major_locator(MaxNLocator(nbins=4))
