from __future__ import annotations

import math

import dask.array
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from analysis.metrics import agreement

N = 12
ROWS = hnp.arrays(np.float64, N, elements=st.floats(1e-3, 1e3))
PAIRWISE = {
    "spearman": agreement.spearman,
    "jaccard": lambda a, b: agreement.jaccard_at_k(a, b, 4),
    "rbo": lambda a, b: agreement.rank_biased_overlap(a, b, 0.8),
    "js": agreement.js_between,
    "wasserstein": agreement.wasserstein_between,
}


def rbo_by_depth(a: np.ndarray, b: np.ndarray, p: float) -> float:
    """The definition, depth by depth, with both rankings complete beyond the last token."""
    first, second = np.argsort(-a, kind="stable"), np.argsort(-b, kind="stable")
    shares = [len(set(first[:d]) & set(second[:d])) / d for d in range(1, len(a) + 1)]
    shares += [1.0] * 2000
    return (1 - p) * math.fsum(share * p**d for d, share in enumerate(shares))


@given(a=ROWS, b=ROWS)
def test_against_other_implementations(a: np.ndarray, b: np.ndarray) -> None:
    index = np.arange(N) / (N - 1)
    assert agreement.wasserstein_between(a, b) == pytest.approx(
        stats.wasserstein_distance(index, index, a, b), abs=1e-9
    )
    assert agreement.rank_biased_overlap(a, b, 0.8) == pytest.approx(rbo_by_depth(a, b, 0.8), abs=1e-9)
    if np.unique(a / a.sum()).size > 1 and np.unique(b / b.sum()).size > 1:
        assert agreement.spearman(a, b) == pytest.approx(stats.spearmanr(a / a.sum(), b / b.sum()).statistic, abs=1e-9)
    top = [set(np.argsort(-row, kind="stable")[:4].tolist()) for row in (a / a.sum(), b / b.sum())]
    assert agreement.jaccard_at_k(a, b, 4) == len(top[0] & top[1]) / len(top[0] | top[1])


@pytest.mark.parametrize("function", PAIRWISE.values(), ids=PAIRWISE)
@given(a=ROWS, b=ROWS)
def test_symmetric_and_best_for_equal_rows(function, a: np.ndarray, b: np.ndarray) -> None:
    assert function(a, b) == pytest.approx(function(b, a), abs=1e-9)
    best = 0.0 if function in (agreement.js_between, agreement.wasserstein_between) else 1.0
    if function is not agreement.spearman or np.unique(a / a.sum()).size > 1:
        assert function(a, a) == pytest.approx(best, abs=1e-9)


def test_rows_without_a_common_token() -> None:
    first, last = np.eye(N)[0], np.eye(N)[-1]
    assert agreement.js_between(first, last) == pytest.approx(math.log(2))
    assert agreement.wasserstein_between(first, last) == 1
    assert agreement.jaccard_at_k(first, last, 1) == 0
    assert agreement.spearman(np.arange(1, N + 1), np.arange(N, 0, -1)) == pytest.approx(-1)


def test_an_even_row_agrees_with_nothing() -> None:
    assert agreement.spearman(np.ones(N), np.arange(1.0, N + 1)) == 0


def test_dimensions_are_matched_by_name_and_others_crossed() -> None:
    rng = np.random.default_rng(0)
    rows = xr.DataArray(rng.random((5, 3, N)), dims=("image", "layer", "token"))
    across = agreement.spearman(rows, rows.rename(layer="other"))
    assert across.dims == ("image", "layer", "other")
    np.testing.assert_allclose(np.diagonal(across, axis1=1, axis2=2), 1)
    assert across[2, 0, 1] == pytest.approx(float(agreement.spearman(rows[2, 0].values, rows[2, 1].values)))


@pytest.mark.parametrize("function", PAIRWISE.values(), ids=PAIRWISE)
def test_dask_and_xarray_give_the_numbers_of_numpy(function) -> None:
    rng = np.random.default_rng(1)
    a, b = rng.random((6, N)), rng.random((6, N))
    expected = function(a, b)
    lazy = function(dask.array.from_array(a, chunks=(2, 5)), dask.array.from_array(b, chunks=(3, 4)))
    assert isinstance(lazy, dask.array.Array)
    np.testing.assert_allclose(lazy.compute(), expected)
    named = [xr.DataArray(x, dims=("image", "token")).chunk({"image": 2, "token": 5}) for x in (a, b)]
    result = function(*named)
    assert result.chunks is not None
    np.testing.assert_allclose(result, expected)


def test_arrays_broadcast_as_in_numpy() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.random((4, 1, N)), rng.random((3, N))
    result = agreement.spearman(a, b)
    assert result.shape == (4, 3)
    assert result[2, 1] == pytest.approx(agreement.spearman(a[2, 0], b[1]))


def test_selections() -> None:
    assert agreement.jaccard([1, 2, 3], [3, 2, 7]) == 0.5
    assert agreement.jaccard([4], [4]) == 1
    with pytest.raises(ValueError, match="name no token twice"):
        agreement.jaccard([1, 1], [2])
    with pytest.raises(ValueError, match=r"token indices \[k\], got shape \(0,\)"):
        agreement.jaccard([], [2])


def test_bad_input_is_refused() -> None:
    even = np.ones(N)
    with pytest.raises(ValueError, match="`k` must be at least 1, got 0"):
        agreement.jaccard_at_k(even, even, 0)
    with pytest.raises(ValueError, match="`k` must be at most the 12 tokens, got 13"):
        agreement.jaccard_at_k(even, even, 13)
    with pytest.raises(ValueError, match=r"`p` must be in \(0, 1\), got 1"):
        agreement.rank_biased_overlap(even, even, 1)
    with pytest.raises(ValueError, match="equally many tokens, got 12 and 3"):
        agreement.spearman(even, np.ones(3))
    with pytest.raises(ValueError, match=r"labelled \(DataArray\) or neither"):
        agreement.spearman(xr.DataArray(even, dims="token"), even)
    with pytest.raises(ValueError, match="must have the dimension 'token'"):
        agreement.spearman(xr.DataArray(even, dims="token"), xr.DataArray(even, dims="patch"))
    with pytest.raises(ValueError, match="equally many tokens, got 12 and 3"):
        agreement.spearman(xr.DataArray(even, dims="token"), xr.DataArray(np.ones(3), dims="token"))
    with pytest.raises(ValueError, match="must not be negative"):
        agreement.js_between(-even, even)
    with pytest.raises(ValueError, match="got a single number"):
        agreement.js_between(np.float64(1), even)
