"""What is planted in a dump comes out of `measure`: a drift to the end, concentration, a blob that moves, sinks."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from analysis.metrics import attention_sinks, bootstrap_interval, centroid, measure, spatial_spread, summarise

GRID = (12, 12)
N = 144
IMAGES = 30


def dumped(last: np.ndarray) -> xr.Dataset:
    """A dump of `last` [image, layer, head, token]."""
    return xr.Dataset(
        {"last": (("image", "layer", "head", "token"), last)},
        coords={"image_id": ("image", np.arange(len(last))), "layer": np.arange(1, last.shape[1] + 1)},
        attrs={"model": "planted", "grid": list(GRID)},
    )


def summary_of(last: np.ndarray, metrics: list[str]) -> pd.DataFrame:
    table = summarise(measure(dumped(last), metrics), GRID, resamples=300)
    return table.pivot_table(["estimate", "low", "high"], "layer", "metric")


def test_a_planted_shift_is_recovered() -> None:
    """Layer by layer the mean weight rises with the index, by slopes that are known."""
    slopes = np.array([0.0, 0.5, 1.0, 1.8])
    ramp = 1 + slopes[:, None] * (np.arange(N) / (N - 1) - 0.5)
    noise = np.random.default_rng(0).gamma(2, 0.5, size=(4 * IMAGES, 4, 3, N))
    found = summary_of(ramp[None, :, None] * noise, ["slope", "mean_index", "quartile_1", "quartile_4", "entropy"])
    np.testing.assert_allclose(found["estimate"]["slope"], slopes, atol=0.05)
    assert (found["low"]["slope"].to_numpy()[1:] > found["high"]["slope"].to_numpy()[:-1]).all()  # told apart
    # of a ramp with slope s the mean index is 1/2 + s/12, and the last quartile holds 1/4 + 3 s / 32
    np.testing.assert_allclose(found["estimate"]["mean_index"], 0.5 + slopes / 12, atol=0.01)
    np.testing.assert_allclose(found["estimate"]["quartile_4"], 0.25 + 3 * slopes / 32, atol=0.01)
    np.testing.assert_allclose(found["estimate"]["quartile_1"], 0.25 - 3 * slopes / 32, atol=0.01)


def test_planted_dispersion_is_recovered_without_a_shift() -> None:
    """Dirichlet rows: the concentration of each layer is known, the place of the weight is not biased."""
    alphas = np.array([0.05, 0.3, 2.0])
    rng = np.random.default_rng(1)
    last = np.stack([rng.dirichlet(np.full(N, alpha), size=(IMAGES, 1)) for alpha in alphas], axis=1)
    found = summary_of(last, ["participation_ratio", "entropy", "gini", "slope", "mean_index"])
    # E sum p^2 = (alpha + 1) / (n alpha + 1), and 1 / x is convex: the mean ratio lies a little above
    expected = (N * alphas + 1) / (alphas + 1)
    assert (found["estimate"]["participation_ratio"] > 0.98 * expected).all()
    assert (found["estimate"]["participation_ratio"] < 1.15 * expected).all()
    assert (np.diff(found["low"]["entropy"]) > 0).all()
    assert (np.diff(found["estimate"]["gini"]) < 0).all()
    assert ((found["low"]["mean_index"] < 0.53) & (found["high"]["mean_index"] > 0.47)).all()


def blob(row: float, column: float) -> np.ndarray:
    rows, columns = np.divmod(np.arange(N), GRID[1])
    weights = np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 2)
    return np.where(weights > 1e-4, weights, 0.0)


@pytest.mark.parametrize(("down", "right"), [(1, 0), (0, 1), (1, -1)])
def test_moving_a_blob_by_one_patch_moves_the_centroid_by_one_patch(down: int, right: int) -> None:
    before, after = blob(5, 6), blob(5 + down, 6 + right)
    step = centroid(after, GRID, unit="patch") - centroid(before, GRID, unit="patch")
    np.testing.assert_allclose(step, [down, right], atol=1e-12)
    sides = centroid(after, GRID) - centroid(before, GRID)
    np.testing.assert_allclose(sides, np.array([down, right]) / 11, atol=1e-12)
    spreads = [spatial_spread(weights, GRID, unit="patch") for weights in (before, after)]
    assert spreads[0] == pytest.approx(spreads[1])


def test_spread_in_patches_is_the_standard_deviation_of_the_blob() -> None:
    table = measure(dumped(np.tile(blob(5, 6), (1, 1, 1, 1))), ["spatial_spread_patches", "spatial_spread"])
    values = table.set_index("metric")["value"]
    assert values["spatial_spread_patches"] == pytest.approx(np.sqrt(2), abs=0.01)  # variance 1 along each axis
    assert values["spatial_spread"] == pytest.approx(values["spatial_spread_patches"] / 11)
    wide = (4, 36)
    one_column_apart = np.eye(N)[0] + np.eye(N)[1]
    assert spatial_spread(one_column_apart, wide, unit="patch") == pytest.approx(0.5)  # whatever the sides
    with pytest.raises(ValueError, match="`unit` must be 'side' or 'patch', got 'pixel'"):
        spatial_spread(one_column_apart, wide, unit="pixel")


def test_metrics_with_and_without_planted_sinks() -> None:
    rng = np.random.default_rng(2)
    with_sinks = rng.uniform(0.9, 1.1, size=(IMAGES, 2, 1, N))  # a uniform row has no outliers by itself
    with_sinks[..., [0, 77]] = 40
    found = measure(dumped(with_sinks), ["entropy", "mean_index"], sinks=attention_sinks)
    assert list(found.columns) == ["model", "source", "layer", "sinks", "image_id", "metric", "value"]
    by_variant = found.groupby(["sinks", "metric"])["value"].mean()
    assert by_variant["with", "sink_tokens"] == 2
    assert by_variant["with", "sink_share"] == pytest.approx(80 / (80 + 142), rel=0.01)
    assert by_variant["without", "entropy"] == pytest.approx(np.log(142), abs=0.01)
    assert by_variant["with", "entropy"] < np.log(142) - 0.5
    plain = measure(dumped(with_sinks), ["entropy", "mean_index"])
    same = found.query("sinks == 'with' and metric in ['entropy', 'mean_index']").drop(columns="sinks")
    pd.testing.assert_frame_equal(same.reset_index(drop=True), plain)
    assert set(summarise(found, GRID, resamples=20)["sinks"]) == {"with", "without"}


def test_masks_of_sinks_by_source_and_on_dask() -> None:
    dump = dumped(np.random.default_rng(3).random((6, 2, 3, N)) + 0.01)
    tokens = xr.DataArray(np.arange(N) < 2, dims="token")
    layers = xr.DataArray(np.arange(N)[None] < np.array([[2], [2]]), dims=("layer", "token"), coords={"layer": [8, 9]})
    by_token = measure(dump, ["gini"], heads=True, sinks={"text last token": tokens})
    pd.testing.assert_frame_equal(measure(dump, ["gini"], heads=True, sinks={"text last token": layers}), by_token)
    assert by_token.query("metric == 'sink_tokens'")["value"].eq(2).all()
    lazy = measure(dump.chunk({"image": 4, "token": 50}), ["gini"], heads=True, sinks={"text last token": tokens})
    pd.testing.assert_frame_equal(lazy, by_token)
    chunked = measure(dump.chunk({"image": 4, "token": 50}), ["gini"], sinks=attention_sinks)
    pd.testing.assert_frame_equal(chunked, measure(dump, ["gini"], sinks=attention_sinks))
    with pytest.raises(ValueError, match="must have a mask for 'text last token', got 'vision CLS'"):
        measure(dump, ["gini"], sinks={"vision CLS": tokens})
    with pytest.raises(ValueError, match="the mask of 'text last token' must match attention"):
        measure(dump, ["gini"], sinks={"text last token": tokens[:7]})


def test_intervals_of_a_planted_metric_cover_it_nearly_as_often_as_they_claim() -> None:
    """Rows drawn anew 200 times: the 90 % interval of a mean index holds the true one in about 90 % of them."""
    rng = np.random.default_rng(4)
    truth, index, covered = 0.6, np.arange(N) / (N - 1), 0
    tilt = 1 + 12 * (truth - 0.5) * (index - 0.5) * (N - 1) / (N + 1)  # a ramp whose mean index is exactly the truth
    for trial in range(200):
        at = rng.choice(N, size=(40, 3), p=tilt / tilt.sum())
        rows = np.eye(N)[at].mean(1)  # three tokens per image: its mean index is unbiased
        values = measure(dumped(rows[:, None, None]), ["mean_index"])["value"]
        interval = bootstrap_interval(values, level=0.9, resamples=300, seed=trial)
        covered += interval.low <= truth <= interval.high
    assert 0.84 <= covered / 200 <= 0.95


def test_sources_beyond_the_two_of_every_dump() -> None:
    rows = np.random.default_rng(5).random((4, 2, N))
    dump = xr.Dataset(
        {
            "entropy": (("image", "layer", "head"), np.ones((4, 2, 3))),
            "own": (("image", "layer", "token"), rows, {"source": "second image"}),
            "received": (("image", "vision_layer", "vision_head", "token"), rows[:, :, None]),
            "map": (("image", "layer", "query", "token"), np.ones((4, 2, N, N))),
        },
        coords={"layer": [5, 9], "vision_layer": [1, 2]},
        attrs={"grid": list(GRID)},
    )
    table = measure(dump, ["gini"])
    assert table["source"].drop_duplicates().tolist() == ["vision mean received", "second image"]
    assert sorted(set(table.query("source == 'second image'")["layer"])) == [5, 9]  # the layers that were captured
    with pytest.raises(ValueError, match="`heads` must be False for this dump: `own` was captured as a mean over"):
        measure(dump, ["gini"], heads=True)
