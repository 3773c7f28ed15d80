"""DivPrune against a slow oracle, the greedy guarantee by brute force, and its invariants."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvers.rules import divprune


def slow_divprune(features, keep):
    tokens = range(len(features))

    def distance(i, j):
        a, b = features[i], features[j]
        return 1.0 - float(a @ b / np.sqrt((a @ a) * (b @ b)))

    first = max(tokens, key=lambda i: min((distance(i, j) for j in tokens if j != i), default=0.0))
    chosen = [first]
    while len(chosen) < keep:
        left = [i for i in tokens if i not in chosen]
        chosen.append(max(left, key=lambda i: min(distance(i, j) for j in chosen)))
    return sorted(chosen)


@given(seed=st.integers(0, 10**6), tokens=st.integers(1, 25), share=st.floats(0, 1))
@settings(max_examples=50)
def test_agrees_with_the_slow_oracle(seed, tokens, share):
    features = np.random.default_rng(seed).normal(size=(tokens, 4))
    keep = max(1, round(share * tokens))
    assert divprune(features, keep).tolist() == slow_divprune(features, keep)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("keep", [2, 3, 5])
def test_smallest_chord_is_at_least_half_the_best(seed, keep):
    features = np.random.default_rng(seed).normal(size=(11, 3))
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    chord = np.linalg.norm(unit[:, None] - unit[None], axis=-1)

    def smallest(chosen):
        return min(chord[i, j] for i, j in itertools.combinations(chosen, 2))

    best = max(smallest(chosen) for chosen in itertools.combinations(range(11), keep))
    assert best / 2 <= smallest(divprune(features, keep)) <= best


def test_hand_example():
    """The nearest neighbour of 260 degrees is 100 away, so it starts; then 100 (by 160) and 0 (by 100)."""
    angles = np.deg2rad([0, 10, 20, 100, 260])
    features = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert divprune(features, 1).tolist() == [4]
    assert divprune(features, 2).tolist() == [3, 4]
    assert divprune(features, 3).tolist() == [0, 3, 4]


def test_equal_tokens_give_the_lowest_indices():
    """Exact duplicates are never taken twice and never before a distinct token."""
    rng = np.random.default_rng(0)
    same = np.tile(rng.normal(size=37), (20, 1))
    assert divprune(same, 5).tolist() == [0, 1, 2, 3, 4]
    same[[11, 17]] = rng.normal(size=(2, 37))
    assert divprune(same, 3).tolist() == [0, 11, 17]
    assert divprune(same, 5).tolist() == [0, 1, 2, 11, 17]


def test_a_single_token_is_kept():
    assert divprune([[3.0, 4.0]], 1).tolist() == [0]
