"""VisPruner against golden vectors of the reference, a slow oracle and its invariants."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvers.rules import fastervlm, vispruner


class Case(NamedTuple):
    tokens: int
    dim: int
    heads: int
    seed: int


class Golden(NamedTuple):
    case: Case
    keep: int
    ratio: float
    rounds: int
    important: str
    kept: str


# fmt: off
GOLDEN = (
    Golden(
        Case(64, 8, 2, 1), 16, 0.5, 6,
        "0 7 9 12 23 31 33 51",
        "0 5 7 9 12 13 22 23 28 31 33 42 43 51 56 61",
    ),
    Golden(
        Case(64, 8, 2, 1), 32, 0.75, 4,
        "0 6 7 9 12 14 15 17 22 23 25 26 29 30 31 32 33 35 42 43 45 48 51 54",
        "0 5 6 7 8 9 12 14 15 17 19 21 22 23 25 26 29 30 31 32 33 35 36 39 42 43 45 48 51 54 "
        "59 61",
    ),
    Golden(
        Case(64, 8, 2, 1), 24, 0.5, 5,
        "0 7 9 12 17 23 25 31 32 33 42 51",
        "0 5 7 8 9 11 12 17 19 21 23 25 31 32 33 35 38 39 41 42 51 53 55 62",
    ),
    Golden(
        Case(64, 8, 2, 1), 15, 0.5, 7,
        "0 7 9 12 23 31 33",
        "0 7 9 12 13 16 17 23 24 26 31 33 36 42 53",
    ),
    Golden(
        Case(64, 8, 2, 1), 8, 0.5, 8,
        "7 12 31 33",
        "5 7 11 12 31 33 37 39",
    ),
    Golden(
        Case(64, 8, 2, 1), 5, 0.5, 8,
        "7 12",
        "7 12 13 26 28",
    ),
    Golden(
        Case(64, 8, 2, 1), 4, 0.25, 8,
        "7",
        "7 15 17 38",
    ),
    Golden(
        Case(64, 8, 2, 1), 1, 0.5, 10,
        "",
        "5",
    ),
    Golden(
        Case(64, 8, 2, 1), 16, 1.0, 0,
        "0 7 9 12 14 17 23 25 30 31 32 33 35 42 43 51",
        "0 7 9 12 14 17 23 25 30 31 32 33 35 42 43 51",
    ),
    Golden(
        Case(64, 8, 2, 1), 16, 0.0, 6,
        "",
        "5 13 14 16 19 26 27 33 35 36 38 39 41 42 48 59",
    ),
    Golden(
        Case(576, 16, 4, 7), 32, 0.5, 68,
        "17 70 116 162 185 197 207 237 239 257 292 372 407 496 524 540",
        "17 49 61 66 70 91 113 116 132 162 177 185 197 207 232 237 239 257 292 337 351 372 "
        "377 407 485 492 496 517 523 524 531 540",
    ),
    Golden(
        Case(576, 16, 4, 7), 64, 0.75, 64,
        "7 9 17 19 26 48 56 58 64 70 81 116 129 147 150 162 185 193 197 207 234 237 239 257 "
        "261 285 286 292 309 354 372 378 384 400 403 407 435 437 452 471 496 516 523 524 537 "
        "540 547 565",
        "7 9 17 19 23 24 26 48 56 58 61 64 65 70 81 116 129 141 147 148 150 162 172 185 193 "
        "197 207 229 234 237 239 249 257 261 285 286 292 309 337 354 372 378 384 400 403 407 "
        "435 437 438 439 440 452 471 478 485 496 509 516 523 524 537 540 547 565",
    ),
    Golden(
        Case(576, 16, 4, 7), 58, 0.5, 65,
        "7 17 19 56 70 81 116 129 150 162 185 197 207 237 239 257 261 286 292 372 378 400 407 "
        "435 437 496 524 540 565",
        "7 17 19 53 56 70 75 81 91 101 116 129 142 150 162 182 184 185 197 201 207 213 217 "
        "226 237 239 243 257 261 286 292 302 308 311 325 328 337 370 371 372 378 382 388 400 "
        "407 435 437 439 450 496 512 524 540 542 559 561 565 566",
    ),
    Golden(
        Case(576, 16, 4, 7), 29, 0.5, 69,
        "17 70 116 162 185 197 207 237 239 292 407 496 524 540",
        "4 17 70 113 116 127 149 162 182 184 185 197 201 207 237 239 268 292 326 337 407 416 "
        "496 497 506 524 540 559 561",
    ),
)
# fmt: on


def indices(text: str) -> list[int]:
    return [int(word) for word in text.split()]


def golden_id(golden: Golden) -> str:
    return f"n{golden.case.tokens}-keep{golden.keep}-r{golden.ratio}"


@pytest.fixture(scope="module")
def golden_inputs(golden_stream):
    @functools.cache
    def make(case: Case) -> tuple[np.ndarray, np.ndarray]:
        stream = golden_stream(case.seed)
        features = stream.fill(case.tokens, case.dim, low=-1.0, high=1.0)
        return features, stream.fill(case.heads, case.tokens)

    return make


def slow_vispruner(features, attention, keep, ratio):
    """The rule in plain Python, similarities computed afresh in every round. Returns kept tokens and rounds."""

    def cosine(a, b):
        return math.fsum(x * y for x, y in zip(a, b, strict=True)) / math.sqrt(
            math.fsum(x * x for x in a) * math.fsum(y * y for y in b)
        )

    features = [list(map(float, row)) for row in features]
    order = sorted(range(len(features)), key=lambda token: (-attention[token], token))
    important = order[: math.floor(keep * ratio)]
    pool = order[len(important) :]
    excess = len(order) - keep if keep > len(important) else 0
    pool = pool if keep > len(important) else []
    rounds = 0
    while excess:
        even = [token for position, token in enumerate(pool) if position % 2 == 0]
        odd = [token for position, token in enumerate(pool) if position % 2 == 1]
        closest = {a: max(cosine(features[a], features[b]) for b in odd) for a in even}
        by_duplication = sorted(even, key=lambda token: (-closest[token], even.index(token)))
        dropped = min(8, excess, len(even))
        pool = by_duplication[dropped:] + odd
        excess -= dropped
        rounds += 1
    return sorted(important + pool), rounds


def test_golden_inputs_start_as_published(golden_inputs):
    features, attention = golden_inputs(Case(64, 8, 2, 1))
    np.testing.assert_allclose(features.ravel()[:4], [0.02774, -0.648517, -0.382697, 0.069068], atol=5e-7)
    np.testing.assert_allclose(attention.ravel()[:4], [0.668749, 0.719332, 0.3775, 0.084539], atol=5e-7)
    features, attention = golden_inputs(Case(576, 16, 4, 7))
    np.testing.assert_allclose(features.ravel()[:4], [0.194112, -0.40147, -0.336651, 0.383947], atol=5e-7)
    np.testing.assert_allclose(attention.ravel()[:4], [0.048058, 0.121774, 0.663166, 0.59915], atol=5e-7)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("golden", GOLDEN, ids=golden_id)
def test_keeps_the_golden_tokens(golden, dtype, golden_inputs):
    features, attention = (array.astype(dtype) for array in golden_inputs(golden.case))
    kept = vispruner(features, attention.mean(axis=0), golden.keep, golden.ratio)
    assert kept.tolist() == indices(golden.kept)


@pytest.mark.parametrize("golden", GOLDEN, ids=golden_id)
def test_important_part_is_the_golden_one(golden, golden_inputs):
    _, attention = golden_inputs(golden.case)
    important = indices(golden.important)
    assert len(important) == int(golden.keep * golden.ratio)
    assert set(important) <= set(indices(golden.kept))
    if important:
        assert fastervlm(attention.mean(axis=0), len(important)).tolist() == important


@pytest.mark.parametrize("golden", [golden for golden in GOLDEN if golden.case.tokens == 64], ids=golden_id)
def test_slow_oracle_takes_the_golden_number_of_rounds(golden, golden_inputs):
    features, attention = golden_inputs(golden.case)
    kept, rounds = slow_vispruner(features, attention.mean(axis=0), golden.keep, golden.ratio)
    assert (kept, rounds) == (indices(golden.kept), golden.rounds)


@given(seed=st.integers(0, 10**6), tokens=st.integers(1, 34), share=st.floats(0, 1), ratio=st.floats(0, 1))
@settings(max_examples=60)
def test_agrees_with_the_slow_oracle_for_any_budget_and_parity(seed, tokens, share, ratio):
    rng = np.random.default_rng(seed)
    features, attention = rng.normal(size=(tokens, 5)), rng.random(tokens)
    keep = max(1, round(share * tokens))
    kept = vispruner(features, attention, keep, ratio)
    assert kept.tolist() == slow_vispruner(features, attention, keep, ratio)[0]


def test_duplicates_leave_in_the_order_of_attention():
    """Identical tokens are all tied at every round, so the first of the even half goes, whatever the BLAS sums."""
    features = np.tile(np.random.default_rng(0).normal(size=37), (50, 1))
    attention = np.linspace(1.0, 0.0, 50)
    for keep in range(1, 51):
        assert vispruner(features, attention, keep, 0.5).tolist() == slow_duplicates(50, keep)


def slow_duplicates(tokens: int, keep: int) -> list[int]:
    important = keep // 2
    pool = list(range(important, tokens))
    while len(pool) > keep - important:
        even, odd = pool[0::2], pool[1::2]
        pool = even[min(8, len(pool) - (keep - important), len(even)) :] + odd
    return sorted(list(range(important)) + pool)


def test_ratio_one_is_fastervlm(rule_evidence):
    evidence = rule_evidence(3)
    for keep in range(1, 31):
        kept = vispruner(evidence["features"], evidence["attention"], keep, 1.0)
        np.testing.assert_array_equal(kept, fastervlm(evidence["attention"], keep))


def test_important_part_truncates_like_double_precision():
    """100 * 0.29 is 28.999..., so 28 tokens come by attention and the 29th is free to go."""
    rng = np.random.default_rng(0)
    attention = np.linspace(1.0, 0.0, 300)
    features = rng.normal(size=(300, 4))
    # Token 28 is the first of the pool, twice token 29: with 29 important tokens it could not leave.
    features[28] = features[29]
    assert 28 not in vispruner(features, attention, 100, 0.29)
    assert 28 in vispruner(features, attention, 100, 0.2901)


def test_attention_part_ignores_nothing_but_order(rule_evidence):
    evidence = rule_evidence(4)
    expected = vispruner(evidence["features"], evidence["attention"], 11)
    scaled = evidence["features"] * np.geomspace(1e-200, 1e200, 30)[:, None]
    np.testing.assert_array_equal(vispruner(scaled, np.exp(evidence["attention"]), 11), expected)


@pytest.mark.parametrize("ratio", [-0.1, 1.5, float("nan"), "half"])
def test_refuses_a_ratio_outside_the_unit_interval(ratio, rule_evidence):
    evidence = rule_evidence()
    with pytest.raises(ValueError, match=r"`important_ratio` must be in \[0, 1\], got"):
        vispruner(evidence["features"], evidence["attention"], 4, ratio)


def test_refuses_attention_of_another_length(rule_evidence):
    evidence = rule_evidence()
    with pytest.raises(ValueError, match=r"`attention` must have shape \[token\] with 30 tokens, got \(29,\)"):
        vispruner(evidence["features"], evidence["attention"][:-1], 4)


def test_refuses_a_zero_feature_row(rule_evidence):
    evidence = rule_evidence()
    features = evidence["features"].copy()
    features[7] = 0.0
    with pytest.raises(ValueError, match=r"`features` must have no zero row .*, got 1, first 7"):
        vispruner(features, evidence["attention"], 4)
