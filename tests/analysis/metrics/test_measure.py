from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from analysis.metrics import (
    METRICS,
    Metric,
    dispersion,
    mass_curves,
    measure,
    metric,
    profile,
    quartile_shares,
    shift,
    summarise,
)

GRID = (3, 4)
LABELS = [30, 10, 20, 50, 40]


def softmax_rows(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.dirichlet(np.full(20, 0.5), size=shape)[..., :12].astype(np.float32)  # 8 keys are not visual tokens


@pytest.fixture
def dump() -> xr.Dataset:
    rng = np.random.default_rng(0)
    return xr.Dataset(
        {
            "cls": (("image", "vision_layer", "vision_head", "token"), softmax_rows(rng, 5, 2, 3)),
            "last": (("image", "layer", "head", "token"), softmax_rows(rng, 5, 4, 2)),
        },
        coords={"image_id": ("image", LABELS), "vision_layer": [1, 2], "layer": [1, 2, 3, 4]},
        attrs={"model": "toy", "grid": list(GRID)},
    )


def test_a_row_per_image_layer_and_metric(dump: xr.Dataset) -> None:
    table = measure(dump)
    assert list(table.columns) == ["model", "source", "layer", "image_id", "metric", "value"]
    assert len(table) == 5 * (2 + 4) * len(METRICS)
    assert not table.duplicated(["source", "layer", "image_id", "metric"]).any()
    assert set(table["model"]) == {"toy"}
    one = table.query("source == 'text last token' and layer == 3 and image_id == 20").set_index("metric")["value"]
    row = dump["last"].values[2, 2].astype(np.float64).mean(0)
    assert one["gini"] == pytest.approx(dispersion.gini(row), rel=1e-12)
    assert one["quartile_4"] == pytest.approx(shift.quartile_share(row)[3], rel=1e-12)
    assert one["centroid_column"] == pytest.approx(shift.centroid(row, GRID)[1], rel=1e-12)
    assert one["spatial_spread"] == pytest.approx(dispersion.spatial_spread(row, GRID), rel=1e-12)


def test_head_wise(dump: xr.Dataset) -> None:
    table = measure(dump, ["entropy"], heads=True)
    assert list(table.columns) == ["model", "source", "layer", "head", "image_id", "metric", "value"]
    assert len(table) == 5 * (2 * 3 + 4 * 2)
    value = table.query("source == 'vision CLS' and layer == 1 and head == 3 and image_id == 10")["value"].item()
    assert value == pytest.approx(dispersion.entropy(dump["cls"].values[1, 0, 2]), rel=1e-12)


def test_a_dask_backed_dump_gives_the_same_table(dump: xr.Dataset) -> None:
    pd.testing.assert_frame_equal(measure(dump.chunk({"image": 2, "token": 5})), measure(dump))


def test_own_metrics_and_a_dump_with_one_source(dump: xr.Dataset) -> None:
    own = Metric("largest", lambda weights: weights.max("token"), "largest weight")
    table = measure(dump[["cls"]].assign_attrs(dump.attrs), [own])
    assert set(table["source"]) == {"vision CLS"}
    assert table["value"].max() == pytest.approx(dump["cls"].mean("vision_head").max().item(), rel=1e-6)


def test_summary_of_images(dump: xr.Dataset) -> None:
    table = measure(dump, ["gini", "slope"])
    summary = summarise(table, GRID, seed=1)
    assert [*summary] == ["model", "source", "layer", "metric", "estimate", "low", "high", "images", "uniform"]
    assert set(summary["uniform"].abs().round(12)) == {0.0}  # both are 0 for even attention
    assert len(summary) == 6 * 2
    assert (summary["low"] <= summary["estimate"]).all()
    assert (summary["estimate"] <= summary["high"]).all()
    assert set(summary["images"]) == {5}
    part = table.query("source == 'vision CLS' and layer == 2 and metric == 'slope'")["value"]
    assert summary.query("source == 'vision CLS' and layer == 2 and metric == 'slope'")["estimate"].item() == (
        pytest.approx(part.mean())
    )


def test_even_attention_as_the_reference(dump: xr.Dataset) -> None:
    flat = xr.full_like(dump, 0.01)
    own = Metric("largest", lambda weights: weights.max("token"), "largest weight")
    summary = summarise(measure(flat.assign_coords(dump.coords).assign_attrs(dump.attrs), [*METRICS, own]), GRID)
    known = summary["metric"] != "largest"
    assert summary[known]["estimate"].to_numpy() == pytest.approx(summary[known]["uniform"].to_numpy(), abs=1e-9)
    assert summary[~known]["uniform"].isna().all()
    assert dict(zip(summary["metric"], summary["uniform"], strict=True))["effective_tokens"] == pytest.approx(12)


def test_quartiles_for_figures(dump: xr.Dataset) -> None:
    shares = quartile_shares(summarise(measure(dump), GRID))
    assert sorted(shares["quartile"].unique().tolist()) == [1, 2, 3, 4]
    assert shares.groupby(["source", "layer"])["estimate"].sum().to_numpy() == pytest.approx(1)


def test_curves_for_figures(dump: xr.Dataset) -> None:
    curves = mass_curves(dump, (0.25, 1.0))
    assert list(curves.columns) == ["model", "source", "layer", "share", "mass"]
    assert curves.query("share == 1.0")["mass"].to_numpy() == pytest.approx(1)
    rows = dump["cls"].values.astype(np.float64).mean(2)[:, 1]
    top = np.sort(rows / rows.sum(1, keepdims=True), 1)[:, -3:].sum(1).mean()
    assert curves.query("source == 'vision CLS' and layer == 2 and share == 0.25")["mass"].item() == pytest.approx(top)

    tokens = profile(dump)
    assert list(tokens.columns) == ["model", "source", "layer", "token", "row", "column", "weight"]
    one = tokens.query("source == 'text last token' and layer == 4 and row == 2 and column == 1")
    assert one["token"].item() == 9
    assert one["weight"].item() == pytest.approx(dump["last"].values[:, 3, :, 9].astype(np.float64).mean())


def test_registry() -> None:
    names = [entry.name for entry in METRICS]
    assert len(set(names)) == len(names)
    assert metric("gini").function is dispersion.gini
    with pytest.raises(KeyError, match="did you mean 'entropy'"):
        metric("entropie")


def test_bad_dumps_are_refused(dump: xr.Dataset) -> None:
    with pytest.raises(ValueError, match=r"must hold attention rows .* such as `cls` or `last`, got nothing"):
        measure(dump.drop_vars(["cls", "last"]))
    with pytest.raises(ValueError, match="must have the attribute 'grid'"):
        measure(dump.assign_attrs(grid=None).drop_attrs())
    with pytest.raises(ValueError, match=r"rows \* columns = 12 tokens, got \(3, 5\)"):
        measure(dump.assign_attrs(grid=[3, 5]))
    with pytest.raises(KeyError, match="did you mean 'gini'"):
        measure(dump, ["ginni"])
    holed = dump.copy(deep=True)
    holed["cls"][4] = np.nan
    with pytest.raises(ValueError, match="finite"):
        measure(holed)
