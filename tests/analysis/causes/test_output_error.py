from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.causes import output_error

KEYS, DIM = 7, 3


def softmax(scores: np.ndarray) -> np.ndarray:
    shifted = np.exp(scores - scores.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


def by_hand(scores: np.ndarray, values: np.ndarray, kept: np.ndarray) -> float:
    """Error with a softmax over the kept scores alone, as a layer without the dropped tokens computes it."""
    return float(np.linalg.norm(softmax(scores[kept]) @ values[kept] - softmax(scores) @ values))


@given(seed=st.integers(0, 2**32 - 1), spread=st.floats(0.01, 8), offset=st.floats(-20, 20))
def test_the_error_is_that_of_the_shorter_layer_and_the_bounds_hold(seed: int, spread: float, offset: float) -> None:
    rng = np.random.default_rng(seed)
    scores, values = spread * rng.normal(size=KEYS), rng.normal(size=(KEYS, DIM)) + offset
    kept = rng.random(KEYS) < 0.5
    kept[rng.integers(KEYS)] = True
    result = output_error(softmax(scores), values, kept)
    assert result.error == pytest.approx(by_hand(scores, values, kept), abs=1e-9)
    assert result.dropped_mass == pytest.approx(softmax(scores)[~kept].sum())
    for bound in (result.norm_bound, result.centred_bound):
        assert result.error <= bound + 1e-9


@given(seed=st.integers(0, 2**32 - 1))
def test_an_offset_of_all_values_changes_neither_error_nor_centred_bound(seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights, values, kept = softmax(rng.normal(size=KEYS)), rng.normal(size=(KEYS, DIM)), np.arange(KEYS) < 3
    plain, moved = (output_error(weights, values + shift, kept) for shift in (0.0, 100.0))
    assert moved.error == pytest.approx(plain.error, abs=1e-9)
    assert moved.centred_bound == pytest.approx(plain.centred_bound, abs=1e-9)
    assert moved.norm_bound > plain.norm_bound


def test_the_norm_bound_is_attained() -> None:
    """Opposite values of the largest norm: no better bound follows from masses and norms."""
    result = output_error([0.25, 0.75], [[-2.0], [3.0]], [True, False])
    assert result.error == result.norm_bound == pytest.approx(0.75 * 5)


def test_dropping_nothing_or_what_has_no_weight_changes_nothing() -> None:
    values = np.arange(8.0).reshape(4, 2)
    assert output_error([0.25] * 4, values, [True] * 4).error == 0
    nothing = output_error([0.5, 0.5, 0.0, 0.0], values, [True, True, False, False])
    assert (nothing.error, nothing.norm_bound, nothing.relative_error) == (0, 0, 0)


def test_keys_without_weight_do_not_widen_the_bounds() -> None:
    """Masked keys, of either side, are not part of the layer's output."""
    values = np.array([[1.0], [2.0], [500.0], [-500.0]])
    result = output_error([0.5, 0.5, 0.0, 0.0], values, [True, False, True, False])
    assert result.norm_bound == pytest.approx(0.5 * 3)
    assert output_error([0.5, 0.5], values[:2], [True, False]).norm_bound == result.norm_bound


def test_leading_axes_broadcast() -> None:
    rng = np.random.default_rng(0)
    weights, values = softmax(rng.normal(size=(2, 4, KEYS))), rng.normal(size=(2, 1, KEYS, DIM))
    kept = np.arange(KEYS) % 2 == 0
    result = output_error(weights, values, kept)
    assert result.error.shape == result.norm_bound.shape == (2, 4)
    assert result.error[1, 2] == pytest.approx(output_error(weights[1, 2], values[1, 0], kept).error)


@pytest.mark.parametrize(
    ("weights", "values", "kept", "text"),
    [
        ([0.5, 0.5], np.ones((3, 2)), [True, True], r"got \(3, 2\) and \(2,\)"),
        ([0.5, 0.5], np.ones((2, 2)), [1, 0], r"`kept` must be bool \[key\] = \[2\], got int64"),
        ([0.5, 0.5], np.ones((2, 2)), [True], r"`kept` must be bool \[key\] = \[2\]"),
        ([0.5, 0.6], np.ones((2, 2)), [True, False], "a sum of 1"),
        ([-0.5, 1.5], np.ones((2, 2)), [True, False], "not negative"),
        ([np.nan, 1.0], np.ones((2, 2)), [True, False], "must be finite"),
        ([0.0, 1.0], np.ones((2, 2)), [True, False], "positive weight in every row"),
    ],
)
def test_bad_input_is_refused(weights, values, kept, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        output_error(weights, values, kept)
