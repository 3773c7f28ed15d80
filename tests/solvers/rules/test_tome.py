"""Token merging: a slow oracle written from the description, hand-computed matches, and schedules."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from solvers.rules import tome_schedule
from solvers.rules.tome import Matching, match, merge, trace


def slow_step(metric, states, size, r, protected):
    """One layer, token by token: new states, new sizes and which tokens they stand at."""
    n = len(metric)
    unit = metric / np.linalg.norm(metric, axis=1, keepdims=True)
    best = {}
    for even in range(0, n, 2):
        if even >= protected:
            odds = [odd for odd in range(1, n, 2) if odd >= protected]
            if odds:
                best[even] = max(odds, key=lambda odd, even=even: (round(float(unit[even] @ unit[odd]), 12), -odd))
    ranked = sorted(best, key=lambda even: (-round(float(unit[even] @ unit[best[even]]), 12), even))
    total, weight = states * size[:, None], size.copy()
    for even in ranked[:r]:
        total[best[even]] += states[even] * size[even]
        weight[best[even]] += size[even]
    unmerged = ranked[r:] if protected == 0 else sorted(ranked[r:])
    remaining = [*range(protected), *unmerged, *(odd for odd in range(1, n, 2) if odd >= protected)]
    return (total / weight[:, None])[remaining], weight[remaining], remaining


@given(seed=st.integers(0, 10**6), n=st.integers(1, 30), share=st.floats(0, 1), protected=st.integers(0, 3))
def test_agrees_with_the_description(seed, n, share, protected):
    rng = np.random.default_rng(seed)
    protected = min(protected, n)
    metric, states, size = rng.normal(size=(n, 4)), rng.normal(size=(n, 3)), rng.integers(1, 6, size=n).astype(float)
    r = round(share * ((n - protected) // 2))
    matching = match(metric, r, protected)
    if r == 0:
        assert matching.remaining.tolist() == list(range(n))
        return
    expected, sizes, remaining = slow_step(metric, states, size, r, protected)
    merged, merged_size = merge(states, size, matching)
    assert matching.remaining.tolist() == remaining
    np.testing.assert_allclose(merged, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(merged_size, sizes)
    assert set(matching.pairs[:, 0]) | set(remaining) == set(range(n))


def test_hand_example():
    """CLS is 0. Both 2 and 4 are nearest to 3, so it becomes the mean of three tokens; 1 stays alone."""
    metric = [(1.0, 0.0), (1.0, 0.0), (0.0, 1.0), (0.1, 1.0), (0.2, 1.0), (-1.0, 0.0)]
    matching = match(metric, 2)
    assert matching.pairs.tolist() == [[4, 3], [2, 3]]
    assert matching.remaining.tolist() == [0, 1, 3, 5]
    assert matching.places().tolist() == [0, 1, 2, 2, 2, 3]
    states, size = merge(np.array([[0.0], [1.0], [2.0], [4.0], [9.0], [5.0]]), np.ones(6), matching)
    assert states.ravel().tolist() == [0.0, 1.0, 5.0, 5.0]
    assert size.tolist() == [1.0, 1.0, 3.0, 1.0]
    # CLS is identical to token 1 and still neither merges nor is merged into.
    assert match(metric, 1).pairs.tolist() == [[4, 3]]
    assert match(metric, 1, protected=0).pairs.tolist() == [[0, 1]]


def test_the_average_weighs_tokens_by_their_patches():
    matching = Matching(np.array([[0, 1]]), np.array([1]))
    states, size = merge(np.array([[2.0], [8.0]]), [3.0, 1.0], matching)
    assert (states.item(), size.item()) == (3.5, 4.0)


def test_ties_go_to_the_lower_index():
    matching = match(np.ones((7, 2)), 2)
    assert matching.pairs.tolist() == [[2, 1], [4, 1]]
    assert matching.remaining.tolist() == [0, 6, 1, 3, 5]


def test_no_merge_leaves_tokens_alone():
    matching = match(np.ones((5, 2)), 0)
    states = np.random.default_rng(0).normal(size=(5, 3))
    merged, size = merge(states, [1.0, 3.0, 2.0, 2.0, 7.0], matching)
    np.testing.assert_array_equal(merged, states)
    assert size.tolist() == [1.0, 3.0, 2.0, 2.0, 7.0]


def run_layers(seed: int, tokens: int = 36, keep: int = 7) -> tuple[np.ndarray, np.ndarray, list[Matching]]:
    """CLS and `tokens` patches through four layers that only merge."""
    states = np.random.default_rng(seed).normal(size=(1 + tokens, 5))
    size, matchings = np.ones(1 + tokens), []
    for r in tome_schedule(tokens, 4, keep):
        matchings.append(match(states, int(r)))
        states, size = merge(states, size, matchings[-1])
    return states, size, matchings


@pytest.mark.parametrize("seed", range(5))
def test_layers_that_only_merge_give_plain_means_of_patches(seed):
    states, size, matchings = run_layers(seed)
    where = trace(matchings)
    assert len(states) == where.outputs == 8
    patches = np.random.default_rng(seed).normal(size=(37, 5))
    np.testing.assert_allclose(where.apply(patches), states, rtol=1e-10)
    np.testing.assert_array_equal(np.diff(where.weights.indptr), size)
    assert size.sum() == 37
    # CLS stays first and alone; an anchor is one of the patches in its output.
    assert where.anchors[0] == 0
    np.testing.assert_array_equal(where.weights.toarray()[:, 0], np.eye(8)[0])
    assert (where.weights.toarray()[np.arange(8), where.anchors] > 0).all()


def test_tensors_are_merged_as_arrays_are():
    rng = np.random.default_rng(2)
    states, size = rng.normal(size=(9, 4)), rng.integers(1, 4, size=9)
    matching = match(states, 3)
    merged, _ = merge(states, size, matching)
    tensor, sizes = merge(torch.tensor(states, dtype=torch.float32), size, matching)
    assert tensor.dtype == torch.float32
    np.testing.assert_allclose(tensor.numpy(), merged, rtol=1e-5, atol=1e-6)
    assert sizes.sum() == size.sum()


@given(tokens=st.integers(1, 300), layers=st.integers(1, 12), share=st.floats(0, 1))
def test_a_schedule_leaves_exactly_the_budget(tokens, layers, share):
    least = tokens
    for _ in range(layers):
        least -= least // 2
    keep = max(least, round(share * tokens))
    schedule = tome_schedule(tokens, layers, keep)
    left = tokens - np.concatenate([[0], np.cumsum(schedule)])
    assert (schedule.dtype, schedule.size, left[-1]) == (np.int64, layers, keep)
    assert (schedule >= 0).all()
    assert (schedule <= left[:-1] // 2).all()
    # Constant up to one token, unless half of the tokens is the limit.
    free = schedule[schedule < left[:-1] // 2]
    assert free.size == 0 or (free.max() - free.min() <= 1 and schedule.max() <= free.max() + 1)


@pytest.mark.parametrize(
    ("tokens", "layers", "keep", "expected"),
    [
        (576, 23, 576 - 23 * 16, [16] * 23),  # constant, as published
        (576, 4, 572, [1] * 4),
        (576, 4, 574, [1, 1, 0, 0]),
        (576, 4, 576, [0] * 4),
        (576, 4, 64, [160, 160, 128, 64]),  # the last two layers can only halve
        (576, 4, 36, [288, 144, 72, 36]),
        (10, 1, 5, [5]),
    ],
)
def test_schedules_by_hand(tokens, layers, keep, expected):
    assert tome_schedule(tokens, layers, keep).tolist() == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((576, 4, 35), "`keep` must be at least 36, since 4 layers halve 576 tokens at most, got 35"),
        ((576, 4, 0), r"`keep` must be in \[1, 576\], got 0"),
        ((576, 4, 577), r"`keep` must be in \[1, 576\], got 577"),
        ((0, 4, 1), "`tokens` must be at least 1, got 0"),
        ((576, 0, 64), "`layers` must be at least 1, got 0"),
        ((576, 2.5, 64), r"`layers` must be an integer, got 2\.5"),
    ],
)
def test_refuses_schedules_out_of_reach(arguments, message):
    with pytest.raises(ValueError, match=message):
        tome_schedule(*arguments)


def test_refuses_what_it_cannot_match():
    metric = np.random.default_rng(0).normal(size=(9, 3))
    with pytest.raises(ValueError, match=r"`r` must be in \[0, 4\], got 5"):
        match(metric, 5)
    with pytest.raises(ValueError, match=r"`r` must be in \[0, 4\], got -1"):
        match(metric, -1)
    with pytest.raises(ValueError, match=r"`r` must be in \[0, 3\], got 4"):
        match(metric[:8], 4)
    with pytest.raises(ValueError, match=r"`protected` must be in \[0, 9\], got 10"):
        match(metric, 0, protected=10)
    with pytest.raises(ValueError, match="`metric` must be finite, got 27 NaN"):
        match(metric * np.nan, 1)
    with pytest.raises(ValueError, match="`metric` must have no zero row"):
        match(metric * 0.0, 1)
    matching = match(metric, 2)
    with pytest.raises(ValueError, match=r"`size` must have shape \[token\] with 9 tokens, got \(8,\)"):
        merge(metric, np.ones(8), matching)
    with pytest.raises(ValueError, match="`size` must be positive, got 0"):
        merge(metric, np.zeros(9), matching)
    with pytest.raises(ValueError, match=r"`features` must have shape \[source, dim\] with 9 sources"):
        merge(metric[:-1], np.ones(9), matching)
    with pytest.raises(ValueError, match="`matchings` must have at least one layer, got none"):
        trace([])
    with pytest.raises(ValueError, match="`matchings` must match 7 tokens in layer 1, got 9"):
        trace([matching, matching])
