"""TRIM: a hand example, the adaptive number, and the mean of the rest."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from solvers.rules import trim


@given(seed=st.integers(0, 10**6), tokens=st.integers(1, 40), share=st.floats(0, 1))
def test_keeps_the_most_relevant_and_the_mean_of_the_rest(seed, tokens, share):
    rng = np.random.default_rng(seed)
    relevance, features = rng.integers(-5, 6, size=tokens), rng.normal(size=(tokens, 3))
    keep = max(1, round(share * tokens))
    merged = trim(relevance, keep)
    kept = sorted(sorted(range(tokens), key=lambda token: (-relevance[token], token))[: keep - 1])
    rest = [token for token in range(tokens) if token not in kept]
    assert merged.anchors.tolist() == [*kept, max(rest)]
    np.testing.assert_array_equal(merged.apply(features)[:-1], features[kept])
    np.testing.assert_allclose(merged.apply(features)[-1], features[rest].mean(axis=0), rtol=1e-12, atol=1e-15)


def test_hand_example():
    """Minus the similarity, as the reference has it: the least similar patches 1 and 3 stay."""
    similarity = np.array([3.0, -1.0, 2.0, 0.5, 4.0])
    merged = trim(-similarity, 3)
    assert merged.anchors.tolist() == [1, 3, 4]
    assert merged.weights.toarray().tolist() == [[0, 1, 0, 0, 0], [0, 0, 0, 1, 0], [1 / 3, 0, 1 / 3, 0, 1 / 3]]


def test_the_adaptive_number_counts_outliers_of_the_softmax():
    relevance = np.r_[np.linspace(0.0, 0.1, 20), 3.0, 2.0, 2.5]
    merged = trim(relevance, None)
    assert merged.anchors.tolist() == [20, 21, 22, 19]
    # Among these scores themselves the last one is no outlier, among their exponentials it is.
    scores = np.r_[np.linspace(0.0, 1.0, 20), 1.5]
    low, high = np.percentile(scores, [25, 75])
    assert scores[-1] < high + 1.5 * (high - low)
    assert trim(scores, None).anchors.tolist() == [20, 19]


def test_without_outliers_the_mean_is_all_there_is():
    assert trim(np.zeros(8), None).weights.toarray().tolist() == [[1 / 8] * 8]
    assert trim([2.0], 1).weights.toarray().tolist() == [[1.0]]


def test_a_shift_changes_nothing_and_large_values_do_not_overflow(rule_evidence):
    relevance = rule_evidence(1)["relevance"]
    assert trim(relevance + 2.0**20, None) == trim(relevance, None)
    # The softmax of these is 0 on all but one token; their order is not lost.
    assert trim(1e4 * relevance, 7) == trim(relevance, 7)


@pytest.mark.parametrize("keep", range(1, 31))
def test_the_mean_counts_in_the_budget(keep, rule_evidence):
    assert trim(rule_evidence(2)["relevance"], keep).outputs == keep
