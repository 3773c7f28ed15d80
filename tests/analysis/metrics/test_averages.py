"""Tables for figures hold what a hand-run over the rows of a dump gives."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from analysis.metrics import (
    jaccard_at_k,
    layer_agreement,
    mass_curves,
    profile,
    score_histogram,
    selection_frequency,
    spearman,
)

TOKENS = 24


@pytest.fixture
def dump() -> xr.Dataset:
    rng = np.random.default_rng(0)
    return xr.Dataset(
        {
            "cls": (("image", "vision_layer", "vision_head", "token"), rng.random((7, 2, 3, TOKENS)) ** 3),
            "last": (("image", "layer", "head", "token"), rng.random((7, 3, 2, TOKENS)) ** 2),
        },
        coords={"image_id": ("image", np.arange(7)), "vision_layer": [1, 2], "layer": [1, 2, 3]},
        attrs={"model": "toy", "grid": [4, 6]},
    )


def head_mean(dump: xr.Dataset, name: str, layer: int) -> np.ndarray:
    return np.asarray(dump[name].values.mean(2)[:, layer - 1])


def test_histogram(dump: xr.Dataset) -> None:
    table = score_histogram(dump, bins=10)
    assert list(table.columns) == ["model", "source", "layer", "bin", "score", "share", "largest"]
    assert table.groupby(["source", "layer"])["share"].sum().to_numpy() == pytest.approx(1)
    scores = head_mean(dump, "last", 2)
    counts, edges = np.histogram(scores, bins=10, range=(0, scores.max()))
    part = table.query("source == 'text last token' and layer == 2")
    np.testing.assert_allclose(part["share"], counts / scores.size)
    np.testing.assert_allclose(part["score"] * part["largest"], (edges[1:] + edges[:-1]) / 2)


def test_selection_frequency(dump: xr.Dataset) -> None:
    table = selection_frequency(dump, keep=5, bins=8)
    assert list(table.columns) == ["model", "source", "layer", "bin", "position", "frequency", "even"]
    # as many tokens are kept as asked for, in whatever bins
    assert table.groupby(["source", "layer"])["frequency"].mean().to_numpy() == pytest.approx(5 / TOKENS)
    kept = np.zeros((7, TOKENS))
    np.put_along_axis(kept, np.argsort(-head_mean(dump, "cls", 1), axis=1)[:, :5], 1, axis=1)
    part = table.query("source == 'vision CLS' and layer == 1")
    np.testing.assert_allclose(part["frequency"], kept.reshape(7, 8, 3).mean((0, 2)))
    np.testing.assert_allclose(part["position"], (np.arange(8) + 0.5) / 8)


def test_a_planted_preference_shows_at_its_place(dump: xr.Dataset) -> None:
    dump["last"][:, 1, :, 18:] += 5
    part = selection_frequency(dump, keep=6, bins=4).query("source == 'text last token' and layer == 2")
    assert part["frequency"].tolist() == pytest.approx([0, 0, 0, 1])


def test_agreement_of_layers(dump: xr.Dataset) -> None:
    dump["last"][:, 2] = dump["last"][:, 0]
    table = layer_agreement(dump, resamples=50)
    assert len(table) == 25
    square = table.pivot_table("estimate", ["source", "layer"], ["other_source", "other_layer"], sort=False)
    np.testing.assert_allclose(square, square.T)
    np.testing.assert_allclose(np.diag(square), 1)
    assert square.loc[("text last token", 1), ("text last token", 3)] == pytest.approx(1)
    rows = head_mean(dump, "cls", 2), head_mean(dump, "last", 2)
    assert square.loc[("vision CLS", 2), ("text last token", 2)] == pytest.approx(spearman(*rows).mean())
    assert ((table["low"] <= table["estimate"] + 1e-12) & (table["estimate"] <= table["high"] + 1e-12)).all()
    common = layer_agreement(dump, partial(jaccard_at_k, k=4), resamples=50)
    pair = common.query("source == 'vision CLS' and layer == 2 and other_source == 'text last token'")
    assert pair.iloc[1]["estimate"] == pytest.approx(jaccard_at_k(*rows, 4).mean())


@pytest.mark.parametrize(
    "average",
    [mass_curves, profile, score_histogram, partial(selection_frequency, keep=4, bins=5), layer_agreement],
    ids=["mass_curves", "profile", "score_histogram", "selection_frequency", "layer_agreement"],
)
def test_a_dask_backed_dump_gives_the_same_table(average, dump: xr.Dataset) -> None:
    pd.testing.assert_frame_equal(average(dump.chunk({"image": 3, "token": 7, "layer": 2})), average(dump))


def test_bad_numbers_are_refused(dump: xr.Dataset) -> None:
    with pytest.raises(ValueError, match="`bins` must be at least 1, got 0"):
        score_histogram(dump, bins=0)
    with pytest.raises(ValueError, match=r"`keep` must be in \[1, 24\], got 25"):
        selection_frequency(dump, keep=25)
    with pytest.raises(ValueError, match=r"`bins` must be in \[1, 24\], got 48"):
        selection_frequency(dump, keep=5)
    dump["cls"][3] = np.nan
    for average in (score_histogram, partial(selection_frequency, keep=5, bins=4), layer_agreement):
        with pytest.raises(ValueError, match="finite"):
            average(dump)
