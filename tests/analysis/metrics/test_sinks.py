"""Planted sinks are found, taken out, and counted."""

from __future__ import annotations

import dask.array
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from analysis.metrics import dispersion, sinks

N, WIDTH = 40, 64
PLANTED = (3, 17)


def hidden_states(*lead: int, dimension: int = 9, size: float = 50.0) -> np.ndarray:
    """Normal states with one very large activation in two tokens."""
    states = np.random.default_rng(0).normal(size=(*lead, N, WIDTH))
    states[..., PLANTED, dimension] = size
    return states


def planted(*lead: int) -> np.ndarray:
    mask = np.zeros((*lead, N), dtype=bool)
    mask[..., PLANTED] = True
    return mask


def test_massive_activations_are_found_at_their_size_relative_to_the_root_mean_square() -> None:
    states = hidden_states(2, 3)
    limit = 50 / np.sqrt(np.square(states[0, 0, 3]).mean())  # sqrt(WIDTH) = 8 at most
    assert (sinks.activation_sinks(states, [9], tau=limit - 0.5) == planted(2, 3)).all()
    assert not sinks.activation_sinks(states, [9], tau=7.99).any()
    assert not sinks.activation_sinks(states, [8], tau=limit - 0.5).any()
    assert (sinks.activation_sinks(-states, [1, 9], tau=limit - 0.5) == planted(2, 3)).all()  # magnitude counts


@given(scale=st.floats(1e-6, 1e6))
def test_root_mean_square_makes_the_scale_of_a_model_irrelevant(scale: float) -> None:
    states = hidden_states()
    assert (sinks.activation_sinks(scale * states, [9], tau=5) == planted()).all()


def test_dimensions_of_massive_activations() -> None:
    states = hidden_states(2, size=1e4)
    assert sinks.massive_dimensions(states) == (9,)
    assert sinks.massive_dimensions(states / 1e3) == ()  # large for the model, but not large
    assert sinks.massive_dimensions(states / 1e3, least=5) == (9,)
    swapped = xr.DataArray(states, dims=("image", "token", "dimension")).transpose("dimension", ...)
    assert sinks.massive_dimensions(swapped) == (9,)


@given(hnp.arrays(np.float64, (3, 12), elements=st.floats(1e-3, 1e3)))
def test_outliers_of_attention_by_the_quartile_rule(weights: np.ndarray) -> None:
    found = sinks.attention_sinks(weights)
    for row, mask in zip(weights / weights.sum(1, keepdims=True), found, strict=True):
        low, high = np.percentile(row, 25), np.percentile(row, 75)
        np.testing.assert_array_equal(mask, row > high + 1.5 * (high - low))


def test_even_attention_has_no_sinks_and_a_single_peak_is_one() -> None:
    assert not sinks.attention_sinks(np.ones(N)).any()
    assert np.flatnonzero(sinks.attention_sinks(1 + np.eye(N)[5])).tolist() == [5]


def test_outlier_norms_are_found_only_where_there_are_two_modes() -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(4, 576, 32))
    assert not sinks.norm_sinks(features).any()
    features[:, :6] *= 12  # about 1 %
    found = sinks.norm_sinks(features)
    assert found[:, :6].all()
    assert not found[:, 6:].any()
    features[:, :200] *= 12
    assert not sinks.norm_sinks(features).any()  # a third of the tokens is no outlier
    by_size = sinks.norm_sinks(features, threshold=60)
    np.testing.assert_array_equal(by_size, np.linalg.norm(features, axis=-1) > 60)
    assert not sinks.norm_sinks(np.ones((5, 4))).any()


def test_bimodality_coefficient_of_known_distributions() -> None:
    rng = np.random.default_rng(2)
    assert sinks.bimodality(rng.normal(size=100_000)) == pytest.approx(1 / 3, abs=0.01)
    assert sinks.bimodality(np.linspace(0, 1, 10_001)) == pytest.approx(5 / 9, abs=1e-3)
    assert sinks.bimodality(np.repeat([0.0, 7.0], [99, 1])) == pytest.approx(1)
    assert sinks.bimodality(np.full(10, 0.1)) == 0


