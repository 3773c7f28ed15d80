"""Every head of every layer at one glance."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from . import frames
from .dispersion import METRIC_NAMES
from .palette import INK, source_look
from .panels import Panels, themed
from .style import width

WRITTEN = 16
"""Most heads of a layer whose cluster numbers are readable."""


@themed
def head_atlas(heads: pd.DataFrame, *, metric: str = "entropy") -> Panels:
    """Heat map of a metric, layers down and heads across, a panel per source, one colour scale for all.

    Parameters
    ----------
    heads
        Columns `frames.HEADS` and the metric, as `metrics.head_features` or `metrics.cluster_heads` return; the number
        of the cluster, if there is a column `cluster`, is written into the cells of layers with at most 16 heads.
    metric
        Column to draw.

    Raises
    ------
    ValueError
        If columns or rows are missing or a row is there twice, or the metric is no column.
    """
    frames.HEADS.check(heads)
    if metric not in heads.columns:
        raise ValueError(f"`metric` must be a column of `heads`, got {metric!r}")
    sources = [str(source) for source in heads["source"].unique()]
    tables = {source: _table(heads[heads["source"] == source], metric) for source in sources}
    deepest = max(len(table) for table in tables.values())
    figure = Figure(figsize=(width(1 if len(sources) > 1 else 0.5), min(4.5, 1.0 + 0.19 * deepest)))
    axes = figure.subplots(1, len(sources), squeeze=False)[0]
    low, high = float(heads[metric].min()), float(heads[metric].max())
    for ax, (source, table) in zip(axes, tables.items(), strict=True):
        image = _panel(ax, table, (low, high))
        ax.set_title(source_look(source).label)
        if "cluster" in heads.columns and table.shape[1] <= WRITTEN:
            _write(ax, _table(heads[heads["source"] == source], "cluster").to_numpy(), image)
    axes[0].set_ylabel("Layer")
    bar = figure.colorbar(image, ax=list(axes), pad=0.02, aspect=18)
    bar.set_label(METRIC_NAMES.get(metric, metric.replace("_", " ").capitalize()))
    bar.outline.set_visible(False)
    return Panels(figure)


def _table(heads: pd.DataFrame, column: str) -> pd.DataFrame:
    """One column of the heads of a source, a row per layer and a column per head."""
    return heads.pivot_table(column, "layer", "head")


def _panel(ax: Axes, values: pd.DataFrame, limits: tuple[float, float]) -> AxesImage:
    layers, heads = values.index.to_numpy(dtype=float), values.columns.to_numpy(dtype=float)
    extent = (heads[0] - 0.5, heads[-1] + 0.5, layers[-1] + 0.5, layers[0] - 0.5)
    image = ax.imshow(
        values.to_numpy(), cmap="cividis", vmin=limits[0], vmax=limits[1], extent=extent, aspect="auto",
        interpolation="nearest",
    )  # fmt: skip
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    ax.set_xlabel("Head")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    ax.tick_params(length=0)
    return image


def _write(ax: Axes, clusters: NDArray[np.int64], image: AxesImage) -> None:
    left, _, _, top = image.get_extent()
    shown = np.asarray(image.get_array())
    for row, column in np.ndindex(*clusters.shape):
        light = sum(image.cmap(image.norm(shown[row, column]))[:3]) > 1.5
        ax.text(
            left + 0.5 + column, top + 0.5 + row, str(int(clusters[row, column])), ha="center", va="center",
            fontsize=7, color=INK if light else "white",
        )  # fmt: skip
