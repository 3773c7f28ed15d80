"""Heads that behave alike are found together, whatever the order of the table."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from analysis.metrics import cluster_heads, head_features, measure
from analysis.metrics.heads import silhouettes

GRID = (6, 6)
ROWS, COLUMNS = np.divmod(np.arange(36), 6)


def behaving(kind: str, rng: np.random.Generator) -> np.ndarray:
    """Attention of a head on 5 images: even, on the first row, or on one token in the last row."""
    noise = rng.random((5, 36)) * 0.05
    shape = {"even": np.ones(36), "top": ROWS == 0, "point": (ROWS == 5) & (COLUMNS == 5)}[kind]
    return np.asarray(shape + noise)


KINDS = [["even", "top"], ["even", "point"], ["top", "even"], ["even", "top"]]


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    last = np.stack([np.stack([behaving(kind, rng) for kind in layer], 1) for layer in KINDS], 1)
    dump = xr.Dataset(
        {"last": (("image", "layer", "head", "token"), last)},
        coords={"image_id": ("image", np.arange(5)), "layer": [1, 2, 3, 4]},
        attrs={"model": "toy", "grid": list(GRID)},
    )
    return measure(dump, heads=True)


def test_planted_behaviours_are_the_clusters(table: pd.DataFrame) -> None:
    result = cluster_heads(table)
    assert list(result.columns[:6]) == ["model", "source", "layer", "head", "cluster", "silhouette"]
    assert result[["layer", "head"]].to_numpy().tolist() == [[layer, head] for layer in (1, 2, 3, 4) for head in (1, 2)]
    number = {"even": 1, "top": 2, "point": 3}  # by falling size: 4, 3, 1
    assert result["cluster"].tolist() == [number[kind] for layer in KINDS for kind in layer]
    assert result.loc[result["cluster"] < 3, "silhouette"].min() > 0.5
    assert result.loc[result["cluster"] == 3, "silhouette"].tolist() == [0]


def test_features_are_means_over_images(table: pd.DataFrame) -> None:
    features = head_features(table, ["gini", "mean_index"])
    assert list(features.columns) == ["model", "source", "layer", "head", "gini", "mean_index"]
    one = table.query("layer == 2 and head == 1 and metric == 'mean_index'")["value"]
    assert features.query("layer == 2 and head == 1")["mean_index"].item() == pytest.approx(one.mean())
    assert set(head_features(table, None).columns) >= set(table["metric"])


def test_order_and_unit_of_the_table_do_not_matter(table: pd.DataFrame) -> None:
    expected = cluster_heads(table)
    pd.testing.assert_frame_equal(cluster_heads(table.sample(frac=1, random_state=3)), expected)
    scaled = table.assign(value=table["value"] * np.where(table["metric"] == "entropy", 1000, 1))
    assert cluster_heads(scaled)["cluster"].tolist() == expected["cluster"].tolist()


def test_a_wanted_number_of_clusters(table: pd.DataFrame) -> None:
    for count in (1, 2, 5, 8):
        assert cluster_heads(table, clusters=count)["cluster"].nunique() == count


def test_heads_that_do_the_same_are_one_cluster(table: pd.DataFrame) -> None:
    same = table.assign(value=1.0)
    result = cluster_heads(same)
    assert set(result["cluster"]) == {1}
    assert set(result["silhouette"]) == {0}


def test_silhouette_by_its_definition() -> None:
    rng = np.random.default_rng(1)
    points, labels = rng.normal(size=(12, 3)), np.array([1] * 5 + [2] * 4 + [3] * 2 + [4])
    distances = np.linalg.norm(points[:, None] - points, axis=-1)
    for i, found in enumerate(silhouettes(distances, labels)):
        others = (labels == labels[i]) & (np.arange(12) != i)
        if not others.any():
            assert found == 0
            continue
        a = distances[i, others].mean()
        b = min(distances[i, labels == other].mean() for other in set(labels.tolist()) - {labels[i]})
        assert found == pytest.approx((b - a) / max(a, b))


def test_unusable_tables_are_refused(table: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="must have the column 'head'"):
        cluster_heads(table.drop(columns="head"))
    with pytest.raises(ValueError, match="got rows with and without sinks"):
        cluster_heads(pd.concat([table.assign(sinks=kind) for kind in ("with", "without")]))
    with pytest.raises(ValueError, match="at least 3 heads, got 2"):
        cluster_heads(table[table["layer"] == 1])
    with pytest.raises(ValueError, match=r"`clusters` must be in \[1, 8\], got 9"):
        cluster_heads(table, clusters=9)
    with pytest.raises(ValueError, match="`most` must be at least 2, got 1"):
        cluster_heads(table, most=1)
    with pytest.raises(KeyError, match="did you mean 'entropy'"):
        cluster_heads(table, features=["entropie"])
    with pytest.raises(ValueError, match="every feature of every head"):
        cluster_heads(table[(table["metric"] != "entropy") | (table["layer"] > 1)])
