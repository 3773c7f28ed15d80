from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import special, stats

from analysis.metrics import shift

GRID = (3, 4)
N = 12
FIRST, LAST = np.eye(N)[0], np.eye(N)[-1]
EVEN = np.ones(N)
ROWS = hnp.arrays(np.float64, N, elements=st.floats(1e-3, 1e3))


@pytest.mark.parametrize(
    ("function", "first", "even", "last"),
    [
        (shift.mean_index, 0, 0.5, 1),
        (shift.wasserstein_to_uniform, 0.5, 0, 0.5),
        (lambda w: shift.centroid(w, GRID), [0, 0], [0.5, 0.5], [1, 1]),
        (shift.quartile_share, [1, 0, 0, 0], [0.25] * 4, [0, 0, 0, 1]),
    ],
)
def test_ends_of_the_scale(function, first, even, last) -> None:
    for weights, expected in ((FIRST, first), (EVEN, even), (LAST, last)):
        np.testing.assert_allclose(function(weights), expected, atol=1e-12)


def test_even_attention_shows_no_trend() -> None:
    assert shift.slope(EVEN) == pytest.approx(0, abs=1e-12)
    assert shift.spearman_index(EVEN) == 0
    assert shift.js_to_uniform(EVEN) == pytest.approx(0, abs=1e-12)


@given(weights=ROWS)
def test_reversing_the_tokens_mirrors_the_shift(weights: np.ndarray) -> None:
    mirrored = weights[::-1]
    assert shift.mean_index(mirrored) == pytest.approx(1 - shift.mean_index(weights), abs=1e-9)
    assert shift.slope(mirrored) == pytest.approx(-shift.slope(weights), abs=1e-8)
    assert shift.spearman_index(mirrored) == pytest.approx(-shift.spearman_index(weights), abs=1e-9)
    np.testing.assert_allclose(shift.quartile_share(mirrored), shift.quartile_share(weights)[::-1], atol=1e-9)
    np.testing.assert_allclose(shift.centroid(mirrored, GRID), 1 - shift.centroid(weights, GRID), atol=1e-9)
    assert shift.js_to_uniform(mirrored) == pytest.approx(shift.js_to_uniform(weights), abs=1e-12)
    assert shift.wasserstein_to_uniform(mirrored) == pytest.approx(shift.wasserstein_to_uniform(weights), abs=1e-9)


@given(weights=ROWS)
def test_against_scipy(weights: np.ndarray) -> None:
    index = np.arange(N)
    p = weights / weights.sum()
    assert shift.slope(weights) == pytest.approx(stats.linregress(index / (N - 1), N * p).slope, abs=1e-9)
    assert shift.wasserstein_to_uniform(weights) == pytest.approx(
        stats.wasserstein_distance(index / (N - 1), index / (N - 1), p, EVEN), abs=1e-9
    )
    even, middle = EVEN / EVEN.sum(), (p + EVEN / EVEN.sum()) / 2
    # not scipy's jensenshannon: its square root fails where rounding makes the divergence of even weights negative
    divergence = (special.rel_entr(p, middle).sum() + special.rel_entr(even, middle).sum()) / 2
    assert shift.js_to_uniform(weights) == pytest.approx(divergence, abs=1e-9)
    if np.unique(p).size > 1:
        assert shift.spearman_index(weights) == pytest.approx(stats.spearmanr(p, index).statistic, abs=1e-9)


def test_a_linear_ramp_has_slope_two() -> None:
    assert shift.slope(np.linspace(0, 1, 576)) == pytest.approx(2)


@given(weights=hnp.arrays(np.float64, st.integers(1, 40), elements=st.floats(1e-3, 1e3)))
def test_quartiles_of_any_length_sum_to_one(weights: np.ndarray) -> None:
    assert shift.quartile_share(weights).sum() == pytest.approx(1)
    np.testing.assert_allclose(shift.quartile_share(np.ones(len(weights))), 0.25, rtol=1e-12)


def test_a_token_on_a_quartile_border_counts_by_its_parts() -> None:
    np.testing.assert_allclose(shift.quartile_share(np.eye(6)[1]), [0.5, 0.5, 0, 0])


def test_a_single_token_has_no_trend() -> None:
    one = np.ones((2, 1))
    for function in (shift.mean_index, shift.slope, shift.spearman_index, shift.wasserstein_to_uniform):
        np.testing.assert_array_equal(function(one), [0, 0])


def test_leading_axes_are_kept() -> None:
    weights = np.random.default_rng(0).random((2, 3, 5, N))
    assert shift.spearman_index(weights).shape == (2, 3, 5)
    assert shift.quartile_share(weights).shape == (2, 3, 5, 4)
    assert shift.centroid(weights, GRID)[1, 2, 3] == pytest.approx(shift.centroid(weights[1, 2, 3], GRID))


def test_a_wrong_grid_is_refused() -> None:
    with pytest.raises(ValueError, match=r"rows \* columns = 12 tokens, got \(0, 12\)"):
        shift.centroid(EVEN, (0, 12))
