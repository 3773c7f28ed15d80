"""Exact log-determinants of every kernel, against exhaustive search, with both ways of branching."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvers import BruteForce, Exact, GramLogDet, Greedy, LogDet, Problem, Status
from solvers.exact.log_det import TOLERANCE, solve_log_det
from solvers.kernels.determinant_search import Found

EVERY = [LogDet(), LogDet("relevance"), LogDet(ridge=0.5), GramLogDet(), GramLogDet(10.0)]


def instance(seed, budget, *, tokens=12, dim=6, distinct=None):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(distinct or tokens, dim)) + 0.3
    if distinct:
        features = features[rng.integers(0, distinct, tokens)]
    return Problem.from_features(features, budget, signals={"relevance": rng.random(tokens) + 0.05})


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(EVERY), st.integers(0, 10**6), st.integers(1, 12), st.sampled_from([None, 1, 4]))
def test_log_determinants_equal_exhaustive_search(objective, seed, budget, distinct):
    problem = instance(seed, budget, distinct=distinct)
    exact, best = Exact().solve(problem, objective), BruteForce().solve(problem, objective)
    rounding = 1e-9 * max(1.0, abs(best.value))
    assert exact.status is Status.OPTIMAL
    assert best.value - TOLERANCE - rounding <= exact.value <= best.value + rounding
    assert best.value - rounding <= exact.upper_bound <= exact.value + TOLERANCE + rounding


@pytest.mark.parametrize("objective", EVERY, ids=lambda objective: objective.name)
@pytest.mark.parametrize("largest_fan", [1, 2, 100])
def test_both_ways_of_branching_prove_the_optimum(objective, largest_fan, monkeypatch):
    """Without the depth-first search, bounds and branching alone; a fan of 1 is the least that ends a path."""
    nothing = Found(np.empty(0, dtype=np.int64), False)
    monkeypatch.setattr("solvers.exact.log_det.search_determinants", lambda *arguments: nothing)
    monkeypatch.setattr("solvers.exact.log_det.LARGEST_FAN", largest_fan)
    for seed in range(3):
        problem = instance(seed, 5, tokens=14)
        best = BruteForce().solve(problem, objective).value
        outcome = solve_log_det(problem, objective, None)
        assert outcome.status is Status.OPTIMAL
        assert objective.value(problem, outcome.selected) == pytest.approx(best, abs=TOLERANCE)
        assert best <= outcome.upper_bound + 1e-9


@pytest.mark.parametrize("objective", EVERY, ids=lambda objective: objective.name)
@pytest.mark.parametrize("limit", [1e-9, 0.2])
def test_log_determinants_keep_both_sides_at_the_time_limit(objective, limit):
    problem = instance(0, 24, tokens=150, dim=40)
    solution = Exact().solve(problem, objective, time_limit=limit)
    assert solution.status in (Status.TIME_LIMIT, Status.OPTIMAL)
    assert solution.value >= Greedy().solve(problem, objective).value - 1e-9
    assert np.isfinite(solution.upper_bound)
    bounds = [point.upper_bound for point in solution.trace]
    assert bounds == sorted(bounds, reverse=True)
    assert solution.upper_bound == bounds[-1]


def test_a_wide_quality_makes_300_tokens_easy():
    """The kernel of a conditional DPP: its root bound is a fraction of a nat above the optimum."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 200)) + 0.5
    problem = Problem.from_features(features, 16, signals={"relevance": np.exp(2 * rng.normal(size=300))})
    solution = Exact().solve(problem, LogDet("relevance"), time_limit=60)
    assert solution.status is Status.OPTIMAL
    assert solution.gap <= 2 * TOLERANCE
