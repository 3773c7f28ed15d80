"""Lagrangian dual and linear programme of the facility-location family against independent oracles."""

from __future__ import annotations

import time

import numpy as np
import pytest
import scipy.sparse
from scipy.optimize import linprog

from solvers import (
    BruteForce,
    FacilityLocation,
    Greedy,
    MultimodalFacilityLocation,
    Problem,
    WeightedFacilityLocation,
    bounds,
)
from solvers.certificate import worths
from solvers.kernels.lagrangian import begin, descend, shortlists
from solvers.lagrangian_dual import service

FAMILY = [FacilityLocation(), WeightedFacilityLocation(), MultimodalFacilityLocation()]
named = pytest.mark.parametrize("objective", FAMILY, ids=lambda objective: objective.name)


def full_linear_programme(worth, budget):
    """max sum w_cj y_cj with y_cj <= x_j, sum_j y_cj <= 1, sum_j x_j = k: all of it, by scipy's HiGHS."""
    clients, n = worth.shape
    pairs = clients * n
    links = scipy.sparse.hstack([-scipy.sparse.vstack([scipy.sparse.eye(n)] * clients), scipy.sparse.eye(pairs)])
    once = scipy.sparse.hstack(
        [scipy.sparse.csr_matrix((clients, n)), scipy.sparse.kron(scipy.sparse.eye(clients), np.ones((1, n)))]
    )
    kept = np.concatenate([np.ones(n), np.zeros(pairs)])[None]
    answer = linprog(
        -np.concatenate([np.zeros(n), worth.ravel()]),
        A_ub=scipy.sparse.vstack([links, once]),
        b_ub=np.concatenate([np.zeros(pairs), np.ones(clients)]),
        A_eq=kept,
        b_eq=[budget],
        bounds=(0, 1),
    )
    assert answer.success
    return -answer.fun


@named
@pytest.mark.parametrize(("seed", "dim", "budget"), [(0, 3, 4), (1, 6, 9), (2, 2, 7), (3, 8, 1), (4, 8, 30)])
def test_linear_programme_equals_the_full_one(objective, seed, dim, budget, make_problem):
    problem = make_problem(rows=5, columns=6, budget=budget, seed=seed, dim=dim)
    expected = full_linear_programme(worths(problem, objective).astype(np.float64), budget)
    bound = bounds.linear_programme(problem, objective)
    assert bound.value == pytest.approx(expected, rel=3e-8)
    assert bound.value <= bounds.lagrangian(problem, objective).value
    assert bound.method == "linear programme"


def test_linear_programme_improves_on_a_dual_that_has_not_converged(monkeypatch, make_problem):
    """With one subgradient step instead of thousands, the cut rounds alone reach the value."""
    from solvers.exact import cut_rounds

    problem = make_problem(rows=6, columns=6, budget=7, dim=5)
    expected = bounds.linear_programme(problem, FacilityLocation()).value
    rough = bounds.lagrangian(problem, rounds=1, iterations=1)
    assert rough.value > expected * (1 + 1e-4)
    monkeypatch.setattr(cut_rounds, "lagrangian", lambda *arguments, **options: rough)
    proof = cut_rounds.linear_bound(problem, FacilityLocation())
    assert proof.value == pytest.approx(expected, rel=3e-8)
    assert proof.certificate().verify(problem)


def test_linear_programme_without_time_is_the_lagrangian_bound(make_problem):
    problem = make_problem(rows=6, columns=6, budget=7, dim=5)
    bound = bounds.linear_programme(problem, FacilityLocation(), deadline=time.perf_counter())
    assert Greedy().solve(problem, FacilityLocation()).value <= bound.value
    assert bound.value == bounds.lagrangian(problem, rounds=1).value


@named
@pytest.mark.parametrize("seed", range(6))
def test_the_dual_brackets_the_optimum(objective, seed, make_problem):
    for budget in (1, 2, 5, 12):
        problem = make_problem(seed=seed, budget=budget, dim=3)
        best = BruteForce().solve(problem, objective).value
        dual = bounds.lagrangian(problem, objective)
        assert dual.reached == objective.value(problem, dual.selected)
        assert dual.reached <= best <= dual.value
        assert dual.certificate().verify(problem)
        assert bounds.upper_bound(problem, objective, values=[best]) == (dual.value, "Lagrangian dual")


