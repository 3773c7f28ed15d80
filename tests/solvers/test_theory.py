"""Curvature and submodularity ratio by their definitions, and every promised factor against exhaustive search."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from solvers import (
    BruteForce,
    Cardinality,
    DppMap,
    Exact,
    FacilityLocation,
    FarthestFirst,
    Greedy,
    LazyGreedy,
    LocalSearch,
    LogDet,
    MaxMin,
    MaxSum,
    Partition,
    Problem,
    Random,
    Saliency,
    StochasticGreedy,
    ThresholdGreedy,
    TopK,
    theory,
)

SOLVERS = [
    Greedy(),
    LazyGreedy(),
    StochasticGreedy(),
    ThresholdGreedy(0.05),
    LocalSearch(),
    LocalSearch(Random()),
    LocalSearch(FarthestFirst()),
    FarthestFirst(),
    FarthestFirst(3),
    DppMap(),
    TopK(),
    Random(),
    Exact(),
    BruteForce(),
]
OBJECTIVES = [Saliency(), FacilityLocation(), LogDet(), LogDet(ridge=1.0), MaxMin(), MaxMin("chord"), MaxSum()]


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda objective: objective.name)
@pytest.mark.parametrize("solver", SOLVERS, ids=lambda solver: solver.name)
def test_promises_are_kept(solver, objective, make_problem):
    for seed, budget in itertools.product(range(4), (1, 2, 5)):
        problem = make_problem(seed=seed, budget=budget)
        if solver.supports(problem, objective) is not None:
            continue
        promise = theory.guarantee(objective, Cardinality(), solver, problem)
        assert 0 <= promise.factor <= 1
        if promise:
            draws = 20 if promise.expected else 1
            values = [solver.solve(problem, objective, seed=draw).value for draw in range(draws)]
            assert np.mean(values) >= promise.factor * BruteForce().solve(problem, objective).value - 1e-6


@pytest.mark.parametrize("seed", range(4))
def test_greedy_over_a_partition_keeps_its_promise(seed, make_problem):
    plain = make_problem(seed=seed, budget=3)
    problem = Problem.from_features(
        plain.features, 3, signals={"cls": plain.signals["cls"]}, grid=(3, 4), constraint=Partition(1)
    )
    for objective, factor in ((FacilityLocation(), 0.5), (Saliency(), 1.0)):
        promise = theory.guarantee(objective, Partition(1), Greedy(), problem)
        assert promise.factor == factor
        best = BruteForce().solve(problem, objective).value
        assert Greedy().solve(problem, objective).value >= factor * best - 1e-12
    assert "cannot keep the constraint" in theory.guarantee(objective, Partition(1), LazyGreedy()).theorem


def test_factors_without_a_problem():
    def factor(objective, solver):
        return theory.guarantee(objective, Cardinality(), solver).factor

    assert factor(FacilityLocation(), Greedy()) == 1 - math.exp(-1)
    assert factor(FacilityLocation(), ThresholdGreedy(0.1)) == pytest.approx(1 - math.exp(-1) - 0.1)
    assert factor(FacilityLocation(), LocalSearch(Random())) == 0.5
    assert factor(FacilityLocation(), LocalSearch()) == 1 - math.exp(-1)
    assert factor(FacilityLocation(), TopK()) == 0
    assert factor(Saliency(), TopK()) == factor(Saliency(), Greedy()) == 1
    assert factor(Saliency(), TopK("relevance")) == 0
    assert (factor(MaxMin(), FarthestFirst()), factor(MaxMin("chord"), FarthestFirst())) == (0.25, 0.5)


def test_log_det_has_no_promise_unless_it_is_monotone_here(make_problem):
    problem = make_problem(budget=4)
    for solver in (Greedy(), LazyGreedy(), DppMap(), StochasticGreedy()):
        refused = theory.guarantee(LogDet(), Cardinality(), solver, problem)
        assert not refused
        assert refused.theorem == "The factor 1 - 1/e needs a monotone function; LogDet is not."
        assert [item.holds for item in refused.assumptions if item.text == "monotone"] == [False]
        assert not theory.guarantee(LogDet(), Cardinality(), solver)
    # Eigenvalues of at least one: every token adds volume.
    assert theory.guarantee(LogDet(ridge=1.0), Cardinality(), Greedy(), problem).factor > 1 - math.exp(-1)
    assert theory.is_monotone(problem, LogDet(ridge=1.0))
    assert not theory.is_monotone(problem, LogDet())


def test_a_quarter_is_all_that_half_the_chord_leaves():
    """On a circle 1 - cos of farthest-first comes close to a quarter of the optimum: half the chord, squared."""
    angles = np.array([0.0, 1.0, -1.0]) * 1e-2
    problem = Problem.from_features(np.column_stack([np.cos(angles), np.sin(angles)]), 2)
    near = FarthestFirst(0).solve(problem, MaxMin()).value / BruteForce().solve(problem, MaxMin()).value
    assert 0.25 <= near < 0.2501


def test_a_similarity_that_is_no_gram_matrix_has_no_metric():
    distances = np.array([[0.0, 1.0, 9.0], [1.0, 0.0, 1.0], [9.0, 1.0, 0.0]])
    problem = Problem.from_similarity(-distances, 2)
    assert not theory.guarantee(MaxMin(), Cardinality(), FarthestFirst(), problem)
    assert theory.guarantee(MaxMin(), Cardinality(), FarthestFirst(), Problem.from_similarity(np.eye(3), 2))


@pytest.mark.parametrize("objective", [FacilityLocation(), Saliency(), LogDet(ridge=1.0)], ids=lambda o: o.name)
@pytest.mark.parametrize("seed", range(4))
def test_curvatures_follow_their_definitions(objective, seed, make_problem):
    problem = make_problem(seed=seed, budget=5)
    n = problem.tokens
    full = objective.value(problem, range(n))
    last = [full - objective.value(problem, [i for i in range(n) if i != j]) for j in range(n)]
    single = [objective.value(problem, [j]) for j in range(n)]
    assert theory.last_gains(problem, objective) == pytest.approx(last, abs=1e-9)
    total = 1 - min(a / b for a, b in zip(last, single, strict=True))
    assert theory.total_curvature(problem, objective) == pytest.approx(max(total, 0), abs=1e-9)
    picks, worst = Greedy().solve(problem, objective).selected.tolist(), 0.0
    for size in range(1, 5):
        value = objective.value(problem, picks[:size])
        for j in set(range(n)) - set(picks[:size]):
            worst = max(worst, 1 - (objective.value(problem, [*picks[:size], j]) - value) / single[j])
    assert theory.greedy_curvature(problem, objective) == pytest.approx(worst, abs=1e-9)
    assert worst <= total + 1e-9


def test_curvature_at_its_ends():
    assert theory.total_curvature(Problem.from_similarity(np.eye(4), 2), FacilityLocation()) == 0
    assert theory.total_curvature(Problem.from_similarity(np.ones((4, 4)), 2), FacilityLocation()) == 1
    assert theory.total_curvature(Problem.from_similarity(np.zeros((4, 4)), 2), FacilityLocation()) == 0
    assert theory.total_curvature(Problem.from_similarity(np.eye(1), 1), FacilityLocation()) == 0


@pytest.mark.parametrize("seed", range(3))
def test_submodularity_ratio_follows_its_definition(seed, make_problem):
    problem = make_problem(rows=2, columns=3, budget=3, seed=seed)
    assert theory.submodularity_ratio(problem, FacilityLocation()) == 1.0
    objective = MaxSum()
    worst = 1.0
    for size in range(4):
        for base in itertools.combinations(range(6), size):
            value = objective.value(problem, base)
            for more in range(1, 4):
                for added in itertools.combinations(set(range(6)) - set(base), more):
                    joint = objective.value(problem, [*base, *added]) - value
                    alone = sum(objective.value(problem, [*base, j]) - value for j in added)
                    if joint > 1e-9:
                        worst = min(worst, alone / joint)
    assert theory.submodularity_ratio(problem, objective) == pytest.approx(worst, abs=1e-9)
    assert worst < 1


def test_reasons(make_problem):
    problem = make_problem(rows=4, columns=4)
    with pytest.raises(ValueError, match="tokens must be at most 12, got 16"):
        theory.submodularity_ratio(problem, FacilityLocation())
    with pytest.raises(ValueError, match="needs a monotone objective, got LogDet"):
        theory.submodularity_ratio(make_problem(), LogDet())
    with pytest.raises(ValueError, match="curvature is defined for monotone objectives only; LogDet is not on"):
        theory.total_curvature(problem, LogDet())
    with pytest.raises(ValueError, match="curvature is defined for submodular objectives only, got MaxMin"):
        theory.greedy_curvature(problem, MaxMin())


def test_summary_names_what_is_needed(make_problem):
    text = theory.guarantee(FacilityLocation(), Cardinality(), StochasticGreedy()).summary()
    assert text.startswith("at least 0.5321 of the optimum in expectation. 1 - 1/e - epsilon (Mirzasoleiman")
    assert "submodular: holds; worth 0 without tokens: to be checked; monotone: holds." in text
    assert "monotone: fails" in theory.guarantee(LogDet(), Cardinality(), Greedy(), make_problem()).summary()
