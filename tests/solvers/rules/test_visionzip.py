"""VisionZip: hand-computed merges, a slow oracle written from the description, and its invariants."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from solvers.rules import fastervlm, visionzip


def slow_visionzip(attention, keys, features, dominant, contextual):
    """Output tokens and their places, token by token."""
    by_attention = sorted(range(len(attention)), key=lambda token: (-attention[token], token))
    important = sorted(by_attention[:dominant])
    rest = [token for token in range(len(attention)) if token not in important]
    step = max(1, len(rest) // contextual)
    targets = [rest[position] for position in range(0, len(rest), step)][:contextual]
    assigned = {target: [] for target in targets}
    for token in rest:
        if token not in targets:
            cosine = [
                keys[token] @ keys[target] / np.linalg.norm(keys[token]) / np.linalg.norm(keys[target])
                for target in targets
            ]
            assigned[targets[int(np.argmax(cosine))]].append(token)
    outputs = [features[token] for token in important]
    for target, members in assigned.items():
        outputs.append(features[target] + (np.mean(features[members], axis=0) if members else 0.0))
    return np.array(outputs), important + targets


@given(seed=st.integers(0, 10**6), tokens=st.integers(1, 40), share=st.floats(0, 1), part=st.floats(0, 1))
def test_agrees_with_the_description(seed, tokens, share, part):
    rng = np.random.default_rng(seed)
    attention, keys, features = rng.random(tokens), rng.normal(size=(tokens, 5)), rng.normal(size=(tokens, 3))
    keep = max(1, round(share * tokens))
    contextual = max(1, round(part * keep))
    merged = visionzip(attention, keys, keep, contextual)
    outputs, places = slow_visionzip(attention, keys, features, keep - contextual, contextual)
    assert merged.anchors.tolist() == places
    np.testing.assert_allclose(merged.apply(features), outputs, rtol=1e-12, atol=1e-12)


def test_hand_example():
    """Token 1 is dominant. Of 0, 2, 3, 4, 5 the targets are 0 and 3 (step 5 // 2 = 2, so positions 0 and 2)."""
    attention = [0.1, 0.9, 0.2, 0.1, 0.1, 0.1]
    keys = [(1.0, 0.0), (1.0, 1.0), (0.9, 0.1), (0.0, 1.0), (2.0, 0.2), (0.1, 3.0)]
    merged = visionzip(attention, keys, 3, contextual=2)
    assert merged.anchors.tolist() == [1, 0, 3]
    expected = [[0, 1, 0, 0, 0, 0], [1, 0, 0.5, 0, 0.5, 0], [0, 0, 0, 1, 0, 1]]
    assert merged.weights.toarray().tolist() == expected


@pytest.mark.parametrize(
    ("keep", "dominant", "contextual"), [(192, 162, 30), (128, 108, 20), (64, 54, 10), (32, 27, 5)]
)
def test_the_default_gives_the_published_numbers(keep, dominant, contextual, rule_evidence):
    evidence = rule_evidence(rows=24, columns=24)
    merged = visionzip(evidence["attention"], evidence["keys"], keep)
    assert merged.anchors[:dominant].tolist() == fastervlm(evidence["attention"], dominant).tolist()
    entering = np.diff(merged.weights.indptr)
    assert (entering[:dominant] == 1).all()
    assert merged.outputs - dominant == contextual
    # Every token is used exactly once, and a contextual token weighs as much as two.
    assert (np.bincount(merged.weights.indices, minlength=576) == 1).all()
    sums = merged.weights.sum(axis=1)[dominant:]
    np.testing.assert_allclose(sums[entering[dominant:] > 1], 2.0)
    assert set(sums[entering[dominant:] == 1]) <= {1.0}


def test_without_contextual_tokens_it_is_a_selection_by_attention(rule_evidence):
    evidence = rule_evidence()
    merged = visionzip(evidence["attention"], evidence["keys"], 7, contextual=0)
    assert merged.is_selection
    np.testing.assert_array_equal(merged.indices, fastervlm(evidence["attention"], 7))


@pytest.mark.parametrize("contextual", [None, 0, 4, 30])
def test_with_the_whole_budget_nothing_changes(contextual, rule_evidence):
    evidence = rule_evidence()
    merged = visionzip(evidence["attention"], evidence["keys"], 30, contextual)
    assert merged.is_selection
    assert merged.indices.tolist() == list(range(30))


@pytest.mark.parametrize("keep", range(1, 31))
def test_keeps_the_budget(keep, rule_evidence):
    evidence = rule_evidence(5)
    assert visionzip(evidence["attention"], evidence["keys"], keep).outputs == keep


def test_ties_go_to_the_lower_index():
    keys = np.ones((6, 2))
    merged = visionzip(np.ones(6), keys, 3, contextual=2)
    assert merged.anchors.tolist() == [0, 1, 3]
    assert merged.weights.toarray()[1].tolist() == [0, 1, 1 / 3, 0, 1 / 3, 1 / 3]


def test_only_order_of_attention_and_direction_of_keys_count(rule_evidence):
    evidence = rule_evidence(2)
    attention, keys = evidence["attention"], evidence["keys"]
    lengths = np.random.default_rng(0).random((30, 1)) + 0.5
    assert visionzip(attention**3, lengths * keys, 12) == visionzip(attention, keys, 12)


def test_refuses_what_it_cannot_use(rule_evidence):
    attention, keys = rule_evidence()["attention"], rule_evidence()["keys"].copy()
    for contextual in (-1, 9):
        with pytest.raises(ValueError, match=rf"`contextual` must be in \[0, 8\], got {contextual}"):
            visionzip(attention, keys, 8, contextual)
    with pytest.raises(ValueError, match=r"`contextual` must be an integer, got 0\.5"):
        visionzip(attention, keys, 8, 0.5)
    with pytest.raises(ValueError, match=r"`attention` must have shape .* with 30 tokens, got"):
        visionzip(attention[:-1], keys, 8)
    keys[3] = 0.0
    with pytest.raises(ValueError, match="`keys` must have no zero row"):
        visionzip(attention, keys, 8)
