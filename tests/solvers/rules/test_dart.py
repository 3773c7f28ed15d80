"""DART against a slow reference written from the description, by hand, and its counts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from solvers.rules import dart


def make_keys(seed, tokens, words=5, dim=4):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(tokens, dim)), rng.normal(size=(words, dim))


def slow_dart(keys, text_keys, pivots, claims, states, text_states):
    """`claims` says how many tokens each pivot may claim."""

    def cosine(a, b):
        return float(a @ b / np.sqrt((a @ a) * (b @ b)))

    def norm(row):
        return sum(abs(value) for value in row)

    images = sorted(range(len(keys)), key=lambda token: -norm(keys[token]))[: pivots[0]]
    texts = sorted(range(len(text_keys)), key=lambda word: -norm(text_keys[word]))[: pivots[1]]
    kept = set(images)
    vectors = [states[token] for token in images] + [text_states[word] for word in texts]
    for vector, claim in zip(vectors, claims, strict=True):
        left = [token for token in range(len(keys)) if token not in kept]
        kept.update(sorted(left, key=lambda token: cosine(states[token], vector))[:claim])
    return sorted(kept)


@given(
    seed=st.integers(0, 10**6),
    tokens=st.integers(1, 40),
    words=st.integers(1, 6),
    pivots=st.sampled_from([(4, 4), (4, 0), (0, 4), (1, 2), (10, 5)]),
    share=st.floats(0, 1),
    in_states=st.booleans(),
)
def test_agrees_with_the_slow_reference(seed, tokens, words, pivots, share, in_states):
    keys, text_keys = make_keys(seed, tokens, words)
    states, text_states = make_keys(seed + 1, tokens, words, dim=3) if in_states else (keys, text_keys)
    options = {"states": states, "text_states": text_states} if in_states else {}
    keep = max(1, round(share * tokens))

    images = min(pivots[0], keep)
    number = images + min(pivots[1], words)
    even = [(keep - images) // number + (pivot < (keep - images) % number) for pivot in range(number)]
    kept = dart(keys, text_keys, keep, pivots, **options)
    assert kept.tolist() == slow_dart(keys, text_keys, (images, pivots[1]), even, states, text_states)
    assert len(kept) == keep

    number = min(pivots[0], tokens) + min(pivots[1], words)
    as_published = [keep // sum(pivots)] * number
    kept = dart(keys, text_keys, keep, pivots, exact=False, **options)
    assert kept.tolist() == slow_dart(keys, text_keys, pivots, as_published, states, text_states)


@pytest.mark.parametrize(("keep", "published"), [(192, 196), (128, 132), (64, 68), (15, 12), (7, 4)])
def test_published_counts_are_only_about_the_budget(keep, published):
    """Four visual pivots, and floor(keep / 8) tokens for each of eight pivots."""
    keys, text_keys = make_keys(0, 576, words=20)
    assert len(dart(keys, text_keys, keep, exact=False)) == published
    assert len(dart(keys, text_keys, keep)) == keep


def test_hand_example():
    """Token 2 has the largest key. It claims 3, the token least like it; then the word claims the one least like it."""
    keys = [(0.1, -1.0), (0.2, 1.0), (3.0, 0.1), (-1.0, 0.0), (0.9, 0.9)]
    assert dart(keys, [(0.0, 5.0), (1.0, 1.0)], 3, pivots=(1, 1)).tolist() == [0, 2, 3]
    assert dart(keys, [(0.0, -5.0), (1.0, 1.0)], 3, pivots=(1, 1)).tolist() == [1, 2, 3]
    assert dart(keys, [(0.0, 5.0)], 1, pivots=(1, 1)).tolist() == [2]


def test_pivots_have_the_largest_l1_norm_not_the_largest_length():
    keys = [(3.0, 0.0, 0.0), (1.5, 1.5, 1.5), (0.0, 0.0, 1.0)]
    assert dart(keys, [(1.0, 0.0, 0.0)], 1, pivots=(1, 0)).tolist() == [1]


def test_states_decide_whom_pivots_claim_but_not_who_is_one():
    keys = [(9.0, 9.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)]
    states = [(1.0, 0.0), (1.0, 0.1), (1.0, 0.2), (-1.0, 0.0)]
    kept = dart(keys, [(1.0, 1.0)], 2, pivots=(1, 0), states=states, text_states=[(1.0, 1.0)])
    assert kept.tolist() == [0, 3]
    assert dart(keys, [(1.0, 1.0)], 2, pivots=(1, 0)).tolist() == [0, 1]


def test_equal_tokens_give_the_lowest_indices():
    keys = np.tile(np.random.default_rng(0).normal(size=37), (20, 1))
    assert dart(keys, keys[:3], 9).tolist() == list(range(9))


def test_the_question_counts_by_its_pivots_only():
    keys, text_keys = make_keys(3, 60, words=8)
    strongest = np.sort(np.argsort(-np.abs(text_keys).sum(axis=1))[:4])
    np.testing.assert_array_equal(dart(keys, text_keys, 30), dart(keys, text_keys[strongest], 30))
    assert dart(keys, text_keys, 30).tolist() != dart(keys, -text_keys, 30).tolist()
    np.testing.assert_array_equal(dart(keys, text_keys, 30, (4, 0)), dart(keys, -text_keys, 30, (4, 0)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"text_keys": np.ones((2, 3))}, "`text_keys` must have the dimension of `keys`, 4, got 3"),
        ({"pivots": (0, 0)}, r"`pivots` must not be negative and add up to at least 1, got \(0, 0\)"),
        ({"pivots": (5, -1)}, r"`pivots` must not be negative and add up to at least 1, got \(5, -1\)"),
        ({"pivots": 4}, r"`pivots` must be two integers \(visual, text\), got 4"),
        ({"pivots": (4, 4.0)}, r"`pivots` must be two integers \(visual, text\), got \(4, 4\.0\)"),
        ({"states": np.ones((9, 2))}, "`states` and `text_states` must be given together, got only one of them"),
        (
            {"states": np.ones((8, 2)), "text_states": np.ones((5, 2))},
            "`states` and `text_states` must have 9 and 5 rows like the keys, got 8 and 5",
        ),
        (
            {"states": np.ones((9, 2)), "text_states": np.ones((5, 3))},
            "`text_states` must have the dimension of `states`, 2, got 3",
        ),
        ({"keys": np.zeros((9, 4))}, "`keys` must have no zero row"),
        ({"states": np.zeros((9, 2)), "text_states": np.ones((5, 2))}, "`states` must have no zero row"),
    ],
)
def test_refuses_what_it_cannot_use(options, message):
    keys, text_keys = make_keys(0, 9)
    with pytest.raises(ValueError, match=message):
        dart(**{"keys": keys, "text_keys": text_keys, "keep": 4} | options)
