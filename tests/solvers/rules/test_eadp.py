"""EADP: its selection and its scores against slow oracles, by hand, and their invariants."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvers import Greedy, Problem, WeightedFacilityLocation
from solvers.rules import eadp, eadp_scores


def slow_value(features, weight, chosen, similarity):
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    cosine = unit @ unit.T
    covered = (1.0 + cosine) / 2.0 if similarity == "shifted" else np.maximum(cosine, 0.0)
    return float(sum(w * max(covered[i][j] for j in chosen) for i, w in enumerate(weight)))


@given(
    seed=st.integers(0, 10**6),
    tokens=st.integers(1, 14),
    share=st.floats(0, 1),
    power=st.sampled_from([0.0, 1.0, 2.5]),
    similarity=st.sampled_from(["shifted", "clipped"]),
    normalise=st.booleans(),
)
@settings(max_examples=60)
def test_each_pick_has_the_largest_gain(seed, tokens, share, power, similarity, normalise):
    rng = np.random.default_rng(seed)
    features, relevance = rng.normal(size=(tokens, 4)), rng.random(tokens) + 0.01
    weight = relevance**power
    if normalise:
        relevance = 5.0 * relevance - 3.0
        low, high = relevance.min(), relevance.max()
        weight = ((relevance - low + 1e-6) / (high - low + 1e-6)) ** power
    keep = max(1, round(share * tokens))
    chosen: list[int] = []
    for _ in range(keep):
        left = [token for token in range(tokens) if token not in chosen]
        values = [slow_value(features, weight, [*chosen, token], similarity) for token in left]
        chosen.append(left[int(np.argmax(values))])
        if len(left) > 1 and np.diff(np.sort(values)[-2:])[0] < 1e-10:
            return  # decided by rounding
    kept = eadp(features, relevance, keep, power, normalise=normalise, similarity=similarity)
    assert kept.tolist() == sorted(chosen)


@pytest.mark.parametrize("similarity", ["shifted", "clipped"])
@pytest.mark.parametrize("seed", range(4))
def test_value_is_within_the_guarantee(seed, similarity):
    rng = np.random.default_rng(seed)
    features, weight = rng.normal(size=(10, 3)), rng.random(10)

    def value(chosen):
        return slow_value(features, weight, chosen, similarity)

    best = max(value(chosen) for chosen in itertools.combinations(range(10), 3))
    kept = eadp(features, weight, 3, normalise=False, similarity=similarity).tolist()
    assert (1 - 1 / math.e) * best <= value(kept) <= best + 1e-12


def test_by_hand():
    """Three tokens look one way and two another: without relevance the three come first, with it the two."""
    features = np.eye(2)[[0, 0, 0, 1, 1]]
    assert eadp(features, np.ones(5), 1).tolist() == [0]
    assert eadp(features, [0.1, 0.1, 0.1, 1.0, 1.0], 1).tolist() == [3]
    assert eadp(features, [0.1, 0.1, 0.1, 1.0, 1.0], 2).tolist() == [0, 3]
    # 3 * 0.8 against 2 * 1; sharpened, 3 * 0.8^4 = 1.23 against 2.
    gentle = [0.8, 0.8, 0.8, 1.0, 1.0]
    assert eadp(features, gentle, 1, normalise=False).tolist() == [0]
    assert eadp(features, gentle, 1, 4.0, normalise=False).tolist() == [3]


def test_opposite_tokens_cover_each_other_only_where_clipping_is_not_asked_for():
    """Shifted, the middle one of three directions covers half of both others, and of its opposites nothing is lost."""
    angles = np.deg2rad([0.0, 95.0, 190.0])
    features = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert eadp(features, [1.0, 0.9, 1.0], 1, normalise=False).tolist() == [1]
    assert eadp(features, [1.0, 0.9, 1.0], 1, normalise=False, similarity="clipped").tolist() == [0]


@pytest.mark.parametrize("seed", range(4))
def test_clipped_is_greedy_under_its_objective(seed, make_problem):
    problem = make_problem(rows=5, columns=6, budget=9, seed=seed)
    relevance = np.abs(problem.signal("relevance"))
    problem = Problem.from_features(problem.features, 9, signals={"relevance": relevance})
    selected = Greedy().solve(problem, WeightedFacilityLocation("relevance")).selected
    kept = eadp(problem.features, relevance, 9, normalise=False, similarity="clipped")
    np.testing.assert_array_equal(kept, np.sort(selected))


def test_equal_tokens_give_the_lowest_indices():
    rng = np.random.default_rng(0)
    same = np.tile(rng.normal(size=37), (20, 1))
    for similarity in ("shifted", "clipped"):
        assert eadp(same, rng.random(20), 5, similarity=similarity).tolist() == [0, 1, 2, 3, 4]


def test_without_any_weight_the_first_tokens_stay():
    assert eadp(np.eye(4), np.zeros(4), 2, normalise=False).tolist() == [0, 1]


def test_relevance_of_any_scale(rule_evidence):
    evidence = rule_evidence(3)
    features, relevance = evidence["features"], evidence["relevance"]
    kept = eadp(features, relevance - relevance.min(), 9, 2.0, normalise=False)
    for factor in (1e-150, 1e150):
        scaled = factor * (relevance - relevance.min())
        np.testing.assert_array_equal(eadp(features, scaled, 9, 2.0, normalise=False), kept)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"relevance": np.array([1.0, -0.5, 1.0]), "normalise": False}, r"`relevance` must not be negative, got -0\.5"),
        ({"relevance": np.ones(4)}, r"`relevance` must have shape \[token\] with 3 tokens, got \(4,\)"),
        ({"power": -1.0}, r"`power` must be in \[0, 100\], got -1\.0"),
        ({"power": np.nan}, r"`power` must be in \[0, 100\], got nan"),
        ({"similarity": "dot"}, r"`similarity` must be one of 'shifted', 'clipped', got 'dot'"),
        ({"features": np.zeros((3, 3))}, r"`features` must have no zero row"),
    ],
)
def test_refuses_what_is_no_weight(changed, message):
    with pytest.raises(ValueError, match=message):
        eadp(**{"features": np.eye(3), "relevance": np.ones(3), "keep": 2} | changed)


def slow_scores(whole, words, grid, mu, quantile, gamma, scale, sigma):
    """The steps of the description, a token at a time."""
    tokens = len(whole)
    entropies = []
    for word in words:
        powers = [math.exp(scale * (value - max(word))) for value in word]
        shares = [power / sum(powers) for power in powers]
        entropies.append(-sum(share * math.log(share) for share in shares if share > 0))
    order = sorted(range(len(words)), key=lambda word: (entropies[word], word))
    kept = order[: max(1, int(quantile * len(words)))]
    weights = [math.exp(-(entropies[word] - entropies[kept[0]]) / gamma) for word in kept]
    mixed = [
        mu * whole[token]
        + (1 - mu) * sum(w * words[word][token] for w, word in zip(weights, kept, strict=True)) / sum(weights)
        for token in range(tokens)
    ]
    low, high = min(mixed), max(mixed)
    scores = [(value - low + 1e-6) / (high - low + 1e-6) for value in mixed]

    def mirrored(index, length):
        return -index if index < 0 else 2 * (length - 1) - index if index >= length else index

    rows, columns = grid
    smooth = []
    for row, column in itertools.product(range(rows), range(columns)):
        total = norm = 0.0
        for down, across in itertools.product((-1, 0, 1), repeat=2):
            weight = math.exp(-(down**2 + across**2) / (2 * sigma**2))
            near = mirrored(row + down, rows) * columns + mirrored(column + across, columns)
            total += weight * scores[near]
            norm += weight
        smooth.append(total / norm)
    return smooth


@given(
    seed=st.integers(0, 10**6),
    grid=st.tuples(st.integers(2, 6), st.integers(2, 6)),
    words=st.integers(1, 12),
    mu=st.floats(0, 1),
    quantile=st.floats(0, 1),
    gamma=st.sampled_from([0.01, 1.0]),
    sigma=st.sampled_from([0.5, 1.0, 3.0]),
)
@settings(max_examples=40)
def test_scores_agree_with_the_slow_oracle(seed, grid, words, mu, quantile, gamma, sigma):
    rng = np.random.default_rng(seed)
    tokens = grid[0] * grid[1]
    whole, single = -0.2 + 0.05 * rng.normal(size=tokens), -0.2 + 0.05 * rng.normal(size=(words, tokens))
    scores = eadp_scores(whole, single, grid, mu=mu, quantile=quantile, gamma=gamma, sigma=sigma)
    expected = slow_scores(whole, single, grid, mu, quantile, gamma, 100.0, sigma)
    np.testing.assert_allclose(scores, expected, rtol=1e-9)
    assert ((scores > 0) & (scores <= 1 + 1e-12)).all()


def test_a_word_that_points_everywhere_does_not_count():
    """Five words: four flat ones and one that means the middle token. Only the latter is below the quantile."""
    words = np.zeros((5, 25))
    words[3, 12] = 1.0
    scores = eadp_scores(np.zeros(25), words, (5, 5))
    assert int(np.argmax(scores)) == 12
    # Smoothed by a Gaussian: the token itself, its neighbours along the sides and those across the corners.
    assert scores[[7, 11, 13, 17]] == pytest.approx(scores[12] * math.exp(-0.5), abs=1e-5)
    assert scores[[6, 8, 16, 18]] == pytest.approx(scores[12] * math.exp(-1.0), abs=1e-5)
    assert scores[[0, 4, 20, 24]] == pytest.approx(0.0, abs=1e-5)


def test_equal_similarities_give_equal_scores():
    assert eadp_scores(np.full(12, 0.3), np.full((4, 12), 0.1), (3, 4)) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"words": np.ones((2, 11))}, r"`words` must have shape \[word, token\] with 12 tokens, got \(2, 11\)"),
        ({"words": np.full((2, 12), np.nan)}, r"`words` must be finite, got 24 NaN"),
        ({"grid": (4, 4)}, r"`grid` must hold 12 tokens \(rows \* columns\), got 4 x 4"),
        ({"mu": 1.1}, r"`mu` must be in \[0, 1\], got 1\.1"),
        ({"quantile": -0.1}, r"`quantile` must be in \[0, 1\], got -0\.1"),
        ({"gamma": 0.0}, r"`gamma` must be in \[1e-06, 1e\+06\], got 0\.0"),
        ({"scale": np.inf}, r"`scale` must be in \[0, 1e\+06\], got inf"),
        ({"sigma": 0.0}, r"`sigma` must be in \[0\.001, 1e\+06\], got 0\.0"),
    ],
)
def test_scores_refuse_what_they_cannot_mix(changed, message):
    with pytest.raises(ValueError, match=message):
        eadp_scores(**{"whole": np.ones(12), "words": np.ones((3, 12)), "grid": (3, 4)} | changed)
