"""Exact sums over pairs and their concave bound, against exhaustive search."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvers import (
    BruteForce,
    Exact,
    Forced,
    GraphCut,
    LocalSearch,
    MaxSum,
    Problem,
    RelevanceMinusRedundancy,
    Status,
)
from solvers.bounds import best_partners, upper_bound
from solvers.quadratic_bounds import concave, concave_form, descend

EVERY = [
    MaxSum(),
    MaxSum("chord"),
    GraphCut(),
    GraphCut(3.0),
    RelevanceMinusRedundancy(),
    RelevanceMinusRedundancy(trade_off=0.95),
]
SLACK = 1e-5


def instance(seed, budget, *, tokens=12, dim=4, distinct=None):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(distinct or tokens, dim)) + 0.4
    if distinct:
        features = features[rng.integers(0, distinct, tokens)]
    return Problem.from_features(features, budget, signals={"cls": rng.random(tokens)})


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(EVERY), st.integers(0, 10**6), st.integers(1, 12), st.sampled_from([None, 1, 4]))
def test_sums_over_pairs_equal_exhaustive_search(objective, seed, budget, distinct):
    problem = instance(seed, budget, distinct=distinct)
    exact, best = Exact().solve(problem, objective), BruteForce().solve(problem, objective)
    # The parts of the sum can be far larger than what is left of them, and the tolerance is relative to the parts.
    parts = np.abs(objective.pairs(problem)).sum(1).max()
    assert exact.status is Status.OPTIMAL
    assert best.value - SLACK * max(1.0, parts) <= exact.value <= best.value + 1e-9
    assert best.value <= exact.upper_bound + 1e-9
    assert exact.gap <= SLACK * max(1.0, parts)


def test_a_small_value_of_large_parts_is_proven_within_their_scale() -> None:
    problem, objective = instance(0, 4), GraphCut(redundancy=3.0)
    exact, best = Exact().solve(problem, objective), BruteForce().solve(problem, objective)
    assert exact.status is Status.OPTIMAL
    assert exact.value == pytest.approx(best.value)
    assert abs(best.value) < 0.01 * np.abs(objective.pairs(problem)).sum(1).max()


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(EVERY), st.integers(0, 10**6), st.integers(1, 12), st.sampled_from([None, 1, 4]))
def test_the_concave_form_bounds_every_selection(objective, seed, budget, distinct):
    problem = instance(seed, budget, distinct=distinct)
    best = BruteForce().solve(problem, objective).value
    bound = concave(problem, objective)
    assert bound.method == "concave form"
    assert bound.value >= best - 1e-12 * max(1.0, abs(best))
    assert concave(problem, objective, deadline=-1.0).value >= bound.value
    assert upper_bound(problem, objective, values=[best]).value <= min(
        bound.value, best_partners(problem, objective).value
    )


@pytest.mark.parametrize("objective", EVERY, ids=lambda objective: objective.name)
def test_the_concave_form_is_the_objective_on_selections_and_concave_between(objective):
    problem, rng = instance(3, 5), np.random.default_rng(1)
    form = concave_form(objective.linear(problem), objective.pairs(problem), 5)
    worth = lambda x: float(form.linear @ x + x @ form.curved @ x / 2)  # noqa: E731
    for _ in range(20):
        a, b = np.zeros(12), np.zeros(12)
        a[rng.choice(12, 5, replace=False)] = b[rng.choice(12, 5, replace=False)] = 1.0
        assert worth(a) == pytest.approx(objective.value(problem, np.flatnonzero(a)))
        assert worth((a + b) / 2) >= (worth(a) + worth(b)) / 2 - 1e-12


def test_every_tangent_is_above_every_selection():
    objective, problem = MaxSum("chord"), instance(5, 4, tokens=9)
    form = concave_form(objective.linear(problem), objective.pairs(problem), 4)
    best = BruteForce().solve(problem, objective).value
    for steps in (1, 2, 5, 50):
        tangent, weights = descend(form, np.full(9, 4 / 9), 4, steps=steps)
        assert tangent.bound(4) >= best
        assert weights.sum() == pytest.approx(4.0)
        assert weights.min() >= 0
        assert weights.max() <= 1 + 1e-12


@pytest.mark.parametrize("objective", EVERY, ids=lambda objective: objective.name)
@pytest.mark.parametrize("limit", [1e-9, 0.2])
def test_sums_over_pairs_keep_both_sides_at_the_time_limit(objective, limit):
    problem = instance(0, 20, tokens=120, dim=30)
    solution = Exact().solve(problem, objective, time_limit=limit)
    assert solution.status in (Status.TIME_LIMIT, Status.OPTIMAL)
    assert solution.upper_bound <= best_partners(problem, objective).value
    values = [point.value for point in solution.trace]
    bounds = [point.upper_bound for point in solution.trace]
    assert values == sorted(values)
    assert bounds == sorted(bounds, reverse=True)
    assert (solution.value, solution.upper_bound) == (values[-1], bounds[-1])


def test_branching_proves_what_the_root_leaves_open():
    """Found by search: the root bound is above the optimum, and greedy with swaps is below it."""
    objective = MaxSum("chord")
    for seed in range(200):
        problem = instance(seed, 5, tokens=14, dim=3)
        best = BruteForce().solve(problem, objective).value
        if LocalSearch().solve(problem, objective).value < best - 1e-6:
            break
    else:
        pytest.fail("no instance on which the search has to improve its start")
    assert concave(problem, objective).value > best + 1e-3
    exact = Exact().solve(problem, objective)
    assert exact.value == pytest.approx(best)
    assert exact.status is Status.OPTIMAL


def test_sums_over_pairs_under_a_constraint_are_refused_with_a_reason():
    problem = Problem.from_features(np.eye(4), 2, signals={"cls": np.ones(4)}, constraint=Forced(kept=(1,)))
    reason = Exact().supports(problem, MaxSum())
    assert reason == (
        "Exact solves MaxSum under Cardinality only, got the constraint Forced(kept=(1,), dropped=(), "
        "within=Cardinality()); BruteForce solves small problems exactly"
    )
