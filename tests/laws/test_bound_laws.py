"""Every bound is above the optimum found by exhaustive search, and tight where it is said to be."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest

from solvers import (
    BruteForce,
    CoveringRadius,
    FacilityLocation,
    GramLogDet,
    GraphCut,
    Greedy,
    LogDet,
    MaxMin,
    MaxSum,
    Mixture,
    MultimodalFacilityLocation,
    Problem,
    RelevanceMinusRedundancy,
    Saliency,
    SaturatedCoverage,
    WeightedFacilityLocation,
    bounds,
)
from solvers.certificate import worths
from solvers.exact.core import reduce

SEEDS = range(8)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("objective", [LogDet(), LogDet("relevance"), LogDet(ridge=2.0)], ids=lambda o: o.name)
@pytest.mark.parametrize("method", [bounds.spectral, bounds.hadamard, bounds.factorisation], ids=lambda m: m.__name__)
def test_log_det_bounds(method, objective, seed, make_problem):
    for budget in (1, 2, 5, 11, 12):
        problem = make_problem(seed=seed, budget=budget)
        assert method(problem, objective).value >= BruteForce().solve(problem, objective).value - 1e-9


def test_factorisation_bound_is_closer_than_the_others(make_problem):
    problem = make_problem(rows=6, columns=6, budget=9, dim=12)
    objective = LogDet()
    value = Greedy().solve(problem, objective).value
    others = min(bounds.spectral(problem, objective).value, bounds.hadamard(problem, objective).value)
    assert bounds.factorisation(problem, objective).value - value < 0.75 * (others - value)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("objective", [MaxMin(), MaxMin("chord")], ids=lambda o: o.name)
@pytest.mark.parametrize("method", [bounds.clique_cover, bounds.clustering], ids=lambda m: m.__name__)
def test_max_min_bounds(method, objective, seed, make_problem):
    for budget in (2, 3, 6, 12):
        problem = make_problem(seed=seed, budget=budget)
        assert method(problem, objective).value >= BruteForce().solve(problem, objective).value


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "objective", [FacilityLocation(), WeightedFacilityLocation(), MultimodalFacilityLocation()], ids=lambda o: o.name
)
def test_the_reduced_core_holds_every_good_selection(objective, seed, make_problem):
    problem = make_problem(seed=seed, budget=4, dim=3)
    dual = bounds.lagrangian(problem, objective, rounds=2)
    worth = worths(problem, objective)
    core = reduce(problem, dual)
    allowed = set(zip(core.client.tolist(), core.columns[core.server].tolist(), strict=True))
    for selected in combinations_of(problem):
        if objective.value(problem, selected) >= dual.reached:
            assert set(core.open) <= set(selected) <= set(core.columns.tolist())
            served = np.array(selected)[worth[:, list(selected)].argmax(axis=1)]
            assert {(c, int(j)) for c, j in enumerate(served) if worth[c, j] > 0} <= allowed


def combinations_of(problem):
    return itertools.combinations(range(problem.tokens), problem.budget)


@pytest.mark.parametrize("seed", SEEDS)
def test_data_dependent_bound_holds_at_every_prefix(seed, make_problem):
    problem = make_problem(seed=seed, budget=4)
    best = BruteForce().solve(problem, FacilityLocation()).value
    picks = Greedy().solve(problem, FacilityLocation()).selected.tolist()
    for size in range(5):
        assert bounds.data_dependent(problem, FacilityLocation(), picks[:size]).value >= best - 1e-9
    best = BruteForce().solve(problem, LogDet()).value
    assert bounds.data_dependent(problem, LogDet()).value >= best - 1e-9


def test_data_dependent_bound_refuses_objectives_it_is_wrong_for(make_problem):
    with pytest.raises(ValueError, match="needs a monotone submodular objective"):
        bounds.data_dependent(make_problem(), MaxMin())
    with pytest.raises(ValueError, match="needs a monotone submodular objective"):
        bounds.data_dependent(make_problem(), LogDet(), [0])


FURTHER = {
    WeightedFacilityLocation(): "Lagrangian dual",
    MultimodalFacilityLocation(): "Lagrangian dual",
    SaturatedCoverage(): "data-dependent",
    GraphCut(): "best partners",
    GraphCut(2.0): "best partners",
    GramLogDet(): "factorisation",
    MaxSum("chord"): "best partners",
    CoveringRadius(): "packing",
    RelevanceMinusRedundancy("relevance"): "best partners",
    Mixture((MaxSum(), LogDet()), (1.0, 0.5)): "sum of parts",
    Mixture(): "sum of parts",
}


@pytest.mark.parametrize(("objective", "method"), FURTHER.items(), ids=lambda item: getattr(item, "name", item))
def test_bounds_of_further_objectives(objective, method, make_problem):
    """Above the optimum at every budget, attained where everything is kept, and with a method that says which."""
    methods = set()
    for budget in (1, 2, 5, 11, 12):
        for seed in range(4):
            problem = make_problem(seed=seed, budget=budget)
            best = BruteForce().solve(problem, objective).value
            bound = bounds.upper_bound(problem, objective, values=[best])
            assert bound.value >= best - 1e-12
            assert np.isfinite(bound.value)
            methods.add(bound.method)
        if budget == 12:
            assert bound.value == pytest.approx(best, rel=1e-6)
    assert method in methods


def test_mixtures_of_unbounded_parts_have_no_bound(make_problem):
    class Bare(MaxMin):
        """A subclass: proofs about its parent are none about it."""

    bound = bounds.upper_bound(make_problem(), Mixture((Bare(), FacilityLocation())))
    assert bound == (np.inf, "none")


@pytest.mark.parametrize("seed", SEEDS)
def test_greedy_prefixes_tighten_the_data_dependent_bound(seed, make_problem):
    problem = make_problem(rows=4, columns=6, budget=6, seed=seed)
    objective = SaturatedCoverage(0.2)
    picks = Greedy().solve(problem, objective).selected.tolist()
    every = [bounds.data_dependent(problem, objective, picks[:size]).value for size in range(7)]
    assert bounds.greedy_bound(problem, objective).value == pytest.approx(min(every))
    assert min(every) < every[0]


def test_upper_bound_names_its_method(make_problem):
    problem = make_problem()
    assert bounds.upper_bound(problem, FacilityLocation()).method == "Lagrangian dual"
    assert bounds.upper_bound(problem, Saliency()) == (Greedy().solve(problem, Saliency()).value, "k largest")
    assert bounds.upper_bound(problem, LogDet()).method in ("factorisation", "spectral", "Hadamard")
    assert bounds.upper_bound(problem, MaxMin()).method in ("clique cover", "clustering")
    assert bounds.upper_bound(problem.with_budget(1), MaxMin()).method == "largest isolation"


def test_upper_bound_exposes_impossible_values_and_undefined_objectives(make_problem):
    problem = make_problem()
    with pytest.raises(RuntimeError, match="is below the value"):
        bounds.upper_bound(problem, FacilityLocation(), values=[1e6])
    with pytest.raises(ValueError, match="did you mean 'cls'"):
        bounds.upper_bound(problem, Saliency("clss"))


def test_compiling_is_not_part_of_the_time_limit(make_problem, monkeypatch):
    problem = make_problem(rows=6, columns=10, budget=12)
    unlimited = bounds.upper_bound(problem, FacilityLocation())
    monkeypatch.setattr(bounds, "warm_up", lambda: time.sleep(1.0))
    assert bounds.upper_bound(problem, FacilityLocation(), time_limit=0.9) == unlimited


def test_bounds_at_size_576():
    """Clustered features at the size of one image: facility location within 0.1 %, the others finite and above."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(24, 64))[rng.integers(0, 24, 576)] + 0.8 * rng.normal(size=(576, 64)) + 1.0
    problem = Problem.from_features(features, 64)
    dual = bounds.lagrangian(problem)
    assert dual.value <= dual.reached * 1.001
    for objective in (LogDet(), MaxMin()):
        value = Greedy().solve(problem, objective).value
        assert value <= bounds.upper_bound(problem, objective, values=[value], time_limit=1.0).value < np.inf
