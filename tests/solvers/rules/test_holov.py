"""HoloV against a slow oracle, what its quotas come down to, and where it leaves the reference."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvers.rules import fastervlm, holov
from solvers.rules.quotas import quotas


def slow_chunk_score(features, attention):
    """The mean over a chunk of 1000 a + 0.09 v', token by token."""
    size = len(attention)
    scaled = [1000.0 * float(value) for value in attention]
    if size == 1:
        return scaled[0]
    variances = []
    for i in range(size):
        row = [
            0.0
            if i == j
            else float(features[i] @ features[j]) / math.sqrt((features[i] @ features[i]) * (features[j] @ features[j]))
            for j in range(size)
        ]
        mean = sum(row) / (size - 1)
        variances.append(sum((value - mean) ** 2 for value in row) / (size - 1))
    factor = (sum(scaled) / size) / (sum(variances) / size + 1e-6)
    return sum(a + 0.09 * factor * v for a, v in zip(scaled, variances, strict=True)) / size


def slow_holov(features, attention, keep, chunks):
    tokens = len(attention)
    chunks = min(chunks, tokens)
    stretches, start = [], 0
    for chunk in range(chunks):
        size = tokens // chunks + (chunk < tokens % chunks)
        stretches.append(list(range(start, start + size)))
        start += size
    scores = np.array([slow_chunk_score(features[stretch], attention[stretch]) for stretch in stretches])
    given = quotas(scores, keep, np.array([len(stretch) for stretch in stretches]))
    kept = []
    for stretch, quota in zip(stretches, given, strict=True):
        kept += sorted(stretch, key=lambda token: (-attention[token], token))[:quota]
    return sorted(kept)


@given(seed=st.integers(0, 10**6), tokens=st.integers(1, 40), chunks=st.integers(1, 20), share=st.floats(0, 1))
@settings(max_examples=60)
def test_agrees_with_the_slow_oracle(seed, tokens, chunks, share):
    rng = np.random.default_rng(seed)
    features, attention = rng.normal(size=(tokens, 5)) + 0.5, rng.random(tokens) ** 3
    keep = max(1, round(share * tokens))
    assert holov(features, attention, keep, chunks).tolist() == slow_holov(features, attention, keep, chunks)


def test_by_hand():
    """Chunks of four tokens hold 70, 20 and 10 % of the attention; of six places they get 4 (all), 1 and 0, and one
    more goes to the second since the first is full."""
    attention = [0.1, 0.3, 0.2, 0.1, 0.02, 0.08, 0.06, 0.04, 0.01, 0.02, 0.03, 0.04]
    features = np.random.default_rng(0).normal(size=(12, 30))
    assert holov(features, attention, 6, chunks=3).tolist() == [0, 1, 2, 3, 5, 6]


def test_quotas_are_shares_of_attention_whatever_the_features():
    """The variance is rescaled to the mean of the attention, so 1.09 times that is left of it."""
    rng = np.random.default_rng(3)
    attention = rng.random(576) ** 4
    by_attention = quotas(attention.reshape(16, 36).sum(axis=1), 64, np.full(16, 36))
    for _ in range(3):
        kept = holov(rng.normal(size=(576, 20)) + rng.normal(size=20), attention, 64)
        np.testing.assert_array_equal(np.bincount(kept // 36, minlength=16), by_attention)


def test_only_a_chunk_of_unrelated_tokens_counts_less():
    """Orthogonal tokens have cosines without variance, so their chunk lacks the 9 %: shares of 9.57 and 10.43."""
    same, unrelated = np.tile(np.eye(21)[20], (20, 1)), np.eye(21)[:20]
    kept = holov(np.vstack([unrelated, same]), np.ones(40), 20, chunks=2)
    assert kept.tolist() == [*range(9), *range(20, 31)]


def test_one_chunk_is_top_k(rule_evidence):
    evidence = rule_evidence(2)
    for keep in (1, 7, 30):
        kept = holov(evidence["features"], evidence["attention"], keep, chunks=1)
        np.testing.assert_array_equal(kept, fastervlm(evidence["attention"], keep))


def test_without_attention_every_chunk_gets_the_same():
    kept = holov(np.eye(32), np.zeros(32), 8, chunks=4)
    assert kept.tolist() == [0, 1, 8, 9, 16, 17, 24, 25]


def test_a_common_factor_of_the_attention_changes_nothing(rule_evidence):
    evidence = rule_evidence(4)
    kept = holov(evidence["features"], evidence["attention"], 9, chunks=4)
    for factor in (1e-100, 12.0, 1e100):
        np.testing.assert_array_equal(holov(evidence["features"], factor * evidence["attention"], 9, chunks=4), kept)


def test_refuses_what_gives_no_share(rule_evidence):
    evidence = rule_evidence()
    features, attention = evidence["features"], evidence["attention"].copy()
    for chunks, message in ((0, "at least 1, got 0"), (2.0, "an integer, got 2.0")):
        with pytest.raises(ValueError, match=f"`chunks` must be {message}"):
            holov(features, attention, 4, chunks)
    attention[3] = -0.5
    with pytest.raises(ValueError, match=r"`attention` must not be negative, got -0\.5"):
        holov(features, attention, 4)
    features = features.copy()
    features[7] = 0.0
    with pytest.raises(ValueError, match="`features` must have no zero row"):
        holov(features, np.ones(30), 4)
