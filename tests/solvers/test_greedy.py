"""Lazy, sampled and threshold greedy: the picks and guarantees they share with exact greedy."""

from __future__ import annotations

import math

import numpy as np
import pytest

from solvers import (
    BruteForce,
    FacilityLocation,
    Greedy,
    LazyGreedy,
    LogDet,
    MaxMin,
    Problem,
    Saliency,
    StochasticGreedy,
    ThresholdGreedy,
)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    "objective", [FacilityLocation(), LogDet(), LogDet("relevance"), Saliency()], ids=lambda o: o.name
)
def test_lazy_greedy_picks_what_greedy_picks_from_fewer_values(objective, seed, make_problem):
    problem = make_problem(rows=6, columns=8, budget=12, seed=seed)
    lazy, exact = LazyGreedy().solve(problem, objective), Greedy().solve(problem, objective)
    assert lazy.selected.tolist() == exact.selected.tolist()
    assert problem.tokens < lazy.evaluations < exact.evaluations


@pytest.mark.parametrize("seed", range(10))
def test_lazy_greedy_breaks_ties_as_greedy_does(seed):
    rng = np.random.default_rng(seed)
    features = rng.integers(-1, 2, size=(6, 4))[rng.integers(0, 6, 20)] + np.array([0, 0, 0, 2])
    problem = Problem.from_features(features, 9)
    picks = [solver.solve(problem, FacilityLocation()).selected.tolist() for solver in (LazyGreedy(), Greedy())]
    assert picks[0] == picks[1]


@pytest.mark.parametrize("solver", [LazyGreedy(), ThresholdGreedy()], ids=lambda solver: solver.name)
def test_what_needs_diminishing_returns_refuses_objectives_without_them(solver, make_problem):
    with pytest.raises(ValueError, match=f"{solver.name} needs a submodular objective, got MaxMin; .* only then"):
        solver.solve(make_problem(), MaxMin())


@pytest.mark.parametrize("seed", range(5))
def test_a_sample_of_everything_is_greedy(seed, make_problem):
    problem = make_problem(rows=5, columns=5, budget=6, seed=seed)
    for objective in (FacilityLocation(), LogDet(), MaxMin()):
        sampled = StochasticGreedy(epsilon=1e-9).solve(problem, objective, seed=seed)
        assert sampled.selected.tolist() == Greedy().solve(problem, objective).selected.tolist()


def test_samples_have_the_size_of_the_paper(make_problem):
    problem = make_problem(rows=10, columns=10, budget=5)
    solution = StochasticGreedy(epsilon=0.3).solve(problem, FacilityLocation())
    assert solution.evaluations == 5 * math.ceil(100 / 5 * math.log(1 / 0.3))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("epsilon", [0.05, 0.5])
def test_guarantees_hold(epsilon, seed, make_problem):
    problem, objective = make_problem(seed=seed, budget=4), FacilityLocation()
    least = (1 - math.exp(-1) - epsilon) * BruteForce().solve(problem, objective).value
    assert ThresholdGreedy(epsilon).solve(problem, objective).value >= least
    values = [StochasticGreedy(epsilon).solve(problem, objective, seed=draw).value for draw in range(20)]
    assert np.mean(values) >= least


@pytest.mark.parametrize("seed", range(5))
def test_each_token_of_threshold_greedy_had_nearly_the_largest_gain(seed, make_problem):
    problem, objective = make_problem(rows=6, columns=6, budget=10, seed=seed), FacilityLocation()
    state = objective.start(problem)
    for token in ThresholdGreedy(0.1).solve(problem, objective).selected.tolist():
        assert objective.gains(state)[token] >= 0.9 * objective.gains(state).max() - 1e-9
        state = objective.add(state, token)


def test_threshold_greedy_fills_up_where_no_gain_is_positive(make_problem):
    problem = make_problem(rows=4, columns=4, budget=6)
    selected = ThresholdGreedy().solve(problem, LogDet(ridge=1e-9)).selected.tolist()
    assert len(set(selected)) == 6
    zero = Problem.from_similarity(np.zeros((5, 5)), 3)
    assert ThresholdGreedy().solve(zero, FacilityLocation()).selected.tolist() == [0, 1, 2]


@pytest.mark.parametrize("epsilon", [0.0, 1.0, -0.1, math.nan])
@pytest.mark.parametrize("solver", [StochasticGreedy, ThresholdGreedy])
def test_epsilon_is_checked(solver, epsilon):
    with pytest.raises(ValueError, match=r"`epsilon` must be in \(0, 1\), got"):
        solver(epsilon)
