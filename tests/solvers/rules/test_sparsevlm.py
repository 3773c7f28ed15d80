"""SparseVLM's parts against slow references written from the description, and by hand."""

from __future__ import annotations

import math
from decimal import Decimal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from solvers.rules import (
    rope_response,
    sparsevlm,
    sparsevlm_corrected,
    sparsevlm_raters,
    sparsevlm_recycle,
)
from solvers.rules.sparsevlm import clusters_of


def test_averages_over_raters():
    attention = [[0.5, 0.1, 0.2, 0.0], [0.0, 0.4, 0.2, 0.3]]  # means 0.25, 0.25, 0.2, 0.15
    assert sparsevlm(attention, 1).tolist() == [0]
    assert sparsevlm(attention, 3).tolist() == [0, 1, 2]
    assert sparsevlm(np.mean(attention, axis=0), 3).tolist() == [0, 1, 2]


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_sums_over_raters_in_any_order(seed):
    rng = np.random.default_rng(seed)
    attention = rng.random((7, 40))
    totals = [sum(attention[rater][token] for rater in range(7)) for token in range(40)]
    order = sorted(range(40), key=lambda token: -totals[token])
    for keep in (1, 13, 39):
        assert sparsevlm(attention, keep).tolist() == sorted(order[:keep])
        np.testing.assert_array_equal(sparsevlm(attention[rng.permutation(7)], keep), sparsevlm(attention, keep))


def slow_raters(visual, text):
    share = [0.0] * len(text)
    for token in visual:
        exponentials = [math.exp(sum(a * b for a, b in zip(token, word, strict=True))) for word in text]
        for word, exponential in enumerate(exponentials):
            share[word] += exponential / sum(exponentials) / len(visual)
    return [value > sum(share) / len(share) for value in share]


@given(seed=st.integers(0, 10**6), tokens=st.integers(1, 12), words=st.integers(2, 9))
def test_raters_are_the_words_above_the_average(seed, tokens, words):
    rng = np.random.default_rng(seed)
    visual, text = rng.normal(size=(tokens, 5)), rng.normal(size=(words, 5))
    assert sparsevlm_raters(visual, text).tolist() == slow_raters(visual, text)


def test_raters_by_hand():
    visual = [(1.0, 0.0), (0.0, 1.0)]
    text = [(2.0, 2.0), (0.0, 0.0), (1.0, 1.0)]  # products 2, 0, 1 with either token
    assert sparsevlm_raters(visual, text).tolist() == [True, False, False]


@pytest.mark.parametrize("words", [1, 3, 7, 10])
def test_equal_words_all_rate(words):
    visual = np.random.default_rng(0).normal(size=(20, 6))
    assert sparsevlm_raters(visual, np.tile(visual[0], (words, 1))).all()


def test_products_of_any_size_give_raters():
    """The softmax of products of 1e6 is a vote of each visual token for one word."""
    rng = np.random.default_rng(1)
    visual, text = 1e3 * rng.normal(size=(20, 6)), 1e3 * rng.normal(size=(5, 6))
    votes = np.bincount(np.argmax(visual @ text.T, axis=1), minlength=5)
    assert sparsevlm_raters(visual, text).tolist() == (votes > 20 / 5).tolist()


def slow_recycle(states, scores, clusters):
    """Density peaks with plain loops, in decimals of any size; of equal densities the lower index is denser."""
    dropped = len(states)
    best = sorted(sorted(range(dropped), key=lambda token: -scores[token])[: int(dropped * 0.3) + 1])
    distance = {
        (a, b): math.sqrt(sum((x - y) ** 2 for x, y in zip(states[a], states[b], strict=True)) / len(states[a]))
        for a in best
        for b in best
    }
    density, peak = {}, {}
    for token in best:
        nearest = sorted(distance[token, other] ** 2 for other in best)[:clusters]
        density[token] = Decimal(-sum(nearest) / clusters).exp(), -token
    for token in best:
        denser = [distance[token, other] for other in best if density[other] > density[token]]
        peak[token] = density[token][0] * Decimal(min([*denser, max(distance.values())]))
    centres = sorted(best, key=lambda token: -peak[token])[:clusters]
    labels = [-1] * dropped
    for token in best:
        labels[token] = min(range(clusters), key=lambda number: distance[token, centres[number]])
    for number, centre in enumerate(centres):
        labels[centre] = number
    return labels


@given(seed=st.integers(0, 10**6), dropped=st.integers(1, 60), scale=st.sampled_from([1.0, 1e2]))
def test_clusters_agree_with_the_slow_reference(seed, dropped, scale):
    """Also where every density is 0 in floating point, as exp(-1e4) is."""
    rng = np.random.default_rng(seed)
    states, scores = scale * rng.normal(size=(dropped, 3)), rng.random(dropped)
    published = int((int(dropped * 0.3) + 1) / 10) + 1
    assert clusters_of(dropped) == published
    assert sparsevlm_recycle(states, scores).tolist() == slow_recycle(states, scores, published)
    more = min(published + 2, int(dropped * 0.3) + 1)
    labels = sparsevlm_recycle(states, scores, clusters=more)
    assert labels.tolist() == slow_recycle(states, scores, more)
    assert set(labels.tolist()) - {-1} == set(range(more))


