"""Exact facility location at the time limit, and the reasons of exact solvers."""

from __future__ import annotations

import numpy as np
import pytest

from solvers import BruteForce, Exact, FacilityLocation, Greedy, Problem, Saliency, Status


def hard_problem(n=200, budget=40):
    rng = np.random.default_rng(0)
    return Problem.from_features(rng.normal(size=(n, 40)) + 0.4, budget)


def test_at_the_time_limit_incumbent_and_bound_are_kept():
    problem = hard_problem()
    solution = Exact().solve(problem, FacilityLocation(), time_limit=0.3)
    greedy = Greedy().solve(problem, FacilityLocation())
    assert solution.status in (Status.TIME_LIMIT, Status.OPTIMAL)
    assert solution.value >= greedy.value
    assert solution.relative_gap < 0.02
    assert solution.certificate.verify(problem)
    values = [point.value for point in solution.trace]
    bounds = [point.upper_bound for point in solution.trace]
    assert values == sorted(values)
    assert bounds == sorted(bounds, reverse=True)
    assert (solution.value, solution.upper_bound) == (values[-1], bounds[-1])


def test_the_integer_program_closes_what_the_dual_leaves_open():
    """Found by search: here the Lagrangian bound alone is not tight."""
    rng = np.random.default_rng(5)
    problem = Problem.from_features(rng.normal(size=(60, 6)), 8)
    solution = Exact().solve(problem, FacilityLocation(), time_limit=60)
    assert solution.status is Status.OPTIMAL
    assert solution.upper_bound <= solution.value * (1 + 1e-6)
    assert solution.certificate.bound >= solution.upper_bound


@pytest.mark.parametrize("scale", [1e-29, 1e-9, 1e9, 1e27])
def test_the_integer_program_does_not_depend_on_the_scale(scale):
    """The tolerances of the solver underneath are absolute; this is the problem above in other units."""
    rng = np.random.default_rng(5)
    similarity = Problem.from_features(rng.normal(size=(60, 6)), 8).similarity
    solution = Exact().solve(Problem.from_similarity(similarity * scale, 8), FacilityLocation(), time_limit=60)
    plain = Exact().solve(Problem.from_similarity(similarity, 8), FacilityLocation(), time_limit=60)
    assert solution.status is Status.OPTIMAL
    assert solution.value / scale == pytest.approx(plain.value, rel=1e-6)
    assert solution.upper_bound / scale == pytest.approx(plain.upper_bound, rel=1e-6)


def test_saliency_is_sorted():
    problem = Problem.from_features(np.eye(4), 2, signals={"cls": [1.0, 3.0, 3.0, 2.0]})
    solution = Exact().solve(problem, Saliency())
    assert solution.selected.tolist() == [1, 2]
    assert (solution.value, solution.upper_bound, solution.status) == (6.0, 6.0, Status.OPTIMAL)


def test_brute_force_stops_at_the_time_limit_with_a_selection():
    problem = Problem.from_features(np.random.default_rng(0).normal(size=(20, 4)), 8)
    solution = BruteForce().solve(problem, FacilityLocation(), time_limit=0.01)
    assert solution.status is Status.TIME_LIMIT
    assert solution.upper_bound == np.inf
    assert len(solution.selected) == 8
    with pytest.raises(ValueError, match="`max_sets` must be at least 1, got 0"):
        BruteForce(max_sets=0)


def test_brute_force_returns_the_first_of_equal_sets():
    problem = Problem.from_features(np.ones((5, 2)), 2)
    assert BruteForce().solve(problem, FacilityLocation()).selected.tolist() == [0, 1]
