from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analysis.metrics import corrected, paired_test

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=12)


def test_few_pairs_are_tested_exactly_as_by_scipy() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.random(9), rng.random(9)
    expected = stats.permutation_test(
        (first, second), lambda a, b, axis: (a - b).mean(axis), permutation_type="samples", n_resamples=np.inf
    )
    assert paired_test(first, second).p_value == pytest.approx(expected.pvalue)


def test_many_pairs_come_near_the_t_test() -> None:
    rng = np.random.default_rng(1)
    first = rng.normal(size=400)
    second = first + rng.normal(0.1, 1.0, size=400)
    result = paired_test(first, second, resamples=20_000)
    assert result.p_value == pytest.approx(stats.ttest_rel(first, second).pvalue, abs=0.01)
    assert result.difference.low < result.difference.estimate < result.difference.high
    assert result.difference.estimate == pytest.approx((first - second).mean())


def test_under_no_difference_small_p_values_are_as_rare_as_they_say() -> None:
    rng = np.random.default_rng(2)
    values = [paired_test(rng.normal(size=30), rng.normal(size=30), resamples=199).p_value for _ in range(400)]
    share = np.mean(np.array(values) <= 0.1)
    assert 0.06 < share < 0.15


def test_units_of_one_group_are_not_independent_evidence() -> None:
    """Ten copies of each of five differences: as much evidence as five."""
    first = np.repeat([1.0, 2.0, 3.0, 4.0, 5.0], 10)
    groups = np.repeat(np.arange(5), 10)
    zeros = np.zeros(50)
    assert paired_test(first, zeros, groups=groups).p_value == 2 / 2**5
    assert paired_test(first, zeros, groups=groups).groups == 5
    assert paired_test(first, zeros).p_value < 0.001


def test_equal_samples_and_repeats() -> None:
    values = np.arange(40.0)
    assert paired_test(values, values).p_value == 1
    other = np.random.default_rng(3).permutation(values)
    assert paired_test(values, other, seed=5) == paired_test(values, other, seed=5)


def test_holm_on_an_example_worked_by_hand() -> None:
    np.testing.assert_allclose(corrected([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])


@given(p_values=P_VALUES)
def test_corrections_never_lower_and_keep_the_order(p_values: list[float]) -> None:
    given_values = np.array(p_values)
    order = np.argsort(given_values, kind="stable")
    for method in ("holm", "benjamini-hochberg"):
        adjusted = corrected(p_values, method)
        assert (adjusted >= given_values - 1e-15).all()
        assert (adjusted <= 1).all()
        assert (np.diff(adjusted[order]) >= -1e-15).all()
    assert (corrected(p_values, "holm") >= corrected(p_values, "benjamini-hochberg") - 1e-12).all()
    np.testing.assert_array_equal(corrected(p_values, "none"), given_values)


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match=r"same shape \[unit\], got \(3,\) and \(2,\)"):
        paired_test([1, 2, 3], [1, 2])
    with pytest.raises(ValueError, match="finite"):
        paired_test([1.0, np.nan], [0.0, 1.0])
    with pytest.raises(ValueError, match="must be real numbers"):
        paired_test(["a", "b"], [0.0, 1.0])
    with pytest.raises(ValueError, match="not empty"):
        corrected([])
    with pytest.raises(ValueError, match=r"must be numbers in \[0, 1\]"):
        corrected([0.2, np.nan])
    with pytest.raises(KeyError, match="did you mean 'holm'"):
        corrected([0.2], "holmes")
