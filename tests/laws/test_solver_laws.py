"""Laws of every solver in the registry under every objective, against exhaustive search."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from solvers import (
    OBJECTIVES,
    SOLVERS,
    BruteForce,
    DppMap,
    Exact,
    FacilityLocation,
    FarthestFirst,
    Greedy,
    KDpp,
    LazyGreedy,
    LogDet,
    MaxMin,
    Problem,
    Saliency,
    Status,
    ThresholdGreedy,
    TopK,
    published_rules,
)
from solvers.bounds import upper_bound

SOLVER_INSTANCES = [
    *(kind() for kind in SOLVERS),
    *published_rules()[1:],
    DppMap(from_features=True),
    KDpp(from_features=True),
    FarthestFirst(first=0, from_features=True),
]
OBJECTIVE_INSTANCES = [kind() for kind in OBJECTIVES]

each_solver = pytest.mark.parametrize("solver", SOLVER_INSTANCES, ids=lambda solver: solver.name)
each_objective = pytest.mark.parametrize("objective", OBJECTIVE_INSTANCES, ids=lambda objective: objective.name)


@each_solver
@each_objective
@pytest.mark.parametrize("seed", range(3))
def test_solutions_are_allowed_bounded_and_reproducible(solver, objective, seed, make_problem):
    problem = make_problem(seed=seed, budget=4)
    if solver.supports(problem, objective) is not None:
        assert isinstance(solver, (Exact, LazyGreedy, ThresholdGreedy))
        with pytest.raises(ValueError, match=r"Exact has methods for|needs a submodular objective"):
            solver.solve(problem, objective)
        return
    solution = solver.solve(problem, objective, seed=seed)
    assert solution.selected.dtype == np.int64
    assert sorted(set(solution.selected.tolist())) == sorted(solution.selected.tolist())
    assert len(solution.selected) == 4
    assert solution.value == objective.value(problem, solution.selected)
    best = BruteForce().solve(problem, objective).value
    assert solution.value <= best
    assert upper_bound(problem, objective, values=[solution.value]).value >= best - 1e-12
    assert solution.upper_bound >= best - 1e-9
    again = solver.solve(problem, objective, seed=seed)
    assert again.selected.tolist() == solution.selected.tolist()
    if solver.deterministic:
        other = solver.solve(problem, objective, seed=seed + 1)
        assert other.selected.tolist() == solution.selected.tolist()


@pytest.mark.parametrize("solver", [s for s in SOLVER_INSTANCES if not s.deterministic], ids=lambda s: s.name)
def test_seeds_matter_to_solvers_that_say_so(solver, make_problem):
    problem = make_problem(rows=6, columns=6, budget=6)
    drawn = {tuple(solver.solve(problem, LogDet(), seed=seed).selected.tolist()) for seed in range(8)}
    assert len(drawn) > 4


@each_solver
@each_objective
@pytest.mark.parametrize("budget", [1, 12])
def test_extreme_budgets(solver, objective, budget, make_problem):
    problem = make_problem(budget=budget)
    if solver.supports(problem, objective) is None:
        solution = solver.solve(problem, objective)
        assert len(solution.selected) == budget
        assert upper_bound(problem, objective).value >= solution.value - 1e-9


def naive_greedy(problem, objective):
    selected: list[int] = []
    for _ in range(problem.budget):
        values = [
            -np.inf if token in selected else objective.value(problem, [*selected, token])
            for token in range(problem.tokens)
        ]
        selected.append(int(np.argmax(values)))
    return selected


@each_objective
@pytest.mark.parametrize("seed", range(5))
def test_greedy_equals_greedy_by_values(objective, seed, make_problem):
    problem = make_problem(rows=4, columns=6, budget=8, seed=seed)
    assert Greedy().solve(problem, objective).selected.tolist() == naive_greedy(problem, objective)


@pytest.mark.parametrize("seed", range(10))
def test_greedy_equals_greedy_by_values_among_duplicates(seed):
    """Integer similarities and repeated tokens: gains tie all the time, and exactly."""
    rng = np.random.default_rng(seed)
    features = rng.integers(-1, 2, size=(6, 4))[rng.integers(0, 6, 20)] + np.array([0, 0, 0, 2])
    problem = Problem.from_features(features, 7)
    assert Greedy().solve(problem, FacilityLocation()).selected.tolist() == naive_greedy(problem, FacilityLocation())


@pytest.mark.parametrize("objective", [LogDet(), LogDet("relevance"), LogDet(ridge=1.0)], ids=lambda o: o.name)
@pytest.mark.parametrize("seed", range(5))
def test_dpp_map_equals_greedy_log_det(objective, seed, make_problem):
    problem = make_problem(rows=6, columns=6, budget=12, seed=seed)
    by_map = DppMap().solve(problem, objective)
    by_greedy = Greedy().solve(problem, objective)
    assert by_map.selected.tolist() == by_greedy.selected.tolist()
    assert by_map.value == by_greedy.value


@each_objective
@pytest.mark.parametrize("solver", [Greedy(), DppMap(), TopK()], ids=lambda solver: solver.name)
def test_ties_go_to_the_lowest_index(objective, solver):
    evidence = {"cls": np.ones(9), "relevance": np.ones(9), "text": np.ones((2, 4))}
    problem = Problem.from_features(np.ones((9, 4)), 4, signals=evidence)
    assert solver.solve(problem, objective).selected.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("seed", range(12))
def test_exact_equals_brute_force(seed, make_problem):
    rng = np.random.default_rng(seed)
    budget = int(rng.integers(1, 7))
    problem = make_problem(rows=3, columns=5, budget=budget, seed=seed, dim=int(rng.integers(2, 9)))
    for objective in (FacilityLocation(), Saliency()):
        exact = Exact().solve(problem, objective)
        best = BruteForce().solve(problem, objective)
        assert exact.status is best.status is Status.OPTIMAL
        assert exact.value == pytest.approx(best.value, rel=1e-6)
        assert exact.upper_bound >= best.value - 1e-9


def test_exact_equals_brute_force_on_any_similarity():
    rng = np.random.default_rng(3)
    for _ in range(5):
        similarity = rng.normal(size=(12, 12)) * 100
        problem = Problem.from_similarity((similarity + similarity.T) / 2, 4)
        exact = Exact().solve(problem, FacilityLocation())
        assert exact.value == pytest.approx(BruteForce().solve(problem, FacilityLocation()).value, rel=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_greedy_keeps_its_guarantee(seed, make_problem):
    problem = make_problem(seed=seed, budget=4)
    best = BruteForce().solve(problem, FacilityLocation()).value
    assert Greedy().solve(problem, FacilityLocation()).value >= (1 - np.exp(-1)) * best
    best = BruteForce().solve(problem, MaxMin("chord")).value
    farthest_first = [
        min(chord(problem, a, b) for a, b in itertools.combinations(picks, 2))
        for picks in [Greedy().solve(problem, MaxMin("chord")).selected.tolist()]
    ]
    assert farthest_first[0] >= best / 2


def chord(problem, a, b):
    x = problem.features / np.linalg.norm(problem.features, axis=1, keepdims=True)
    return np.linalg.norm(x[a] - x[b])