def test_taking_sinks_out_leaves_the_other_weights_in_proportion() -> None:
    weights = np.random.default_rng(3).random((2, N))
    clean = sinks.without_sinks(weights, planted())
    kept = ~planted()
    np.testing.assert_allclose(clean.sum(-1), 1)
    assert not clean[:, ~kept].any()
    np.testing.assert_allclose(clean[:, kept], weights[:, kept] / weights[:, kept].sum(-1, keepdims=True))
    assert dispersion.entropy(clean[0]) == pytest.approx(dispersion.entropy(weights[0, kept]))
    share = weights[:, list(PLANTED)].sum(-1) / weights.sum(-1)
    np.testing.assert_allclose(sinks.sink_share(weights, planted()), share)


def test_image_centric_heads() -> None:
    mask = np.array([True, False, False, False])
    heads = np.array([[0.1, 0.1, 0.1, 0.1], [0.6, 0.1, 0.1, 0.1], [0.01, 0.05, 0.05, 0.05], [0.1, 0.1, 0.0, 0.0]])
    # the second looks at the sink, the third hardly at the image; the last is at both limits, which are included
    assert sinks.image_centric(heads, mask).tolist() == [True, False, False, True]


def test_dask_and_data_arrays_give_the_masks_of_numpy() -> None:
    states = hidden_states(4)
    weights = np.random.default_rng(4).random((4, N)) ** 8
    named = xr.DataArray(states, dims=("image", "token", "dimension")).chunk({"image": 2, "dimension": 7})
    rows = xr.DataArray(dask.array.from_array(weights, chunks=(3, 9)), dims=("image", "token"))
    lazy = sinks.activation_sinks(named, [9], tau=5)
    assert lazy.chunks is not None
    np.testing.assert_array_equal(lazy, planted(4))
    np.testing.assert_array_equal(sinks.norm_sinks(named, threshold=20), sinks.norm_sinks(states, threshold=20))
    np.testing.assert_array_equal(sinks.attention_sinks(rows), sinks.attention_sinks(weights))
    clean = sinks.without_sinks(rows, lazy)
    assert clean.chunks is not None
    np.testing.assert_allclose(clean, sinks.without_sinks(weights, planted(4)))
    one_image = xr.DataArray(planted(), dims="token")  # dimensions that a mask lacks are crossed
    np.testing.assert_allclose(sinks.sink_share(rows, one_image), sinks.sink_share(weights, planted()))


def test_bad_input_is_refused() -> None:
    states, weights = hidden_states(), np.ones(N)
    for dimensions in ([], [64], [-1]):
        with pytest.raises(ValueError, match=r"`dimensions` must be in \[0, 63\]"):
            sinks.activation_sinks(states, dimensions, tau=5)
    with pytest.raises(ValueError, match=r"`tau` must be in \(0, 8\) for 64 dimensions, got 20.0"):
        sinks.activation_sinks(states, [9])
    with pytest.raises(ValueError, match="`hidden` must be finite, got 1 NaN"):
        sinks.norm_sinks(np.where(np.arange(N * WIDTH).reshape(N, WIDTH) == 5, np.nan, states))
    with pytest.raises(ValueError, match=r"`hidden` must have shape \[..., token, dimension\], got \(40,\)"):
        sinks.activation_sinks(weights, [0], tau=5)
    with pytest.raises(ValueError, match="`threshold` must be positive, got 0"):
        sinks.norm_sinks(states, threshold=0)
    with pytest.raises(ValueError, match=r"`most` must be in \(0, 1\), got 1"):
        sinks.norm_sinks(states, most=1)
    with pytest.raises(ValueError, match="`factor` must be at least 0, got nan"):
        sinks.attention_sinks(weights, factor=float("nan"))
    with pytest.raises(ValueError, match="mask of dtype bool, got float64"):
        sinks.without_sinks(weights, weights)
    with pytest.raises(ValueError, match="got 1 rows with weight on sinks only"):
        sinks.without_sinks(np.eye(N)[:2], np.arange(N) == 1)
    with pytest.raises(ValueError, match=r"as many tokens as the weights, got \[4, 40\]"):
        sinks.sink_share(weights, np.ones(4, dtype=bool))
    rows = xr.DataArray(np.ones((2, N)), dims=("image", "token"))
    with pytest.raises(ValueError, match="as long as the weights along image"):
        sinks.sink_share(rows, xr.DataArray(planted(3), dims=("image", "token")))
    with pytest.raises(ValueError, match="got one of each"):
        sinks.sink_share(rows, planted())
    with pytest.raises(ValueError, match="must have the dimension 'token'"):
        sinks.sink_share(rows, xr.DataArray(planted(), dims="patch"))
