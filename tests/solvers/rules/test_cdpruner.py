"""CDPruner against log determinants computed from scratch, hand examples and its invariants."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvers.rules import cdpruner


def slow_cdpruner(features, relevance, keep):
    """Greedy on slogdet of the conditional kernel, each determinant from scratch."""
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    low, high = relevance.min(), relevance.max()
    quality = (relevance - low + 1e-6) / (high - low) if high > low else np.ones(len(relevance))
    kernel = quality[:, None] * (unit @ unit.T) * quality[None, :]
    chosen: list[int] = []
    while len(chosen) < keep:
        left = [token for token in range(len(features)) if token not in chosen]
        values = [np.linalg.slogdet(kernel[np.ix_([*chosen, token], [*chosen, token])])[1] for token in left]
        # Unit vectors have the determinant 1 up to rounding: values this close are tied.
        chosen.append(left[int(np.argmax(np.array(values) > max(values) - 1e-9))])
    return sorted(chosen)


@given(seed=st.integers(0, 10**6), tokens=st.integers(1, 14), share=st.floats(0, 1))
@settings(max_examples=50)
def test_agrees_with_determinants_from_scratch(seed, tokens, share):
    rng = np.random.default_rng(seed)
    features, relevance = rng.normal(size=(tokens, 20)) + 0.3, rng.normal(size=tokens)
    keep = max(1, round(share * tokens))
    assert cdpruner(features, relevance, keep).tolist() == slow_cdpruner(features, relevance, keep)


@given(seed=st.integers(0, 10**6), tokens=st.integers(1, 14))
@settings(max_examples=25)
def test_cosines_at_hand_change_nothing(seed, tokens):
    rng = np.random.default_rng(seed)
    features, relevance = rng.normal(size=(tokens, 20)) + 0.3, rng.normal(size=tokens)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    for keep in range(1, tokens + 1):
        own = cdpruner(features, relevance, keep)
        assert cdpruner(features, relevance, keep, similarity=unit @ unit.T).tolist() == own.tolist()


def test_relevance_counts_until_duplication_outweighs_it():
    """Tokens 0 and 1 are the same; once 1 is in, 0 adds nothing and even an irrelevant new direction beats it."""
    features = np.eye(3)[[0, 0, 1, 2]]
    relevance = [0.9, 1.0, 0.5, 0.1]
    assert cdpruner(features, relevance, 1).tolist() == [1]
    assert cdpruner(features, relevance, 2).tolist() == [1, 2]
    assert cdpruner(features, relevance, 3).tolist() == [1, 2, 3]
    assert cdpruner(features, relevance, 4).tolist() == [0, 1, 2, 3]


def test_beyond_the_rank_the_most_relevant_tokens_fill_the_budget():
    rng = np.random.default_rng(5)
    features, relevance = rng.normal(size=(40, 3)), rng.random(40)
    within = cdpruner(features, relevance, 3)
    others = [token for token in np.argsort(-relevance).tolist() if token not in within]
    for keep in range(4, 41):
        expected = sorted([*within.tolist(), *others[: keep - 3]])
        assert cdpruner(features, relevance, keep).tolist() == expected


def test_constant_relevance_is_the_unconditional_process():
    features = np.random.default_rng(3).normal(size=(12, 20))
    for keep in (1, 4, 12):
        expected = slow_cdpruner(features, np.zeros(12), keep)
        assert cdpruner(features, np.full(12, 0.7), keep).tolist() == expected


def test_equal_tokens_give_the_lowest_indices():
    rng = np.random.default_rng(0)
    same = np.tile(rng.normal(size=37), (20, 1))
    assert cdpruner(same, np.ones(20), 5).tolist() == [0, 1, 2, 3, 4]
    same[[11, 17]] = rng.normal(size=37)
    assert cdpruner(same, np.ones(20), 2).tolist() == [0, 11]


@pytest.mark.parametrize("seed", [15, 37, 48, 56])
def test_of_equal_tokens_the_first_is_taken_at_every_step(seed):
    """Few kinds of token in random places: the updates of equal tokens can differ in the last bit."""
    rng = np.random.default_rng(seed)
    tokens, kinds, dim = (int(rng.integers(low, high)) for low, high in ((10, 200), (3, 9), (9, 90)))
    kind = np.concatenate([np.arange(kinds), rng.integers(0, kinds, tokens)])
    rng.shuffle(kind)
    features = rng.normal(size=(kinds, dim))[kind]
    firsts = np.unique(kind, return_index=True)[1].tolist()
    for keep in range(1, kinds + 1):
        assert set(cdpruner(features, np.ones(len(kind)), keep).tolist()) <= set(firsts)


def test_only_the_range_of_the_relevance_counts_where_it_is_rescaled(rule_evidence):
    """Shift and scale leave the order of picks alone; the floor of 1e-6 is too small to show here."""
    evidence = rule_evidence(6)
    relevance = evidence["relevance"]
    expected = cdpruner(evidence["features"], relevance, 12)
    np.testing.assert_array_equal(cdpruner(evidence["features"], 7 * relevance - 3, 12), expected)
    rescaled = (relevance - relevance.min() + 1e-6) / np.ptp(relevance)
    kept = cdpruner(evidence["features"], rescaled * 1e200, 12, normalise=False)
    np.testing.assert_array_equal(kept, expected)


def test_refuses_a_relevance_that_is_no_weight_and_cosines_of_others(rule_evidence):
    evidence = rule_evidence()
    relevance = np.abs(evidence["relevance"])
    relevance[3] = -0.25
    with pytest.raises(ValueError, match=r"`relevance` must be positive where `normalise` is False, got -0\.25"):
        cdpruner(evidence["features"], relevance, 4, normalise=False)
    with pytest.raises(ValueError, match=r"`relevance` must have shape \[token\] with 30 tokens, got \(31,\)"):
        cdpruner(evidence["features"], np.append(relevance, 1.0), 4)
    with pytest.raises(
        ValueError, match=r"`similarity` must have shape \[30, 30\], as many as `features`, got \(2, 2\)"
    ):
        cdpruner(evidence["features"], np.abs(evidence["relevance"]), 4, similarity=np.eye(2))
