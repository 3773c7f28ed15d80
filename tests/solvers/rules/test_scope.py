"""SCOPE: its score against a slow oracle, what it is not (a marginal gain), and what it is with equal attention."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from solvers import FacilityLocation, Greedy, Problem, PublishedRule
from solvers.rules import scope
from solvers.rules.scope import scope_scores


def slow_scores(features, attention, chosen, alpha):
    """The score as written, with the current coverage starting at 0."""
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    cosine = unit @ unit.T
    current = np.max([np.zeros(len(unit)), *(cosine[token] for token in chosen)], axis=0)
    return np.maximum(0.0, cosine - current[:, None]).sum(axis=0) * attention**alpha


@given(
    seed=st.integers(0, 10**6),
    tokens=st.integers(1, 25),
    share=st.floats(0, 1),
    alpha=st.sampled_from([0.0, 0.5, 1.0, 3.0]),
)
def test_each_pick_has_the_largest_score(seed, tokens, share, alpha):
    rng = np.random.default_rng(seed)
    features, attention = rng.normal(size=(tokens, 4)), rng.random(tokens) + 0.01
    attention /= attention.max()
    keep = max(1, round(share * tokens))
    chosen: list[int] = []
    for _ in range(keep):
        scores = slow_scores(features, attention, chosen, alpha)
        np.testing.assert_allclose(scope_scores(features, attention, chosen, alpha), scores, atol=2e-6)
        scores[chosen] = -1.0
        chosen.append(int(np.argmax(scores)))
        if tokens > 1 and np.diff(np.sort(scores)[-2:])[0] < 1e-5:
            return  # decided by the rounding of cosines to multiples of 2**-24
    assert scope(features, attention, keep, alpha).tolist() == sorted(chosen)


def test_its_score_is_the_gain_of_no_set_function():
    """Gains of a set function f telescope: f(a | {}) + f(b | {a}) = f({a, b}) - f({}) = f(b | {}) + f(a | {b}).

    Two tokens with a cosine of 1/2, one attended to twice as much as the other, break that.
    """
    features, attention = [(1.0, 0.0), (0.5, np.sqrt(0.75))], [1.0, 0.5]

    def along(order):
        return sum(scope_scores(features, attention, order[:step])[token] for step, token in enumerate(order))

    # a: (1 + 1/2) 1, then b: (0 + 1/2) 1/2; or b: (1 + 1/2) 1/2, then a: (1/2 + 0) 1.
    assert along([0, 1]) == pytest.approx(1.75)
    assert along([1, 0]) == pytest.approx(1.25)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("seed", range(5))
def test_paths_agree_with_equal_attention_and_hardly_ever_else(seed, alpha):
    rng = np.random.default_rng(seed)
    features = np.abs(rng.normal(size=(6, 4)))
    order = rng.permutation(6)[:4]

    def along(order, attention):
        steps = (scope_scores(features, attention, order[:step], alpha)[token] for step, token in enumerate(order))
        return sum(steps)

    equal, unequal = np.full(6, 0.3), rng.random(6) + 0.1
    assert along(order, equal) == along(order[::-1], equal)
    assert abs(along(order, unequal) - along(order[::-1], unequal)) > 1e-3


@pytest.mark.parametrize(("attention", "alpha"), [(np.full(30, 0.2), 1.0), (np.arange(30.0), 0.0)])
@pytest.mark.parametrize("seed", range(5))
def test_with_equal_attention_it_is_greedy_facility_location(seed, attention, alpha, make_problem):
    problem = make_problem(rows=5, columns=6, budget=9, seed=seed)
    greedy = Greedy().solve(problem, FacilityLocation()).selected
    assert scope(problem.features, attention, 9, alpha).tolist() == sorted(greedy.tolist())


def test_a_common_factor_of_the_attention_changes_nothing(rule_evidence):
    evidence = rule_evidence(4)
    kept = scope(evidence["features"], evidence["attention"], 9)
    for factor in (1e-200, 12.0, 1e200):
        np.testing.assert_array_equal(scope(evidence["features"], factor * evidence["attention"], 9), kept)


def test_hand_example():
    """Token 1 covers as much as its copy 0 and is attended to more; then 3 adds a direction of its own, 0 nothing."""
    features = [(1.0, 0.0), (1.0, 0.0), (0.8, 0.6), (0.0, 1.0)]
    attention = [0.2, 0.3, 0.1, 0.2]
    np.testing.assert_allclose(scope_scores(features, attention), np.array([2.8, 2.8, 3.2, 1.6]) * attention / 0.3)
    assert scope(features, attention, 1).tolist() == [1]
    assert scope(features, attention, 2).tolist() == [1, 3]


def test_without_attention_left_the_lowest_indices_fill_the_budget():
    features = np.eye(5)
    assert scope(features, [0.0, 0.0, 1.0, 0.0, 0.0], 3).tolist() == [0, 1, 2]
    assert scope(features, np.zeros(5), 2).tolist() == [0, 1]
    assert scope(np.ones((5, 3)), np.ones(5), 3).tolist() == [0, 1, 2]


def test_refuses_what_it_cannot_use(rule_evidence):
    features, attention = rule_evidence()["features"], rule_evidence()["attention"]
    with pytest.raises(ValueError, match=r"`attention` must not be negative, got -0\.5"):
        scope(features, np.where(np.arange(30) == 3, -0.5, attention), 4)
    with pytest.raises(ValueError, match=r"`attention` must have shape .* with 30 tokens, got"):
        scope(features, attention[:-1], 4)
    with pytest.raises(ValueError, match="`alpha` must be at least 0, got -1"):
        scope(features, attention, 4, alpha=-1.0)
    with pytest.raises(ValueError, match="`alpha` must be a finite number, got nan"):
        scope(features, attention, 4, alpha=np.nan)
    features = features.copy()
    features[7] = 0.0
    with pytest.raises(ValueError, match="`features` must have no zero row"):
        scope(features, attention, 4)


def test_as_a_solver_it_says_what_it_cannot_use():
    problem = Problem.from_features(np.eye(4), 2, signals={"cls": [-0.1, 0.2, 0.3, 0.6]})
    reason = PublishedRule("scope").supports(problem, FacilityLocation())
    assert reason == "rule 'scope' needs 'attention' without negative values, got -0.1"
