"""GreedyPrune against golden vectors, a slow oracle and its invariants."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from solvers.rules import greedyprune

# keep, threshold, picks in order without filling, final set with filling
GOLDEN = (
    (9, 0.9, [5, 25, 17, 7, 0, 32, 27, 12, 22], [0, 5, 7, 12, 17, 22, 25, 27, 32]),
    (9, 0.7, [5, 25, 17, 7, 12, 22, 18, 30, 2], [2, 5, 7, 12, 17, 18, 22, 25, 30]),
    (9, 0.5, [5, 25, 7, 27, 12, 22, 13, 2, 6], [2, 5, 6, 7, 12, 13, 22, 25, 27]),
    (9, 0.3, [5, 7, 12, 13, 2, 34, 19, 16], [2, 5, 7, 12, 13, 16, 19, 25, 34]),
    (
        16,
        0.5,
        [5, 25, 7, 27, 12, 22, 13, 2, 6, 1, 19, 26, 16, 8],
        [0, 1, 2, 5, 6, 7, 8, 12, 13, 16, 17, 19, 22, 25, 26, 27],
    ),
    (16, 0.3, [5, 7, 12, 13, 2, 34, 19, 16], [0, 2, 5, 7, 12, 13, 16, 17, 18, 19, 22, 25, 27, 30, 32, 34]),
)


@pytest.fixture(scope="module")
def golden_inputs(golden_stream) -> tuple[np.ndarray, np.ndarray]:
    stream = golden_stream(5)
    return stream.fill(36, 6, low=-1.0, high=1.0), stream.fill(6, low=-1.0, high=1.0)


def test_golden_inputs_start_as_published(golden_inputs):
    features, text = golden_inputs
    np.testing.assert_allclose(features.ravel()[:4], [0.138655, -0.483819, -0.351999, 0.945654], atol=5e-7)
    expected = [-0.434155, -0.725126, -0.294416, 0.603346, 0.536572, 0.042565]
    np.testing.assert_allclose(text, expected, atol=5e-7)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("keep", "threshold", "picks", "filled"), GOLDEN)
def test_keeps_the_golden_tokens(keep, threshold, picks, filled, dtype, golden_inputs):
    features, text = (array.astype(dtype) for array in golden_inputs)
    assert greedyprune(features, text, keep, threshold).tolist() == filled
    assert greedyprune(features, text, keep, threshold, when_exhausted="stop").tolist() == sorted(picks)


@pytest.mark.parametrize(("keep", "threshold", "picks", "filled"), GOLDEN)
def test_picks_in_the_golden_order(keep, threshold, picks, filled, golden_inputs):
    """A budget of m keeps the first m picks, so growing budgets reveal the order."""
    for count in range(1, len(picks) + 1):
        kept = greedyprune(*golden_inputs, count, threshold, when_exhausted="stop")
        assert kept.tolist() == sorted(picks[:count])


def test_hand_example():
    features = [(1, 0), (0.99, 0.1), (0, 1), (-1, 0), (0.5, 0.5)]
    assert greedyprune(features, (1, 0), 3, threshold=0.9).tolist() == [0, 2, 4]


def slow_greedyprune(features, text, keep, threshold, fill):
    def cosine(a, b):
        return float(a @ b / np.sqrt((a @ a) * (b @ b)))

    order = sorted(range(len(features)), key=lambda token: -cosine(features[token], text))
    chosen: list[int] = []
    for token in order:
        close = any(cosine(features[token], features[other]) > threshold for other in chosen)
        if not close and len(chosen) < keep:
            chosen.append(token)
    for token in order:
        if fill and token not in chosen and len(chosen) < keep:
            chosen.append(token)
    return sorted(chosen)


@given(
    seed=st.integers(0, 10**6),
    tokens=st.integers(1, 30),
    share=st.floats(0, 1),
    threshold=st.floats(-1, 1),
    fill=st.booleans(),
)
def test_agrees_with_the_slow_oracle(seed, tokens, share, threshold, fill):
    rng = np.random.default_rng(seed)
    features, text = rng.normal(size=(tokens, 4)), rng.normal(size=4)
    keep = max(1, round(share * tokens))
    kept = greedyprune(features, text, keep, threshold, when_exhausted="fill" if fill else "stop")
    assert kept.tolist() == slow_greedyprune(features, text, keep, threshold, fill)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    how = "fill" if fill else "stop"
    assert greedyprune(features, text, keep, threshold, how, similarity=unit @ unit.T).tolist() == kept.tolist()


def test_without_a_cap_it_is_top_k_by_cosine(rule_evidence):
    evidence = rule_evidence(2)
    cosine = evidence["features"] @ evidence["text"] / np.linalg.norm(evidence["features"], axis=1)
    expected = np.sort(np.argsort(-cosine)[:9])
    kept = greedyprune(evidence["features"], evidence["text"], 9, threshold=1.0, when_exhausted="stop")
    np.testing.assert_array_equal(kept, expected)


def test_below_minus_one_only_the_most_salient_token_stays(rule_evidence):
    evidence = rule_evidence(2)
    kept = greedyprune(evidence["features"], evidence["text"], 9, threshold=-1.5, when_exhausted="stop")
    np.testing.assert_array_equal(kept, greedyprune(evidence["features"], evidence["text"], 1))


def test_a_cosine_equal_to_the_threshold_is_not_too_similar():
    features, text = [(1.0, 0.0), (0.6, 0.8), (0.61, 0.79)], (1.0, 0.0)
    assert greedyprune(features, text, 2, threshold=0.6, when_exhausted="stop").tolist() == [0, 1]


def test_equal_tokens_give_the_lowest_indices():
    features = np.tile(np.random.default_rng(0).normal(size=37), (20, 1))
    text = np.random.default_rng(1).normal(size=37)
    assert greedyprune(features, text, 4).tolist() == [0, 1, 2, 3]
    assert greedyprune(features, text, 4, when_exhausted="stop").tolist() == [0]
    assert greedyprune(features, text, 4, threshold=1.0, when_exhausted="stop").tolist() == [0, 1, 2, 3]


def test_refuses_what_it_cannot_use(rule_evidence):
    features, text = rule_evidence()["features"], rule_evidence()["text"]
    with pytest.raises(ValueError, match="`text` must have the dimension of `features`, 40, got 39"):
        greedyprune(features, text[:-1], 4)
    with pytest.raises(ValueError, match="`text` must have no zero row"):
        greedyprune(features, np.zeros(40), 4)
    with pytest.raises(ValueError, match=r"`similarity` must have shape \[30, 30\], as many as `features`, got"):
        greedyprune(features, text, 4, similarity=np.eye(2))
    with pytest.raises(ValueError, match="`when_exhausted` must be one of 'fill', 'stop', got 'random'"):
        greedyprune(features, text, 4, when_exhausted="random")
    with pytest.raises(ValueError, match="`threshold` must be a finite number, got nan"):
        greedyprune(features, text, 4, threshold=float("nan"))