@named
def test_the_bound_is_no_larger_than_the_data_dependent_one(objective, make_problem):
    for seed in range(4):
        problem = make_problem(rows=5, columns=6, budget=5, seed=seed)
        assert bounds.lagrangian(problem, objective).value <= bounds.greedy_bound(problem, objective).value + 1e-12


@pytest.mark.parametrize("objective", FAMILY[1:], ids=lambda objective: objective.name)
def test_without_time_the_data_dependent_bound_still_counts(objective, monkeypatch, make_problem):
    problem = make_problem(rows=5, columns=6, budget=5)
    rough = bounds.lagrangian(problem, objective)
    rough = rough._replace(search=rough.search._replace(bound=1e9))
    monkeypatch.setattr(bounds, "lagrangian", lambda *arguments, **options: rough)
    assert bounds.upper_bound(problem, objective, time_limit=1e-9) == bounds.greedy_bound(problem, objective)


@named
def test_short_lists_prove_the_same_as_whole_rows(objective, make_problem):
    """Above the floor of a list nothing outside of it counts."""
    problem = make_problem(rows=6, columns=6, budget=6, dim=5)
    worth = service(problem, objective)
    middle = np.sort(worth.by_client, axis=1)[:, -8].copy()
    short = shortlists(worth.by_client, 12)
    searches = [
        descend(lists, 6, 0.0, 1, worth.grid, begin(middle, 36)) for lists in (short, shortlists(worth.by_client, 36))
    ]
    plain = np.maximum(worth.by_client - middle[:, None], 0.0).sum(axis=0, dtype=np.float64)
    for search in searches:
        np.testing.assert_array_equal(search.surplus, plain)
        assert search.bound == middle.astype(np.float64).sum() + np.sort(plain)[-6:].sum()
    assert (short.floor == np.sort(worth.by_client, axis=1)[:, -12]).all()


def test_lists_grow_where_a_multiplier_wants_below_them():
    """One outlying client cluster needs a multiplier far down its row: k = 1 serves all by one token."""
    rng = np.random.default_rng(0)
    problem = Problem.from_features(rng.normal(size=(120, 3)) + 0.2, 40)
    start = bounds.lagrangian(problem, rounds=1)
    cut = start._replace(lists=shortlists(service(problem, FacilityLocation()).by_client, 2))
    grown = bounds.lagrangian(problem, rounds=12, start=cut)
    assert int(grown.lists.start[1]) > 2
    assert grown.value <= cut.value
    assert grown.certificate().verify(problem)


@named
def test_degenerate_similarities(objective):
    """Duplicates, all tokens alike, negative similarity, one token, all tokens kept."""
    rng = np.random.default_rng(0)
    alike, copies = np.ones((7, 3)), rng.normal(size=(4, 3))[[0, 1, 1, 2, 2, 2, 3]]
    opposite = np.vstack([np.eye(3), -np.eye(3), [[1.0, 1.0, 1.0]]])
    for features in (alike, copies, opposite, np.ones((1, 3))):
        n = len(features)
        signals = {"relevance": np.zeros(n) if n == 1 else rng.random(n), "text": rng.normal(size=(2, 3))}
        for budget in {1, (n + 1) // 2, n}:
            problem = Problem.from_features(features, budget, signals=signals)
            dual = bounds.lagrangian(problem, objective)
            best = BruteForce().solve(problem, objective).value
            assert dual.reached <= best <= dual.value
            assert dual.certificate().verify(problem)
            assert bounds.linear_programme(problem, objective).value >= best


@pytest.mark.parametrize("scale", [1e-29, 1e29])
def test_the_dual_does_not_depend_on_the_scale(scale, make_problem):
    problem = make_problem(rows=5, columns=6, budget=5)
    scaled = Problem.from_similarity(problem.similarity * scale, 5)
    assert bounds.lagrangian(scaled).value / scale == pytest.approx(bounds.lagrangian(problem).value, rel=1e-6)


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_weights_of_any_scale(scale, make_problem):
    problem = make_problem(rows=5, columns=6, budget=5)
    weights = problem.signal("relevance").astype(np.float64)
    values = []
    for factor in (1.0, scale):
        weighted = Problem.from_features(problem.features, 5, signals={"relevance": weights * factor})
        dual = bounds.lagrangian(weighted, WeightedFacilityLocation())
        assert dual.certificate().verify(weighted)
        values.append(dual.value / factor)
    assert values[1] == pytest.approx(values[0], rel=1e-6)
