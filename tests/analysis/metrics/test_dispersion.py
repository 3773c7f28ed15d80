from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from analysis.metrics import dispersion

GRID = (3, 4)
ROWS = hnp.arrays(np.float64, (2, 12), elements=st.floats(1e-3, 1e3))
ALL = {
    "entropy": dispersion.entropy,
    "effective_tokens": dispersion.effective_tokens,
    "participation_ratio": dispersion.participation_ratio,
    "gini": dispersion.gini,
    "top_mass": dispersion.top_mass,
    "spatial_spread": lambda weights: dispersion.spatial_spread(weights, GRID),
}
each = pytest.mark.parametrize("name", ALL)


def one_hot(n: int, at: int) -> np.ndarray:
    return np.eye(n)[at]


@pytest.mark.parametrize(
    ("name", "even", "single"),
    [
        ("entropy", np.log(12), 0),
        ("effective_tokens", 12, 1),
        ("participation_ratio", 12, 1),
        ("gini", 0, 1 - 1 / 12),
        ("top_mass", 0.1, 1),
    ],
)
def test_ends_of_the_scale(name: str, even: float, single: float) -> None:
    assert ALL[name](np.full(12, 3.0)) == pytest.approx(even, abs=1e-12)
    # a tenth of 12 tokens is 1.2: one whole token and a part, so the single one is held in full
    assert ALL[name](one_hot(12, 7)) == pytest.approx(single, abs=1e-12)


@each
@given(weights=ROWS, scale=st.floats(1e-3, 1e3))
def test_scale_does_not_matter_and_rows_are_independent(name: str, weights: np.ndarray, scale: float) -> None:
    both = ALL[name](weights)
    assert both.shape == (2,)
    np.testing.assert_allclose(ALL[name](weights * scale), both, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose([ALL[name](row) for row in weights], both, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", sorted(set(ALL) - {"spatial_spread"}))
@given(weights=ROWS, seed=st.integers(0, 99))
def test_order_of_tokens_does_not_matter(name: str, weights: np.ndarray, seed: int) -> None:
    shuffled = np.random.default_rng(seed).permutation(weights, axis=1)
    np.testing.assert_allclose(ALL[name](shuffled), ALL[name](weights), rtol=1e-9, atol=1e-12)


def test_gini_is_the_mean_absolute_difference() -> None:
    x = np.random.default_rng(0).gamma(0.3, size=50)
    oracle = np.abs(x[:, None] - x).mean() / (2 * x.mean())
    assert dispersion.gini(x) == pytest.approx(oracle, rel=1e-12)


def test_top_mass_interpolates_between_tokens() -> None:
    weights = np.array([1.0, 4, 2, 3])
    assert dispersion.top_mass(weights, p=0.25) == pytest.approx(0.4)
    assert dispersion.top_mass(weights, p=0.375) == pytest.approx(0.4 + 0.5 * 0.3)
    assert dispersion.top_mass(weights, p=1.0) == pytest.approx(1)


def test_mass_curve_and_the_reference_offset() -> None:
    weights = np.array([[1.0, 4, 2, 3], [1, 1, 1, 1]])
    shares = (0.25, 0.5, 0.75, 1.0)
    np.testing.assert_allclose(
        dispersion.mass_curve(weights, shares), [[0.4, 0.7, 0.9, 1], [0.25, 0.5, 0.75, 1]], rtol=1e-12
    )
    np.testing.assert_allclose(
        dispersion.mass_curve(weights, shares, offset=1), [[0.7, 0.9, 1, 1], [0.5, 0.75, 1, 1]], rtol=1e-12
    )


def test_spatial_spread_on_known_layouts() -> None:
    assert dispersion.spatial_spread(one_hot(12, 5), GRID) == 0
    corners = one_hot(12, 0) + one_hot(12, 11)
    assert dispersion.spatial_spread(corners, GRID) == pytest.approx(np.sqrt(0.5))
    side_by_side = one_hot(12, 0) + one_hot(12, 1)  # a third of the width apart
    assert dispersion.spatial_spread(side_by_side, GRID) == pytest.approx(1 / 6)
    assert dispersion.spatial_spread(np.ones(5), (1, 5)) == pytest.approx(np.std(np.linspace(0, 1, 5)))


@each
def test_bad_weights_are_refused(name: str) -> None:
    good = np.ones((2, 12))
    for bad, message in (
        (np.where(np.arange(12) == 3, np.nan, good), "finite, got 2 NaN"),
        (np.where(np.arange(12) == 3, np.inf, good), "finite, got 2 NaN or infinite"),
        (np.where(np.arange(12) == 3, -1.0, good), "must not be negative, got -1"),
        (good * [[1], [0]], "got a row of zeros"),
        (np.ones((2, 0)), "at least 1 token, got 0"),
        (np.array("a"), "got a single number"),
        (np.full((2, 12), "a"), "real numbers, got dtype"),
    ):
        with pytest.raises(ValueError, match=message):
            ALL[name](bad)


def test_bad_parameters_are_refused() -> None:
    weights = np.ones(12)
    for p in (0, -0.1, 1.1):
        with pytest.raises(ValueError, match=rf"`p` must be in \(0, 1\], got {p}"):
            dispersion.top_mass(weights, p=p)
    with pytest.raises(ValueError, match=r"`shares` must be in \(0, 1\], got 2"):
        dispersion.mass_curve(weights, (0.5, 2))
    with pytest.raises(ValueError, match="`offset` must be at least 0 tokens, got -1"):
        dispersion.mass_curve(weights, offset=-1)
    with pytest.raises(ValueError, match=r"rows \* columns = 12 tokens, got \(3, 5\)"):
        dispersion.spatial_spread(weights, (3, 5))
