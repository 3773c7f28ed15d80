"""Heads by behaviour: what a head does on average, and which heads do alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import cdist

from solvers.names import nearest

from .weights import Float64Array

HEAD = ("model", "source", "layer", "head")
"""What names a head."""
BEHAVIOUR = (
    "entropy", "top_mass", "spatial_spread", "centroid_row", "centroid_column", "mean_index", "js_to_uniform",
)  # fmt: skip
"""Default features: how concentrated, how wide, where. Many metrics say the same, and each counts as one vote."""


def head_features(table: pd.DataFrame, features: Sequence[str] | None = BEHAVIOUR) -> pd.DataFrame:
    """Mean over images of each metric of each head: a row per head, a column per metric.

    Parameters
    ----------
    table
        What ``measure(dump, heads=True)`` returned; if also with `sinks`, choose one of the two variants first.
    features
        Names of metrics in the table, None for all of them.

    Returns
    -------
    pandas.DataFrame
        Columns model, source, layer, head, and the features, ordered by head within the order of the sources.

    Raises
    ------
    ValueError
        If the table has no column `head`, holds two variants, or lacks a metric for some head.
    KeyError
        For a metric that is not in the table.
    """
    if "head" not in table:
        raise ValueError("`table` must have the column 'head': use measure(dump, heads=True)")
    if "sinks" in table and table["sinks"].nunique() > 1:
        raise ValueError("`table` must hold one variant, got rows with and without sinks")
    known = [str(name) for name in table["metric"].unique()]
    chosen = known if features is None else [nearest(name, known, "metric") for name in features]
    wide = table[table["metric"].isin(chosen)].pivot_table("value", list(HEAD), "metric", aggfunc="mean", sort=True)
    if wide[chosen].isna().any(axis=None):
        raise ValueError("`table` must hold every feature of every head")
    wide = wide[chosen].rename_axis(columns=None).reset_index()
    rank = {source: at for at, source in enumerate(table["source"].unique())}
    order = wide["source"].map(rank).argsort(kind="stable")
    return wide.iloc[order].reset_index(drop=True)


def cluster_heads(
    table: pd.DataFrame,
    *,
    clusters: int | None = None,
    most: int = 8,
    features: Sequence[str] | None = BEHAVIOUR,
) -> pd.DataFrame:
    """Group heads by what they do: Ward's hierarchical clustering of standardised mean metrics.

    Parameters
    ----------
    table
        What ``measure(dump, heads=True)`` returned; select a source first to group its heads among themselves.
    clusters
        Number of groups; None takes the one in [2, `most`] with the largest mean silhouette (Rousseeuw, 1987, Journal
        of Computational and Applied Mathematics 20), the smallest of equals. A silhouette cannot speak for one group:
        look at its size before believing in two.
    most
        Largest number of groups that is tried.
    features
        As for `head_features`. A feature that is the same for all heads is left out of the distances.

    Returns
    -------
    pandas.DataFrame
        Columns model, source, layer, head, cluster (from 1, largest first, equals by their first head), silhouette (of
        the head, in [-1, 1]), and the features, unstandardised. Independent of the order of the table.

    Raises
    ------
    ValueError
        For fewer than 3 heads, a number of clusters that they do not allow, and as for `head_features`.
    KeyError
        For a metric that is not in the table.
    """
    heads = head_features(table, features)
    names = [name for name in heads.columns if name not in HEAD]
    if len(heads) < 3:
        raise ValueError(f"`table` must hold at least 3 heads, got {len(heads)}")
    if clusters is not None and not 1 <= clusters <= len(heads):
        raise ValueError(f"`clusters` must be in [1, {len(heads)}], got {clusters}")
    if most < 2:
        raise ValueError(f"`most` must be at least 2, got {most}")
    points = _standardised(heads[names].to_numpy(dtype=np.float64))
    distances = cdist(points, points)
    if points.shape[1] == 0:
        labels = np.ones(len(heads), dtype=np.int64)
    else:
        tree = linkage(points, method="ward")
        tried = range(2, min(most, len(heads) - 1) + 1) if clusters is None else (clusters,)
        cuts = [_numbered(fcluster(tree, count, criterion="maxclust")) for count in tried]
        labels = max(cuts, key=lambda cut: round(float(silhouettes(distances, cut).mean()), 12))
    heads.insert(len(HEAD), "cluster", labels)
    heads.insert(len(HEAD) + 1, "silhouette", silhouettes(distances, labels))
    return heads


def silhouettes(distances: Float64Array, labels: npt.NDArray[np.int64]) -> Float64Array:
    """Silhouette of each point, float64 [point]: (b - a) / max(a, b), in [-1, 1].

    a is the mean distance to the others of its cluster, b the least mean distance to another cluster (Rousseeuw, 1987).
    0 for a point alone in its cluster, or where there is one cluster only.
    """
    member = labels[:, None] == np.unique(labels)
    sizes = member.sum(0)
    totals = distances @ member
    own = totals[member] / np.maximum(sizes[member.argmax(1)] - 1, 1)
    other = np.where(member, np.inf, totals / sizes).min(1)
    scale = np.maximum(own, other)
    counted = (sizes[member.argmax(1)] > 1) & np.isfinite(other) & (scale > 0)
    result: Float64Array = np.divide(other - own, scale, out=np.zeros(len(labels)), where=counted)
    return result


def _standardised(values: Float64Array) -> Float64Array:
    """Columns with mean 0 and variance 1; those without spread, up to rounding, left out."""
    centred = values - values.mean(0)
    spread = centred.std(0)
    varies = spread > 1e-12 * np.abs(values).max(0)
    return np.asarray(centred[:, varies] / spread[varies])


def _numbered(cut: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Clusters numbered from 1 by falling size, equals by their first point."""
    names, first, member, sizes = np.unique(cut, return_index=True, return_inverse=True, return_counts=True)
    number = np.empty(len(names), dtype=np.int64)
    number[np.lexsort((first, -sizes))] = np.arange(1, len(names) + 1)
    return number[member]
