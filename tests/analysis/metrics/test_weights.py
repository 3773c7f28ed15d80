"""The same metric on NumPy, Dask and xarray: equal numbers, lazy where the input is lazy."""

from __future__ import annotations

import dask.array
import numpy as np
import pytest
import xarray as xr

from analysis.metrics import METRICS, dispersion, shift

GRID = (4, 6)
VALUES = np.random.default_rng(3).gamma(0.4, size=(5, 2, 24)).astype(np.float32)
each = pytest.mark.parametrize("entry", METRICS, ids=lambda entry: entry.name)


@each
def test_arrays_dask_and_data_arrays_agree(entry) -> None:
    options = {"grid": GRID} if entry.needs_grid else {}
    eager = entry.function(VALUES, **options)
    lazy = entry.function(dask.array.from_array(VALUES, chunks=(2, 1, 7)), **options)
    assert isinstance(lazy, dask.array.Array)
    np.testing.assert_allclose(lazy.compute(), eager, rtol=1e-9, atol=1e-12)
    data = xr.DataArray(VALUES.transpose(2, 0, 1), dims=["token", "image", "layer"], attrs={"unit": "1"})
    named = entry.function(data.chunk({"token": 5, "image": 2}), **options)
    assert named.chunks is not None
    assert named.dims[:2] == ("image", "layer")
    assert named.attrs == {"unit": "1"}
    np.testing.assert_allclose(named.values, eager, rtol=1e-9, atol=1e-12)


def test_another_dimension_name() -> None:
    data = xr.DataArray(VALUES, dims=["image", "layer", "patch"])
    np.testing.assert_array_equal(dispersion.entropy(data, dim="patch").values, dispersion.entropy(VALUES))
    with pytest.raises(
        ValueError, match=r"must have the dimension 'token', got dimensions \('image', 'layer', 'patch'\)"
    ):
        dispersion.entropy(data)


def test_labels_of_the_parts() -> None:
    data = xr.DataArray(VALUES, dims=["image", "layer", "token"])
    assert shift.centroid(data, GRID)["axis"].values.tolist() == ["row", "column"]
    assert shift.quartile_share(data)["quartile"].values.tolist() == ["1", "2", "3", "4"]
    assert dispersion.mass_curve(data, (0.5, 1.0))["share"].values.tolist() == [0.5, 1.0]


def test_an_empty_token_axis_is_refused_before_computing() -> None:
    with pytest.raises(ValueError, match="at least 1 token, got 0"):
        dispersion.gini(xr.DataArray(np.ones((2, 0)), dims=["image", "token"]))


def test_bad_values_of_a_dask_array_are_refused_on_compute() -> None:
    lazy = dispersion.gini(dask.array.from_array(np.full((4, 6), np.nan), chunks=2))
    with pytest.raises(ValueError, match="finite"):
        lazy.compute()


def test_integer_and_half_precision_weights_are_summed_in_float64() -> None:
    assert dispersion.entropy(np.ones(1000, dtype=np.float16)) == pytest.approx(np.log(1000), rel=1e-12)
    assert dispersion.entropy(np.ones(1000, dtype=np.uint8)) == pytest.approx(np.log(1000), rel=1e-12)
