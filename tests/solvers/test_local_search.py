"""Swap search: never below its start, at a swap optimum when it ends, and its fast paths against values."""

from __future__ import annotations

import numpy as np
import pytest

from solvers import (
    BruteForce,
    FacilityLocation,
    Greedy,
    KDpp,
    LocalSearch,
    LogDet,
    MaxMin,
    Problem,
    PublishedRule,
    Random,
    Saliency,
    Status,
    TopK,
)
from solvers.kernels.coverage import covered
from solvers.kernels.interchange import eager_swaps, steepest_swaps
from solvers.local_search import _swap_factors
from solvers.objectives.facility_location import coverage

OBJECTIVES = [FacilityLocation(), LogDet(), LogDet("relevance"), MaxMin(), Saliency()]
each_objective = pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda objective: objective.name)


def swaps(problem, selected):
    for position in range(len(selected)):
        for token in set(range(problem.tokens)) - set(selected):
            yield [*selected[:position], token, *selected[position + 1 :]]


@each_objective
@pytest.mark.parametrize("start", [Greedy(), Random(), TopK()], ids=lambda solver: solver.name)
@pytest.mark.parametrize("seed", range(3))
def test_it_ends_at_a_swap_optimum_not_below_its_start(objective, start, seed, make_problem):
    problem = make_problem(rows=5, columns=6, budget=6, seed=seed)
    solution = LocalSearch(start).solve(problem, objective, seed=seed)
    assert solution.value >= start.solve(problem, objective, seed=seed).value
    assert solution.status is Status.FEASIBLE
    for other in swaps(problem, solution.selected.tolist()):
        assert objective.value(problem, other) <= solution.value + 1e-8 * max(1.0, abs(solution.value))


@each_objective
def test_it_reaches_most_of_the_optimum_from_anywhere(objective, make_problem):
    reached = []
    for seed in range(10):
        problem = make_problem(seed=seed, budget=4)
        best = BruteForce().solve(problem, objective).value
        reached.append(LocalSearch(Random()).solve(problem, objective, seed=seed).value >= best - 1e-9)
    assert sum(reached) >= 3


@pytest.mark.parametrize("seed", range(4))
def test_factors_of_log_det_swaps_are_differences_of_values(seed, make_problem):
    problem, objective = make_problem(rows=3, columns=4, budget=4, seed=seed), LogDet("relevance", ridge=0.01)
    selected = np.array([1, 5, 6, 10])
    factors = _swap_factors(objective.kernel(problem), selected)
    before = objective.value(problem, selected)
    for position in range(4):
        for token in set(range(12)) - set(selected.tolist()):
            after = objective.value(problem, [*np.delete(selected, position), token])
            assert np.log(factors[position, token]) == pytest.approx(after - before, abs=1e-7)
    assert (factors[:, selected] == 0).all()


def test_time_limit_keeps_the_start(make_problem):
    problem = make_problem(rows=5, columns=6, budget=6)
    for objective in OBJECTIVES:
        solution = LocalSearch(TopK()).solve(problem, objective, time_limit=1e-9)
        assert solution.status is Status.TIME_LIMIT
        assert solution.selected.tolist() == TopK().solve(problem, objective).selected.tolist()


def test_a_single_swap_is_the_best_one_for_facility_location(make_problem):
    problem = make_problem(rows=5, columns=6, budget=6, seed=1)
    start = TopK().solve(problem, FacilityLocation()).selected.tolist()
    best = max(FacilityLocation().value(problem, other) for other in swaps(problem, start))
    assert LocalSearch(TopK(), max_moves=1).solve(problem, FacilityLocation()).value == best


def test_facility_location_keeps_the_better_of_two_searches(make_problem):
    better = set()
    for seed in range(6):
        problem = make_problem(rows=8, columns=9, budget=14, seed=seed)
        matrix = coverage(problem)
        start = np.sort(TopK().solve(problem, FacilityLocation()).selected)
        ends = [covered(matrix, loop(matrix, matrix, start, 1000).selected) for loop in (steepest_swaps, eager_swaps)]
        assert LocalSearch(TopK()).solve(problem, FacilityLocation()).value == max(ends)
        better.add(np.sign(ends[0] - ends[1]))
    assert {-1.0, 1.0} <= better


def test_looks_at_the_clock_do_not_change_the_end(monkeypatch, make_problem):
    problem = make_problem(rows=8, columns=9, budget=14)
    expected = LocalSearch(TopK()).solve(problem, FacilityLocation())
    monkeypatch.setattr("solvers.local_search.MOVES_PER_LOOK", 1000)
    again = LocalSearch(TopK()).solve(problem, FacilityLocation())
    assert again.selected.tolist() == expected.selected.tolist()
    assert again.evaluations == expected.evaluations


def test_every_budget_and_equal_tokens():
    problem = Problem.from_features(np.ones((4, 3)), 4, signals={"cls": np.ones(4)})
    for objective in (FacilityLocation(), LogDet(), MaxMin(), Saliency()):
        for budget in (1, 2, 4):
            selected = LocalSearch().solve(problem.with_budget(budget), objective).selected
            assert selected.tolist() == list(range(budget))


def test_chance_and_reasons_come_from_the_start(make_problem):
    assert LocalSearch().deterministic
    assert not LocalSearch(KDpp()).deterministic
    assert LocalSearch(TopK()).name == "LocalSearch(start=TopK(signal='cls'))"
    problem = make_problem()
    with pytest.raises(ValueError, match="its start fopru_rows cannot run: rule 'fopru_rows' keeps whole rows"):
        LocalSearch(PublishedRule("fopru_rows")).solve(problem, FacilityLocation())
    with pytest.raises(ValueError, match="`max_moves` must be at least 1, got 0"):
        LocalSearch(max_moves=0)
