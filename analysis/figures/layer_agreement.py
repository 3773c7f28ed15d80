"""Which layers attend to the same tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from . import frames
from .palette import INK, source_look
from .panels import Panels, themed
from .style import COLUMN, TEXT, width

WRITTEN = 12
"""Most layers, of all sources together, whose numbers are readable."""


@themed
def layer_agreement(agreement: pd.DataFrame, *, label: str = "Spearman correlation") -> Panels:
    """Matrix of the agreement of every two layers, sources one after the other; of a pair the lower entry is drawn.

    Parameters
    ----------
    agreement
        Columns `frames.AGREEMENT`, as `metrics.layer_agreement` returns: a row per ordered pair of layers. Colours run
        from 0 to 1, or from -1 to 1 if there is disagreement below -0.05.
    label
        What the numbers are, for the colour bar.

    Raises
    ------
    ValueError
        If columns or rows are missing or a row is there twice, or a pair of layers is missing.
    """
    frames.AGREEMENT.check(agreement)
    places = list(dict.fromkeys(zip(agreement["source"], agreement["layer"], strict=True)))
    at = {place: number for number, place in enumerate(places)}
    matrix = np.full((len(places), len(places)), np.nan)
    for source, layer, other, other_layer, value in agreement[[*frames.AGREEMENT.columns]].itertuples(index=False):
        if (other, other_layer) in at:
            matrix[at[source, layer], at[other, other_layer]] = value
    if len(places) < 2 or np.isnan(matrix[np.tril_indices(len(places), -1)]).any():
        raise ValueError("`agreement` must have every pair of at least two layers")
    signed = float(matrix.min()) < -0.05
    size = width(min(1, (COLUMN + 0.18 * len(places)) / TEXT))
    figure = Figure(figsize=(size, 0.8 * size))
    ax = figure.subplots()
    # Nothing is left of the first row and the last column.
    shown = np.ma.masked_array(matrix, np.triu(np.ones_like(matrix, dtype=bool)))[1:, :-1]
    image = ax.imshow(shown, cmap="RdBu_r" if signed else "Blues", vmin=-1 if signed else 0, vmax=1)
    if len(places) <= WRITTEN:
        _write(ax, shown, 0.6 if signed else 0.55)
    _name(ax, places)
    bar = figure.colorbar(image, ax=ax, pad=0.02, shrink=0.8, aspect=22)
    bar.set_label(label)
    bar.outline.set_visible(False)
    return Panels(figure)


def _write(ax: Axes, shown: Any, dark_from: float) -> None:
    for row, column in np.argwhere(~shown.mask).tolist():
        value = round(float(shown[row, column]), 2) + 0.0  # no "-0.00"
        color = "white" if abs(value) > dark_from else INK
        ax.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=6, color=color)


def _name(ax: Axes, places: list[tuple[str, int]]) -> None:
    """Layers as ticks, sources beside and below them, a white line between sources."""
    step = -(-len(places) // 24)
    for axis, members, at, offset, angle in (
        (ax.xaxis, places[:-1], ("data", "axes fraction"), (0, -20), 0),
        (ax.yaxis, places[1:], ("axes fraction", "data"), (-20, 0), 90),
    ):
        numbers = [str(layer) if number % step == 0 else "" for number, (_, layer) in enumerate(members)]
        axis.set_ticks(range(len(members)), numbers)
        sources = [source for source, _ in members]
        for source in dict.fromkeys(sources):
            found = [number for number, name in enumerate(sources) if name == source]
            middle = (found[0] + found[-1]) / 2
            ax.annotate(
                source_look(source).label, (0, middle) if angle else (middle, 0), xycoords=at, xytext=offset,
                textcoords="offset points", rotation=angle, ha="right" if angle else "center",
                va="center" if angle else "top", fontsize=8, annotation_clip=False,
            )  # fmt: skip
            if found[0]:
                (ax.axhline if angle else ax.axvline)(found[0] - 0.5, color="white", linewidth=2.5)
    ax.tick_params(length=0)
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