def test_separate_groups_become_clusters():
    rng = np.random.default_rng(0)
    group = rng.integers(0, 3, 100)
    states = np.array([(0.0, 0.0), (10.0, 0.0), (0.0, 10.0)])[group] + 0.1 * rng.normal(size=(100, 2))
    labels = sparsevlm_recycle(states, rng.random(100), clusters=3)
    assert np.count_nonzero(labels >= 0) == 31
    assert len({(g, label) for g, label in zip(group, labels, strict=True) if label >= 0}) == 3


def test_equal_states_fill_clusters_from_the_lowest_index():
    labels = sparsevlm_recycle(np.ones((40, 3)), np.ones(40))
    assert labels.tolist() == [0, 1, *[0] * 11, *[-1] * 27]


def rotated_ones(positions, frequencies):
    """The rotation as implementations of LLaMA do it, on a vector of ones."""
    angles = torch.outer(positions, torch.cat([frequencies, frequencies]))
    ones = torch.ones_like(angles)
    half = frequencies.numel()
    return ones * angles.cos() + torch.cat([-ones[:, half:], ones[:, :half]], dim=1) * angles.sin()


def test_rope_response_is_the_logit_of_rotated_ones():
    frequencies = 10000.0 ** (-torch.arange(0, 128, 2, dtype=torch.float64) / 128)
    queries, keys = torch.arange(611.0, 640.0, dtype=torch.float64), torch.arange(35.0, 611.0, dtype=torch.float64)
    expected = rotated_ones(queries, frequencies) @ rotated_ones(keys, frequencies).T / math.sqrt(128)
    np.testing.assert_allclose(rope_response(queries, keys, frequencies), expected, atol=1e-9)
    assert rope_response([5], [5], [1.0, 0.5, 0.25]).tolist() == [[pytest.approx(math.sqrt(6))]]


def slow_corrected(attention, response, heads):
    corrected = [
        [[a / r for a, r in zip(*pair, strict=True)] for pair in zip(h, response, strict=True)] for h in attention
    ]
    masses = [sum(sum(row) for row in head) for head in corrected]
    chosen = sorted(range(len(masses)), key=lambda head: -masses[head])[:heads]
    return np.mean([corrected[head] for head in chosen], axis=0)


@pytest.mark.parametrize(("number", "heads"), [(32, 14), (28, 12), (4, 2), (1, 1), (2, 1)])
def test_corrected_attention_of_the_heads_with_most_of_it(number, heads):
    rng = np.random.default_rng(number)
    attention, response = rng.random((number, 3, 10)), rng.random((3, 10)) + 0.1
    expected = slow_corrected(attention.tolist(), response.tolist(), heads)
    np.testing.assert_allclose(sparsevlm_corrected(attention, response), expected)
    np.testing.assert_allclose(sparsevlm_corrected(attention, response, heads=heads), expected)
    np.testing.assert_allclose(
        sparsevlm_corrected(attention, response, heads=number), (attention / response).mean(axis=0)
    )


def test_correction_undoes_what_the_position_adds():
    """Attention that is nothing but the response rates all tokens alike; without it the nearest would stay."""
    frequencies = 10000.0 ** (-np.arange(32) / 32)
    response = rope_response(np.arange(50, 54), np.arange(50), frequencies)
    attention = np.tile(response / response.sum(), (8, 1, 1))
    assert sparsevlm(attention.mean(axis=0), 1).tolist() == [49]
    np.testing.assert_allclose(np.ptp(sparsevlm_corrected(attention, response)), 0.0, atol=1e-15)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: sparsevlm(np.ones((2, 3, 4)), 1),
            r"`attention` must have shape \[rater, token\] or \[token\], got \(2",
        ),
        (lambda: sparsevlm(np.ones((2, 3)), 4), r"`keep` must be in \[1, 3\], got 4"),
        (
            lambda: sparsevlm_raters(np.ones((3, 4)), np.ones((2, 5))),
            "`text` must have the dimension of `visual`, 4, got 5",
        ),
        (lambda: sparsevlm_raters(np.ones((3, 4)), np.ones((0, 4))), r"`text` must have shape \[token, dim\], got"),
        (lambda: sparsevlm_recycle(np.ones((9, 2)), np.ones(8)), r"`scores` must have shape \[token\] with 9 tokens"),
        (lambda: sparsevlm_recycle(np.ones((9, 2)), np.ones(9), 4), r"`clusters` must be in \[1, 3\], got 4"),
        (lambda: sparsevlm_recycle(np.ones((9, 2)), np.ones(9), 0), r"`clusters` must be in \[1, 3\], got 0"),
        (
            lambda: rope_response([[1.0]], [1.0], [1.0]),
            r"`query_positions` must have one axis and not be empty, got shape \(1, 1\)",
        ),
        (lambda: rope_response([1.0], [1.0], []), "`inverse_frequencies` must have one axis and not be empty"),
        (
            lambda: sparsevlm_corrected(np.ones((3, 4)), np.ones((3, 4))),
            r"`attention` must have shape \[head, rater, token\], got \(3, 4\)",
        ),
        (
            lambda: sparsevlm_corrected(np.ones((2, 3, 4)), np.ones((4, 3))),
            r"`response` must have shape \[rater, token\] \(3, 4\), got \(4, 3\)",
        ),
        (lambda: sparsevlm_corrected(np.ones((2, 1, 2)), [[1.0, 0.0]]), "`response` must have no zeros, got 1"),
        (lambda: sparsevlm_corrected(np.ones((2, 1, 1)), [[1.0]], heads=3), r"`heads` must be in \[1, 2\], got 3"),
    ],
)
def test_refuses_what_it_cannot_use(call, message):
    with pytest.raises(ValueError, match=message):
        call()
