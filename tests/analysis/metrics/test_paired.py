from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analysis.metrics import corrected, mcnemar, paired_test

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


def test_strata_weigh_alike_whatever_their_sizes() -> None:
    """Three units of one task and one of another: (mean of the three + the one) / 2."""
    first, second = np.array([1.0, 0.0, 1.0, 1.0]), np.array([0.0, 0.0, 0.0, 1.0])
    tasks = ["a", "a", "a", "b"]
    result = paired_test(first, second, strata=tasks)
    assert result.difference.estimate == pytest.approx((2 / 3 + 0) / 2)
    assert result.p_value == 0.5  # of two differences that are not 0, both positive in 2 of 4 sign patterns
    swapped = paired_test([0, 0, 0, 1.0], [1.0, 1.0, 1.0, 0], strata=tasks)
    assert swapped.difference.estimate == 0
    assert swapped.p_value == 1  # three losses of 1/3 against one win of 1: no pattern sums to less


def test_strata_of_one_size_change_nothing() -> None:
    rng = np.random.default_rng(4)
    first, second, groups = rng.random(40), rng.random(40), np.repeat(np.arange(10), 4)
    plain = paired_test(first, second, groups=groups)
    strata = paired_test(first, second, groups=groups, strata=np.tile(np.arange(4), 10))
    assert strata.p_value == plain.p_value
    assert strata.difference.estimate == pytest.approx(plain.difference.estimate)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_mcnemar_is_the_binomial_test_written_out(pairs: list[tuple[bool, bool]]) -> None:
    first, second = zip(*pairs, strict=True)
    result = mcnemar(first, second)
    wins = sum(a and not b for a, b in pairs)
    losses = sum(b and not a for a, b in pairs)
    n, fewer = wins + losses, min(wins, losses)
    tail = sum(math.comb(n, i) for i in range(fewer + 1)) / 2**n
    assert (result.only_first, result.only_second) == (wins, losses)
    assert result.p_value == pytest.approx(min(1.0, 2 * tail))


def test_mcnemar_takes_right_and_wrong_alone() -> None:
    with pytest.raises(ValueError, match="right or wrong must be 1 or 0"):
        mcnemar([0.3, 1], [0, 1])
    with pytest.raises(ValueError, match=r"paired values must have the same shape \[unit\], got \(2,\) and \(1,\)"):
        mcnemar([0, 1], [1])
