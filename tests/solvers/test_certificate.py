"""A certificate proves what it says, for any multipliers, and nothing else."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from solvers import (
    Certificate,
    Exact,
    FacilityLocation,
    Forced,
    Greedy,
    MultimodalFacilityLocation,
    Problem,
    WeightedFacilityLocation,
    bounds,
)
from solvers.certificate import worths

FAMILY = (FacilityLocation(), WeightedFacilityLocation(), MultimodalFacilityLocation())


def small_problem(seed, n, budget):
    rng = np.random.default_rng(seed)
    signals = {"relevance": rng.random(n) * (rng.random(n) > 0.3), "text": rng.normal(size=(3, 4))}
    return Problem.from_features(rng.normal(size=(n, 4)), budget, signals=signals)


@pytest.mark.parametrize("objective", FAMILY, ids=lambda objective: objective.name)
@given(data=st.data(), seed=st.integers(0, 50), n=st.integers(1, 8))
def test_any_multipliers_prove_a_bound(objective, data, seed, n):
    """The tightest claim that some multipliers let pass is never below the optimum by brute force."""
    budget = data.draw(st.integers(1, n))
    problem = small_problem(seed, n, budget)
    worth = worths(problem, objective).astype(np.float64)
    number = st.floats(-2.0, 2.0) | st.sampled_from([0.0, -1e6, 1e6])
    multipliers = np.array(data.draw(st.lists(number, min_size=len(worth), max_size=len(worth))))
    every = list(itertools.combinations(range(n), budget))
    values = [worth[:, kept].max(axis=1).sum() for kept in every]
    best = int(np.argmax(values))
    claim = Certificate(objective, values[best] * (1 - 1e-6) - 1e-6, multipliers, np.array(every[best]), values[best])
    assert not claim.verify(problem)


@pytest.mark.parametrize("objective", FAMILY, ids=lambda objective: objective.name)
def test_tampering_is_noticed(objective):
    problem = small_problem(1, 30, 5)
    proof = Exact().solve(problem, objective).certificate
    assert proof.verify(problem)
    other = int(np.setdiff1d(np.arange(30), proof.selected)[0])
    rest = proof.selected[1:]
    multipliers = proof.multipliers.copy()
    multipliers[0] += 1.01 * proof.bound  # a small step may lead to multipliers that prove the bound as well
    forged = {
        "bound": replace(proof, bound=proof.bound * (1 - 1e-6)),
        "bound that is no number": replace(proof, bound=np.nan),
        "value": replace(proof, value=proof.value * (1 + 1e-6)),
        "smaller value": replace(proof, value=proof.value * (1 - 1e-6)),
        "value that is no number": replace(proof, value=np.nan),
        "multiplier": replace(proof, multipliers=multipliers),
        "no multipliers": replace(proof, multipliers=np.zeros_like(multipliers)),
        "too few multipliers": replace(proof, multipliers=multipliers[1:]),
        "multipliers that are no numbers": replace(proof, multipliers=np.full_like(multipliers, np.nan)),
        "another token": replace(proof, selected=np.append(rest, other)),
        "repeated token": replace(proof, selected=np.append(rest, rest[0])),
        "token out of range": replace(proof, selected=np.append(rest, 30)),
        "too few tokens": replace(proof, selected=rest),
        "objective": replace(proof, objective=FAMILY[FAMILY.index(objective) - 1]),
    }
    assert [name for name, claim in forged.items() if claim.verify(problem)] == []
    assert not proof.verify(problem.with_budget(6))
    assert not proof.verify(small_problem(2, 30, 5))
    assert not proof.verify(small_problem(1, 29, 5))


def test_objectives_that_are_undefined_on_the_problem_certify_nothing():
    problem = small_problem(1, 30, 5)
    proof = Exact().solve(problem, WeightedFacilityLocation()).certificate
    assert not proof.verify(Problem.from_features(problem.features, 5))


def test_a_true_claim_passes_without_being_tight():
    problem = small_problem(3, 12, 4)
    selected = Greedy().solve(problem, FacilityLocation()).selected
    value = FacilityLocation().value(problem, selected)
    assert Certificate(FacilityLocation(), 1e9, np.zeros(12), selected, value).verify(problem)


def test_a_certificate_bounds_every_set_whatever_the_constraint():
    free = small_problem(4, 20, 4)
    problem = Problem.from_features(free.features, 4, constraint=Forced(kept=(0,)))
    proof = bounds.lagrangian(problem).certificate()
    assert proof.verify(problem)
    assert proof.bound == bounds.lagrangian(free).value


def test_a_certificate_keeps_its_own_arrays():
    multipliers = np.zeros(3)
    proof = Certificate(FacilityLocation(), 1.0, multipliers, [0], 1.0)
    multipliers[0] = 7.0
    assert proof.multipliers[0] == 0.0
    with pytest.raises(ValueError, match="read-only"):
        proof.multipliers[0] = 1.0
