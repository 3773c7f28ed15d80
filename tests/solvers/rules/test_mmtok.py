"""MMTok against its objective summed from scratch, the greedy guarantee by brute force, and its invariants."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvers import FacilityLocation, Greedy, MultimodalFacilityLocation, Problem, PublishedRule
from solvers.rules import mmtok


def slow_value(features, words, chosen, alpha, text_temperature, visual_temperature):
    """f(S) as written, in plain Python."""

    def cosine(a, b):
        return float(a @ b) / math.sqrt(float(a @ a) * float(b @ b))

    def coverage(clients, temperature):
        total = 0.0
        for client in clients:
            powers = [math.exp(cosine(client, token) / temperature) for token in features]
            total += max((powers[token] for token in chosen), default=0.0) / sum(powers)
        return total / len(clients)

    return coverage(words, text_temperature) + alpha * coverage(features, visual_temperature)


@given(
    seed=st.integers(0, 10**6),
    tokens=st.integers(1, 12),
    count=st.integers(1, 5),
    share=st.floats(0, 1),
    options=st.sampled_from([(0.5, 0.02, 0.2), (0.0, 0.1, 0.2), (3.0, 0.02, 0.05)]),
)
@settings(max_examples=40)
def test_each_pick_has_the_largest_gain(seed, tokens, count, share, options):
    rng = np.random.default_rng(seed)
    features, words = rng.normal(size=(tokens, 4)), rng.normal(size=(count, 4))
    keep = max(1, round(share * tokens))
    chosen: list[int] = []
    for _ in range(keep):
        left = [token for token in range(tokens) if token not in chosen]
        values = [slow_value(features, words, [*chosen, token], *options) for token in left]
        chosen.append(left[int(np.argmax(values))])
        if len(left) > 1 and np.diff(np.sort(values)[-2:])[0] < 1e-12:
            return  # decided by rounding
    assert mmtok(features, words, keep, *options).tolist() == sorted(chosen)


@pytest.mark.parametrize("seed", range(6))
def test_value_is_within_the_guarantee(seed):
    rng = np.random.default_rng(seed)
    features, words = rng.normal(size=(9, 3)), rng.normal(size=(3, 3))

    def value(chosen):
        return slow_value(features, words, chosen, 0.5, 0.02, 0.2)

    best = max(value(chosen) for chosen in itertools.combinations(range(9), 3))
    assert (1 - 1 / math.e) * best <= value(mmtok(features, words, 3).tolist()) <= best + 1e-12


def test_a_word_brings_in_the_token_it_means():
    """Tokens 0 to 7 are alike and 8 is alone: with little weight on words a common token comes first."""
    features = np.vstack([np.eye(3)[np.zeros(8, int)] + 0.01 * np.arange(8)[:, None], [[0.0, 0.0, 1.0]]])
    word = [[0.0, 0.1, 1.0]]
    assert mmtok(features, word, 1).tolist() == [8]
    assert mmtok(features, word, 1, alpha=1e6)[0] < 8
    assert 8 in mmtok(features, word, 2, alpha=1e6)


@pytest.mark.parametrize("seed", range(4))
def test_is_greedy_under_its_objective(seed, make_problem):
    problem = make_problem(rows=5, columns=6, budget=9, seed=seed)
    expected = np.sort(Greedy().solve(problem, MultimodalFacilityLocation()).selected)
    words = problem.queries if problem.queries is not None else problem.signal("text")
    np.testing.assert_array_equal(mmtok(problem.features, words, 9), expected)
    np.testing.assert_array_equal(PublishedRule("mmtok").solve(problem, FacilityLocation()).selected, expected)


def test_equal_tokens_give_the_lowest_indices():
    rng = np.random.default_rng(0)
    same = np.tile(rng.normal(size=37), (20, 1))
    assert mmtok(same, rng.normal(size=(4, 37)), 5).tolist() == [0, 1, 2, 3, 4]
    same[[11, 17]] = rng.normal(size=(2, 37))
    assert mmtok(same, same[[17]], 2).tolist() == [0, 17]


def test_refuses_words_of_another_space(rule_evidence):
    evidence = rule_evidence()
    features, words = evidence["features"], evidence["words"].copy()
    with pytest.raises(ValueError, match="`words` must have the dimension of `features`, 40, got 39"):
        mmtok(features, words[:, 1:], 4)
    words[2] = 0.0
    with pytest.raises(ValueError, match=r"`words` must have no zero row .*, got 1, first 2"):
        mmtok(features, words, 4)
    features = features.copy()
    features[7] = 0.0
    with pytest.raises(ValueError, match=r"`features` must have no zero row"):
        mmtok(features, evidence["words"], 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": -0.1}, r"`alpha` must be in \[0, 1e6\], got -0\.1"),
        ({"text_temperature": 0.0}, r"`text_temperature` must be finite and at least 1e-3, got 0\.0"),
        ({"visual_temperature": np.inf}, r"`visual_temperature` must be finite and at least 1e-3, got inf"),
    ],
)
def test_refuses_parameters_out_of_range(options, message, rule_evidence):
    evidence = rule_evidence()
    with pytest.raises(ValueError, match=message):
        mmtok(evidence["features"], evidence["words"], 4, **options)


def test_as_a_solver_it_says_what_it_cannot_use():
    objective = FacilityLocation()
    reason = PublishedRule("mmtok").supports(Problem.from_features(np.eye(4), 2), objective)
    assert reason == "rule 'mmtok' needs words: the problem has neither `queries` nor a signal 'text'"
    wide = Problem.from_features(np.eye(4), 2, signals={"text": np.ones((2, 3))})
    assert PublishedRule("mmtok").supports(wide, objective) == "rule 'mmtok' needs words of dimension 4, got 3"
    zero = Problem.from_features(np.eye(4), 2, queries=np.zeros((2, 4)))
    assert "needs 'words' without zero vectors" in str(PublishedRule("mmtok").supports(zero, objective))
