"""Exact solvers: what they prove, and what they keep at the time limit."""

from __future__ import annotations

import numpy as np
import pytest

from solvers import BruteForce, Exact, FacilityLocation, Greedy, LogDet, MaxMin, Problem, Saliency, Status
from solvers.exact.log_det import TOLERANCE, solve_log_det
from solvers.exact.max_min import solve_max_min


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


def clustered(n, budget, seed=0, dim=24):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(10, dim))
    features = centres[rng.integers(0, 10, n)] + 0.8 * rng.normal(size=(n, dim)) + 0.5
    return Problem.from_features(features, budget, signals={"relevance": rng.random(n) + 0.1})


EVERY = [MaxMin(), MaxMin("chord"), LogDet(), LogDet("relevance"), LogDet(ridge=0.5)]


@pytest.mark.parametrize("objective", EVERY, ids=lambda objective: objective.name)
@pytest.mark.parametrize("seed", range(10))
def test_exact_equals_brute_force(objective, seed, make_problem):
    rng = np.random.default_rng(seed)
    budget = int(rng.integers(1, 8))
    problem = make_problem(rows=3, columns=5, budget=budget, seed=seed, dim=int(rng.integers(2, 9)))
    exact, best = Exact().solve(problem, objective), BruteForce().solve(problem, objective)
    assert exact.status is Status.OPTIMAL
    tolerance = 0.0 if isinstance(objective, MaxMin) else TOLERANCE
    assert best.value - tolerance <= exact.value <= best.value
    assert best.value <= exact.upper_bound <= exact.value + tolerance


@pytest.mark.parametrize("objective", EVERY, ids=lambda objective: objective.name)
@pytest.mark.parametrize("limit", [1e-9, 0.3])
def test_at_the_time_limit_both_sides_are_kept(objective, limit):
    problem = clustered(220, 30)
    solution = Exact().solve(problem, objective, time_limit=limit)
    assert solution.status is Status.TIME_LIMIT or limit > 0.1
    assert solution.value >= Greedy().solve(problem, objective).value
    assert np.isfinite(solution.upper_bound)
    values = [point.value for point in solution.trace]
    bounds = [point.upper_bound for point in solution.trace]
    assert values == sorted(values)
    assert bounds == sorted(bounds, reverse=True)
    assert (solution.value, solution.upper_bound) == (values[-1], bounds[-1])


def test_a_bound_at_the_time_limit_is_above_the_optimum(make_problem):
    for seed in range(5):
        problem = make_problem(rows=3, columns=5, budget=6, seed=seed)
        for objective in EVERY:
            solution = Exact().solve(problem, objective, time_limit=1e-9)
            assert solution.upper_bound >= BruteForce().solve(problem, objective).value


def test_thresholds_that_clique_covers_leave_open_are_decided(monkeypatch):
    """Without clique covers and tabu search, CP-SAT alone has to find and to refute."""
    problem = clustered(40, 7)
    expected = Exact().solve(problem, MaxMin())
    monkeypatch.setattr("solvers.exact.max_min._cover", lambda search: None)
    monkeypatch.setattr("solvers.exact.max_min._construct", lambda search: None)
    alone = solve_max_min(problem, MaxMin(), None)
    assert alone.status is expected.status is Status.OPTIMAL
    assert MaxMin().value(problem, alone.selected) == alone.upper_bound == expected.value


def test_thresholds_put_off_come_up_again(monkeypatch):
    """Every decision with little time fails, so the slices double until all are made."""
    problem = clustered(40, 7)
    expected = Exact().solve(problem, MaxMin()).value
    monkeypatch.setattr("solvers.exact.max_min._cover", lambda search: None)
    monkeypatch.setattr("solvers.exact.max_min._construct", lambda search: None)
    from solvers.exact import max_min

    decide, asked = max_min._decision, []

    def impatient(search, threshold, seconds):
        asked.append(seconds)
        return None if seconds < 3 * max_min.FIRST_SLICE else decide(search, threshold, seconds)

    monkeypatch.setattr(max_min, "_decision", impatient)
    outcome = solve_max_min(problem, MaxMin(), None)
    assert {2.0, 4.0, 8.0} <= set(asked)
    assert (outcome.status, outcome.upper_bound) == (Status.OPTIMAL, expected)


def test_the_tree_of_log_det_closes_without_its_depth_first_search(monkeypatch):
    """With the fused search switched off, bounds and branching alone prove the optimum."""
    from solvers.kernels.determinant_search import Found

    problem = clustered(18, 5)
    nothing = Found(np.empty(0, dtype=np.int64), False)
    monkeypatch.setattr("solvers.exact.log_det.search_determinants", lambda *arguments: nothing)
    for objective in (LogDet(), LogDet("relevance"), LogDet(ridge=0.5)):
        best = BruteForce().solve(problem, objective).value
        outcome = solve_log_det(problem, objective, None)
        assert outcome.status is Status.OPTIMAL
        assert objective.value(problem, outcome.selected) == pytest.approx(best, abs=TOLERANCE)
        assert best <= outcome.upper_bound + 1e-12
        assert len(outcome.trace) > 2


@pytest.mark.parametrize("spread", [1.0, 1e8])
def test_log_det_with_duplicates_and_wide_qualities(spread):
    rng = np.random.default_rng(1)
    features = rng.normal(size=(5, 3))[rng.integers(0, 5, 12)]
    problem = Problem.from_features(features, 6, signals={"relevance": np.geomspace(1 / spread, spread, 12)})
    for objective in (LogDet("relevance"), LogDet()):
        exact, best = Exact().solve(problem, objective), BruteForce().solve(problem, objective)
        assert exact.value == pytest.approx(best.value, abs=1e-5)
        assert exact.upper_bound >= best.value - 1e-6


def test_identical_tokens_and_every_budget():
    problem = Problem.from_features(np.ones((6, 3)), 1)
    for objective in (MaxMin(), LogDet()):
        for budget in range(1, 7):
            solution = Exact().solve(problem.with_budget(budget), objective)
            assert solution.status is Status.OPTIMAL
            assert solution.gap <= TOLERANCE
    single = Problem.from_features(np.ones((1, 3)), 1)
    assert Exact().solve(single, MaxMin()).value == 0.0
