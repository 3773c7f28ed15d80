"""FoPru against golden vectors, a slow oracle and its invariants."""

from __future__ import annotations

import numpy as np
import pytest

from solvers.rules import fopru_rank, fopru_rows
from solvers.rules.fopru import significance


@pytest.fixture(scope="module")
def golden_logits(golden_stream) -> np.ndarray:
    return golden_stream(3).fill(2, 37, 37, low=-3.0, high=3.0)


@pytest.fixture(scope="module")
def golden_map(golden_logits) -> np.ndarray:
    """Softmax over all keys, the CLS row and column dropped, mean over heads: 6 x 6 tokens."""
    weights = np.exp(golden_logits)
    return (weights / weights.sum(axis=-1, keepdims=True))[:, 1:, 1:].mean(axis=0)


def test_golden_significance(golden_logits, golden_map):
    np.testing.assert_allclose(golden_logits.ravel()[:4], [0.249592, -1.698505, -1.102045, -1.477918], atol=5e-7)
    assert golden_map.mean(axis=0).var() == pytest.approx(1.42562e-05, rel=1e-5)
    assert golden_map.mean(axis=1).var() == pytest.approx(4.0565e-07, rel=1e-4)
    scores = significance(golden_map)
    np.testing.assert_allclose(scores[:4], [0.02755159, 0.02762132, 0.03302894, 0.02347514], atol=5e-9)
    row_means = [0.027912, 0.027154, 0.027538, 0.026696, 0.025984, 0.027351]
    np.testing.assert_allclose(scores.reshape(6, 6).mean(axis=1), row_means, atol=5e-7)


@pytest.mark.parametrize(
    ("keep", "kept"),
    [
        (9, [2, 11, 12, 14, 16, 18, 21, 31, 35]),
        (18, [0, 1, 2, 4, 9, 10, 11, 12, 14, 16, 18, 21, 24, 26, 27, 31, 34, 35]),
    ],
)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_rank_keeps_the_golden_tokens(keep, kept, dtype, golden_map):
    assert fopru_rank(golden_map.astype(dtype), keep).tolist() == kept


@pytest.mark.parametrize(("keep", "rows"), [(12, [0, 2]), (18, [0, 2, 5])])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_rows_keeps_the_golden_rows(keep, rows, dtype, golden_map):
    expected = [row * 6 + column for row in rows for column in range(6)]
    assert fopru_rows(golden_map.astype(dtype), keep, (6, 6)).tolist() == expected


def slow_significance(attention: np.ndarray) -> list[float]:
    tokens = range(len(attention))
    received = [sum(attention[i][j] for i in tokens) / len(tokens) for j in tokens]
    given = [sum(attention[i][j] for j in tokens) / len(tokens) for i in tokens]

    def variance(values: list[float]) -> float:
        return sum((value - sum(values) / len(values)) ** 2 for value in values)

    return received if variance(received) > variance(given) else given


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("transposed", [False, True])
def test_agrees_with_the_slow_oracle(seed, transposed, rule_evidence):
    """On the transposed map the dispersed vector is the attention given."""
    attention = rule_evidence(seed, rows=4, columns=7)["attention_map"]
    attention = attention.T if transposed else attention
    scores = slow_significance(attention)
    order = sorted(range(28), key=lambda token: -scores[token])
    for keep in range(1, 29):
        assert fopru_rank(attention, keep).tolist() == sorted(order[:keep])
    row_order = sorted(range(4), key=lambda row: -sum(scores[row * 7 : row * 7 + 7]))
    for rows in range(1, 5):
        expected = sorted(row * 7 + column for row in row_order[:rows] for column in range(7))
        assert fopru_rows(attention, rows * 7, (4, 7)).tolist() == expected


def test_given_attention_is_used_where_it_is_more_dispersed():
    attention = np.array([[0.1, 0.1], [0.4, 0.4]])
    np.testing.assert_allclose(significance(attention), [0.1, 0.4])
    np.testing.assert_allclose(significance(attention.T), [0.1, 0.4])


@pytest.mark.parametrize(
    ("rounding", "keep", "rows"),
    [
        ("nearest", 64, 3),
        ("floor", 64, 2),
        ("ceil", 64, 3),
        ("nearest", 60, 2),
        ("nearest", 84, 4),
        ("ceil", 60, 3),
        ("nearest", 58, 2),
        ("nearest", 10, 1),
        ("floor", 10, 1),
        ("ceil", 10, 1),
        ("floor", 1, 1),
        ("nearest", 576, 24),
        ("ceil", 575, 24),
        ("floor", 575, 23),
    ],
)
def test_rows_keeps_whole_rows_whatever_the_budget(rounding, keep, rows):
    attention = np.random.default_rng(0).random((576, 576))
    kept = fopru_rows(attention, keep, (24, 24), rounding=rounding)
    assert len(kept) == rows * 24
    assert np.all(np.bincount(kept // 24, minlength=24) % 24 == 0)


def test_uniform_attention_keeps_the_first_tokens_and_rows():
    attention = np.full((12, 12), 1 / 12)
    assert fopru_rank(attention, 5).tolist() == [0, 1, 2, 3, 4]
    assert fopru_rows(attention, 8, (3, 4)).tolist() == list(range(8))


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ((5, 5), r"`grid` must hold 30 tokens \(rows \* columns\), got 5 x 5"),
        ((-5, -6), r"`grid` must hold 30 tokens \(rows \* columns\), got -5 x -6"),
        ((5.0, 6), r"`grid` must be two integers \(rows, columns\), got \(5.0, 6\)"),
        ((5, 6, 1), r"`grid` must be two integers \(rows, columns\), got \(5, 6, 1\)"),
        (30, r"`grid` must be two integers \(rows, columns\), got 30"),
    ],
)
def test_refuses_a_grid_that_does_not_fit(grid, message, rule_evidence):
    with pytest.raises(ValueError, match=message):
        fopru_rows(rule_evidence()["attention_map"], 6, grid)


def test_refuses_an_unknown_rounding(rule_evidence):
    with pytest.raises(ValueError, match="`rounding` must be one of 'nearest', 'floor', 'ceil', got 'up'"):
        fopru_rows(rule_evidence()["attention_map"], 6, (5, 6), rounding="up")


def test_refuses_a_map_that_is_not_square(rule_evidence):
    with pytest.raises(ValueError, match=r"`attention_map` must have shape .* got \(30, 29\)"):
        fopru_rank(rule_evidence()["attention_map"][:, 1:], 6)
