"""What each quarter of the visual tokens is worth when it is all that is left from a layer on."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from . import frames
from .labels import LineEnd, label_line_ends
from .palette import QUARTILES, Look
from .panels import Panels, themed
from .style import interval_band, reference_line, width


@themed
def quartile_kept(kept: pd.DataFrame) -> Panels:
    """Accuracy when from layer K on a single index quartile is visible; a panel per model, each with its own scale.

    Parameters
    ----------
    kept
        Columns `frames.QUARTILE_KEPT`: a row per model, layer (K, from 0) and quartile (1 = first rows of the image to
        4 = last rows; 0 for the model that sees all, whose layer is not looked at). Concatenate
        `published_quartile_kept()` to lay the published curves beside one's own.

    Raises
    ------
    ValueError
        If columns or rows are missing or a row is there twice, a quartile is another number, or a model has none.
    """
    frames.QUARTILE_KEPT.check(kept)
    strange = sorted(set(kept["quartile"]) - {0, 1, 2, 3, 4})
    if strange:
        raise ValueError(f"`quartile` must be 0, 1, 2, 3 or 4, got {', '.join(map(str, strange))}")
    models = [str(model) for model in kept["model"].unique()]
    figure = Figure(figsize=(width(1 if len(models) > 1 else 0.5), 2.3))
    panels = figure.subplots(1, len(models), squeeze=False)[0]
    ends: list[dict[str, LineEnd]] = []
    for ax, model in zip(panels, models, strict=True):
        rows = kept[kept["model"] == model]
        named = {}
        for quartile, line in rows[rows["quartile"] > 0].groupby("quartile"):
            line = line.sort_values("layer")
            color = QUARTILES[int(str(quartile)) - 1]
            interval_band(ax, line["layer"], line["low"], line["high"], color)
            ax.plot(line["layer"], line["estimate"], color=color, marker="o")
            end = line.iloc[-1]
            named[f"Q{quartile}"] = LineEnd(
                float(end["layer"]), float(end["estimate"]), Look(f"Q{quartile}", color, "")
            )
        if not named:
            raise ValueError(f"`kept` must have a row with a quartile for {model!r}")
        ends.append(named)
        for whole in rows.loc[rows["quartile"] == 0, "estimate"].unique():
            reference_line(ax, float(whole), "all tokens")
        ax.set_title(model)
        ax.set_xlabel("First layer that sees only this quartile")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        ax.margins(y=0.1)
    panels[0].set_ylabel("Accuracy")
    for ax, named in zip(panels, ends, strict=True):
        label_line_ends(ax, named)
    return Panels(figure)
