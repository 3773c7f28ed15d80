"""Proven optima of the facility-location family against brute force, and what is kept at the time limit."""

from __future__ import annotations

import math

import numpy as np
import pytest

from solvers import (
    BruteForce,
    Exact,
    FacilityLocation,
    Greedy,
    MultimodalFacilityLocation,
    Problem,
    Status,
    WeightedFacilityLocation,
    bounds,
)
from solvers.exact import facility_location
from solvers.exact.core import reduce
from solvers.exact.facility_location import TOLERANCE
from solvers.exact.strong_formulation import solve_core

FAMILY = [FacilityLocation(), WeightedFacilityLocation(), MultimodalFacilityLocation()]
named = pytest.mark.parametrize("objective", FAMILY, ids=lambda objective: objective.name)


def random_problem(seed, n, budget, dim):
    rng = np.random.default_rng(seed)
    signals = {"relevance": rng.random(n) ** 3, "text": rng.normal(size=(4, dim))}
    return Problem.from_features(rng.normal(size=(n, dim)), budget, signals=signals)


def rough(monkeypatch):
    """Stop the dual early, so that the integer programs have something to do on small problems."""
    whole = facility_location.lagrangian

    def early(problem, objective, **options):
        dual = whole(problem, objective, **options | {"iterations": 3})
        return dual._replace(search=dual.search._replace(scale=0.0))

    monkeypatch.setattr(facility_location, "lagrangian", early)


@named
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("early", [False, True])
def test_exact_equals_brute_force(objective, seed, early, monkeypatch):
    if early:
        rough(monkeypatch)
    rng = np.random.default_rng(seed)
    problem = random_problem(seed, 14, int(rng.integers(1, 9)), int(rng.integers(2, 6)))
    exact, best = Exact().solve(problem, objective), BruteForce().solve(problem, objective)
    assert exact.status is Status.OPTIMAL
    assert best.value * (1 - TOLERANCE) <= exact.value <= best.value
    assert best.value <= exact.upper_bound * (1 + 1e-9)
    assert exact.upper_bound <= exact.value * (1 + TOLERANCE)
    assert exact.certificate.verify(problem)
    assert exact.certificate.selected.tolist() == exact.selected.tolist()


@named
def test_integer_programs_close_what_a_rough_dual_leaves_open(objective, monkeypatch):
    problem = random_problem(3, 60, 8, 5)
    expected = Exact().solve(problem, objective)
    rough(monkeypatch)
    solution = Exact().solve(problem, objective)
    assert len(solution.trace) == 3  # the dual, the promising tokens, all that are left
    assert solution.trace[0].upper_bound > solution.trace[-1].upper_bound
    assert solution.status is expected.status is Status.OPTIMAL
    assert solution.value == pytest.approx(expected.value, rel=TOLERANCE)


@named
def test_degenerate_similarities(objective, monkeypatch):
    """Duplicates, all tokens alike, opposite tokens, one token; every budget; whether the dual is rough or not."""
    rng = np.random.default_rng(0)
    alike, copies = np.ones((6, 3)), rng.normal(size=(4, 3))[[0, 1, 1, 2, 2, 2, 3]]
    opposite = np.vstack([np.eye(3), -np.eye(3)])
    for attempt in range(2):
        for features in (alike, copies, opposite, np.ones((1, 3))):
            n = len(features)
            signals = {"relevance": rng.random(n) * (rng.random(n) > 0.5), "text": rng.normal(size=(2, 3))}
            for budget in range(1, n + 1):
                problem = Problem.from_features(features, budget, signals=signals)
                exact, best = Exact().solve(problem, objective), BruteForce().solve(problem, objective)
                assert exact.status is Status.OPTIMAL
                assert exact.value == pytest.approx(best.value, rel=TOLERANCE, abs=1e-15)
                assert exact.certificate.verify(problem)
        if attempt == 0:
            rough(monkeypatch)


def test_similarity_without_a_positive_entry():
    problem = Problem.from_similarity(-np.ones((5, 5)), 2)
    solution = Exact().solve(problem, FacilityLocation())
    assert (solution.value, solution.upper_bound, solution.status) == (0.0, 0.0, Status.OPTIMAL)
    assert solution.certificate.verify(problem)


@named
@pytest.mark.parametrize("limit", [1e-9, 0.2])
def test_at_the_time_limit_both_sides_are_kept(objective, limit):
    rng = np.random.default_rng(0)
    n = 300
    signals = {"relevance": rng.random(n), "text": rng.normal(size=(8, 40))}
    problem = Problem.from_features(rng.normal(size=(n, 40)) + 0.4, 60, signals=signals)
    solution = Exact().solve(problem, objective, time_limit=limit)
    assert solution.status in (Status.TIME_LIMIT, Status.OPTIMAL)
    assert solution.value >= Greedy().solve(problem, objective).value
    assert solution.upper_bound < math.inf
    assert solution.certificate.verify(problem)
    values = [point.value for point in solution.trace]
    above = [point.upper_bound for point in solution.trace]
    assert values == sorted(values)
    assert above == sorted(above, reverse=True)
    assert (solution.value, solution.upper_bound) == (values[-1], above[-1])


def test_a_core_that_is_too_large_is_left_open(monkeypatch):
    rough(monkeypatch)
    monkeypatch.setattr(facility_location, "MAX_ASSIGNMENTS", 1)
    problem = random_problem(3, 60, 8, 5)
    solution = Exact().solve(problem, FacilityLocation())
    assert solution.status is Status.FEASIBLE
    assert solution.value < solution.upper_bound < math.inf


def test_the_integer_program_improves_a_poor_incumbent():
    """From the first k tokens as the incumbent, the core is large and its best selection is the optimum."""
    problem = random_problem(1, 14, 4, 3)
    dual = bounds.lagrangian(problem)
    first = np.arange(4)
    poor = dual._replace(selected=first, reached=FacilityLocation().value(problem, first))
    answer = solve_core(reduce(problem, poor), 4, first, 1e-7, math.inf)
    best = BruteForce().solve(problem, FacilityLocation()).value
    assert FacilityLocation().value(problem, answer.selected) == pytest.approx(best, rel=1e-6)
    assert answer.bound == pytest.approx(best, rel=1e-6)
