"""PruMerge and PruMerge+: hand-computed merges, a slow oracle written from the description, and the adaptive number."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from solvers.rules import prumerge
from solvers.rules.prumerge import upper_outliers


def slow_outputs(attention, keys, features, chosen, neighbours):
    """Outputs for the chosen tokens, neighbour by neighbour, and the extra one."""
    unit = keys / np.linalg.norm(keys, axis=1, keepdims=True)
    outputs = []
    for token in chosen:
        others = [other for other in range(len(keys)) if other != token]
        others.sort(key=lambda other, token=token: (-round(float(unit[token] @ unit[other]), 12), other))
        merged = features[token].copy()
        for other in others[:neighbours]:
            merged += attention[other] * features[other]
        outputs.append(merged)
    dropped = [token for token in range(len(keys)) if token not in chosen]
    if dropped:
        outputs.append(sum(attention[token] * features[token] for token in dropped))
    return np.array(outputs), [*chosen, *dropped[-1:]]


def peaked(seed, tokens=60, peaks=6):
    """Attention with `peaks` outliers, of different heights, on a nearly flat ground."""
    rng = np.random.default_rng(seed)
    attention = 1.0 + 0.1 * rng.random(tokens)
    attention[rng.permutation(tokens)[:peaks]] += 1.0 + rng.random(peaks)
    return attention / attention.sum()


@given(
    seed=st.integers(0, 10**6),
    tokens=st.integers(1, 45),
    share=st.floats(0, 1),
    neighbours=st.sampled_from([0, 1, 4, 32]),
    tied=st.booleans(),
)
def test_agrees_with_the_description(seed, tokens, share, neighbours, tied):
    rng = np.random.default_rng(seed)
    attention, keys, features = rng.random(tokens), rng.normal(size=(tokens, 5)), rng.normal(size=(tokens, 3))
    if tied:
        keys = keys[rng.integers(min(3, tokens), size=tokens)]
    keep = max(1, round(share * tokens))
    merged = prumerge(attention, keys, keep, neighbours=neighbours)
    chosen = sorted(range(tokens), key=lambda token: (-attention[token], token))[: keep - 1]
    outputs, places = slow_outputs(attention, keys, features, chosen, neighbours)
    assert merged.anchors.tolist() == places
    assert merged.outputs == keep
    np.testing.assert_allclose(merged.apply(features), outputs, rtol=1e-12, atol=1e-12)


def test_hand_example():
    """Token 2 is chosen, 0 and 3 point its way; the extra token is the weighted sum of 0, 1 and 3."""
    keys = [(1.0, 0.1), (0.0, 1.0), (1.0, 0.0), (2.0, 0.1)]
    merged = prumerge([0.2, 0.1, 0.4, 0.3], keys, 2, neighbours=2)
    assert merged.weights.toarray().tolist() == [[0.2, 0.0, 1.0, 0.3], [0.2, 0.1, 0.0, 0.3]]
    assert merged.anchors.tolist() == [2, 3]
    one = prumerge([0.2, 0.1, 0.4, 0.3], keys, 2, neighbours=1)
    assert one.weights.toarray()[0].tolist() == [0.0, 0.0, 1.0, 0.3]


@pytest.mark.parametrize("peaks", [1, 4, 9])
def test_the_adaptive_number_is_that_of_the_outliers(peaks):
    attention, keys = peaked(1, peaks=peaks), np.random.default_rng(1).normal(size=(60, 8))
    assert upper_outliers(attention) == peaks
    assert prumerge(attention, keys, None) == prumerge(attention, keys, peaks + 1)


def test_outliers_lie_strictly_above_the_fence():
    # Quartiles of 0, 1, 2, 3, x (x above 3) are 1 and 3, the fence is 6.
    assert upper_outliers(np.array([0.0, 1.0, 2.0, 3.0, 6.0])) == 0
    assert upper_outliers(np.array([0.0, 1.0, 2.0, 3.0, 6.001])) == 1
    assert upper_outliers(np.ones(9)) == 0


def test_without_outliers_only_the_extra_token_is_left():
    attention, keys = np.full(12, 1 / 12), np.random.default_rng(0).normal(size=(12, 3))
    merged = prumerge(attention, keys, None)
    assert merged.weights.toarray().tolist() == [[1 / 12] * 12]
    assert merged == prumerge(attention, keys, 1)
    # With samples r counts as 1/n: every third of the tokens, from the first on.
    assert prumerge(attention, keys, None, plus=True).anchors.tolist() == [0, 4, 8, 11]


@pytest.mark.parametrize("peaks", [1, 3, 6, 11])
@pytest.mark.parametrize("seed", range(3))
def test_plus_adds_samples_that_are_not_chosen_yet(seed, peaks):
    attention, keys = peaked(seed, peaks=peaks), np.random.default_rng(seed).normal(size=(60, 8))
    by_attention = np.argsort(-attention, kind="stable")[:peaks].tolist()
    step = int(int(1 / (peaks / 60)) / 3)
    chosen = by_attention + [token for token in range(0, 59, step) if token not in by_attention]
    features = np.random.default_rng(9).normal(size=(60, 4))
    merged = prumerge(attention, keys, None, plus=True)
    outputs, places = slow_outputs(attention, keys, features, chosen, 32)
    assert merged.anchors.tolist() == places
    np.testing.assert_allclose(merged.apply(features), outputs, rtol=1e-12)


def test_plus_without_room_for_a_stride_samples_every_token():
    attention = np.r_[np.full(7, 0.01), 0.4, 0.5]  # 2 of 9: floor(floor(4.5) / 3) = 1
    merged = prumerge(attention, np.random.default_rng(0).normal(size=(9, 3)), None, plus=True)
    # The last token is no sample, but it is an outlier: nothing is left for an extra token.
    assert merged.anchors.tolist() == [8, 7, 0, 1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("keep", range(1, 61))
def test_plus_keeps_a_given_budget_with_strongest_and_samples(keep):
    attention, keys = peaked(4), np.random.default_rng(4).normal(size=(60, 8))
    merged = prumerge(attention, keys, keep, plus=True)
    assert merged.outputs == keep
    if keep > 6:
        spread = np.diff(np.r_[merged.indices, 60]).max()
        assert spread <= 60 // 3
        assert int(attention.argmax()) in merged.anchors


def test_plus_with_the_adaptive_number_as_budget_is_the_adaptive_choice():
    attention, keys = peaked(2, peaks=6), np.random.default_rng(2).normal(size=(60, 8))
    adaptive = prumerge(attention, keys, None, plus=True)
    assert prumerge(attention, keys, adaptive.outputs, plus=True) == adaptive


def test_chosen_tokens_are_merged_into_each_other():
    attention, keys = [0.4, 0.3, 0.2, 0.1], [(1.0, 0.0), (1.0, 0.01), (0.0, 1.0), (-1.0, 0.0)]
    weights = prumerge(attention, keys, 3, neighbours=1).weights.toarray()
    assert weights[:2].tolist() == [[1.0, 0.3, 0.0, 0.0], [0.4, 1.0, 0.0, 0.0]]


def test_ties_go_to_the_lower_index():
    merged = prumerge(np.full(6, 0.1), np.ones((6, 2)), 3, neighbours=2)
    assert merged.anchors.tolist() == [0, 1, 5]
    assert merged.weights.toarray()[:2].tolist() == [[1.0, 0.1, 0.1, 0, 0, 0], [0.1, 1.0, 0.1, 0, 0, 0]]


def test_follows_the_tokens_when_they_are_permuted():
    attention, keys = peaked(3), np.random.default_rng(3).normal(size=(60, 8))
    order = np.random.default_rng(5).permutation(60)
    merged, shuffled = (prumerge(attention[o], keys[o], 9, neighbours=5) for o in (np.arange(60), order))
    np.testing.assert_array_equal(order[shuffled.anchors[:-1]], merged.anchors[:-1])
    np.testing.assert_array_equal(shuffled.weights.toarray(), merged.weights.toarray()[:, order])


def test_a_token_alone():
    assert prumerge([0.3], [[1.0, 2.0]], 1).weights.toarray().tolist() == [[0.3]]
    assert prumerge([0.3], [[1.0, 2.0]], None, plus=True).weights.toarray().tolist() == [[0.3]]


def test_refuses_what_it_cannot_use(rule_evidence):
    attention, keys = rule_evidence()["attention"], rule_evidence()["keys"]
    with pytest.raises(ValueError, match=r"`attention` must not be negative, got -0\.5"):
        prumerge(np.where(np.arange(30) == 3, -0.5, attention), keys, 4)
    with pytest.raises(ValueError, match="`neighbours` must be at least 0, got -1"):
        prumerge(attention, keys, 4, neighbours=-1)
    with pytest.raises(ValueError, match="`attention` must not be 0 on all of the 29 tokens that are not chosen"):
        prumerge(np.eye(30)[4], keys, 2)
    with pytest.raises(ValueError, match="`keys` must have no zero row"):
        prumerge(attention, np.zeros((30, 4)), 4)
