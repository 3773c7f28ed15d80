"""Exact saliency under every constraint, against exhaustive search."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvers import BruteForce, Cardinality, Conflict, Exact, Forced, Partition, Problem, Saliency, Status, WholeRows
from solvers.bounds import upper_bound
from solvers.conflict_bounds import clique_maxima
from solvers.exact import independent_set
from solvers.exact.matroid_saliency import best_tokens

MATROIDS = [
    Cardinality(),
    Partition(1),
    Partition((2, 1, 3), by="rows"),
    Partition(2, by="columns"),
    Partition((3, 2), by="groups"),
    Forced(kept=(3, 11), dropped=(0, 5)),
    Forced(kept=(4,), dropped=(1, 2), within=Partition(1, by="columns")),
    WholeRows(),
]


def instance(constraint, budget, seed, *, levels=None):
    """Twelve tokens; a few `levels` of the signal make ties."""
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=12) if levels is None else rng.integers(0, levels, 12).astype(np.float64)
    features = rng.normal(size=(12, 3)) + 0.3
    groups = np.arange(12) % 2
    return Problem.from_features(
        features, budget, signals={"cls": signal}, grid=(3, 4), groups=groups, constraint=constraint
    )


@pytest.mark.parametrize("constraint", MATROIDS, ids=repr)
@pytest.mark.parametrize("levels", [None, 2])
@pytest.mark.parametrize("seed", range(3))
def test_a_sort_finds_what_exhaustive_search_finds(constraint, levels, seed):
    budget = 3 if constraint == Partition(1) else 4
    problem = instance(constraint, budget, seed, levels=levels)
    exact, best = Exact().solve(problem, Saliency(), time_limit=1e-9), BruteForce().solve(problem, Saliency())
    assert exact.status is Status.OPTIMAL
    assert exact.value == exact.upper_bound == pytest.approx(best.value, rel=1e-14, abs=1e-14)
    assert upper_bound(problem, Saliency()).value == exact.value


def test_whole_rows_keep_the_best_rows_not_the_best_tokens():
    signal = [9.0, 0.0, 0.0, 0.0, 3.0, 3.0, 2.0, 2.0]
    problem = Problem.from_features(np.eye(8), 4, signals={"cls": signal}, grid=(2, 4), constraint=WholeRows())
    solution = Exact().solve(problem, Saliency())
    assert (solution.selected.tolist(), solution.value) == ([4, 5, 6, 7], 10.0)


def test_a_sort_does_not_decide_conflicts():
    problem = instance(Conflict(0.9), 3, 0)
    with pytest.raises(TypeError, match=r"a sort does not decide under Conflict\(threshold=0.9\)"):
        best_tokens(problem, Saliency())


def conflicting(seed, threshold, budget, *, levels=None):
    """Problem and its optimum by exhaustive search, or None where no selection is allowed."""
    try:
        problem = instance(Conflict(threshold), budget, seed, levels=levels)
        return problem, BruteForce().solve(problem, Saliency()).value
    except ValueError:  # refused at once, or no selection found
        return None


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.floats(-0.5, 0.99), st.integers(1, 6), st.sampled_from([None, 1, 2, 4]))
def test_conflicts_equal_exhaustive_search(seed, threshold, budget, levels):
    found = conflicting(seed, threshold, budget, levels=levels)
    if found is None:
        return
    problem, best = found
    exact = Exact().solve(problem, Saliency())
    assert exact.status is Status.OPTIMAL
    assert best - 1e-8 <= exact.value <= best + 1e-12
    assert best <= exact.upper_bound + 1e-12
    assert exact.upper_bound <= exact.value + 1e-7
    bound = clique_maxima(problem, Saliency()).value
    assert best - 1e-12 <= bound <= math.fsum(np.sort(problem.signal("cls"))[-budget:]) + 1e-12
    assert upper_bound(problem, Saliency(), values=[best]).value <= bound


def test_a_clique_counts_once():
    features = np.repeat(np.eye(3), 3, axis=0)
    signal = [9.0, 8.0, 7.0, 3.0, 2.0, 1.0, 0.5, 0.4, 0.3]
    problem = Problem.from_features(features, 3, signals={"cls": signal}, constraint=Conflict(0.5))
    assert clique_maxima(problem, Saliency()) == (12.5, "clique maxima")
    assert upper_bound(problem, Saliency()) == (12.5, "clique maxima")
    solution = Exact().solve(problem, Saliency())
    assert sorted(solution.selected.tolist()) == [0, 3, 6]
    assert (solution.value, solution.upper_bound, solution.status) == (12.5, 12.5, Status.OPTIMAL)
    free = Problem.from_features(features, 3, signals={"cls": signal})
    assert clique_maxima(free, Saliency()) == (math.inf, "none")


def ring(n, budget, scale=1.0):
    """Every token conflicts with its two neighbours only; the greedy choice of 0 costs both."""
    similarity = np.eye(n)
    for token in range(n):
        similarity[token, (token + 1) % n] = similarity[(token + 1) % n, token] = 0.8
    signal = scale * np.where(np.arange(n) % 2, 1.0, 0.9)
    signal[0] = 1.05 * scale
    return Problem.from_similarity(similarity, budget, signals={"cls": signal}, constraint=Conflict(0.5))


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_greedy_is_beaten_at_every_scale_and_the_bound_is_sound(scale):
    problem = ring(20, 10, scale)
    solution = Exact().solve(problem, Saliency())
    assert solution.status is Status.OPTIMAL
    assert solution.selected.tolist() == list(range(1, 20, 2))
    assert solution.value <= solution.upper_bound <= solution.value * (1 + 1e-8)


def test_a_proven_infeasible_problem_is_refused():
    """Five tokens in a ring hold two without a conflict; the three groups of the cheap check do not show it."""
    problem = ring(5, 2).with_budget(2)
    assert Exact().solve(problem, Saliency()).status is Status.OPTIMAL
    infeasible = ring(5, 3)
    with pytest.raises(ValueError, match=r"no selection of 3 tokens of .* keeps Conflict\(threshold=0.5\) \(proven\)"):
        Exact().solve(infeasible, Saliency())


def test_a_tiny_limit_keeps_the_selection_and_a_sound_bound():
    problem = ring(20, 8)
    best = Exact().solve(problem, Saliency()).value
    rushed = Exact().solve(problem, Saliency(), time_limit=1e-9)
    assert rushed.status in (Status.TIME_LIMIT, Status.OPTIMAL)
    assert rushed.value <= best <= rushed.upper_bound


def test_levels_are_never_below_the_signal():
    values = np.random.default_rng(0).normal(size=50) * np.geomspace(1e-20, 1e20, 50)
    levels, lowest, unit = independent_set._levels(values)
    assert all(lowest + unit * level >= value for level, value in zip(levels, values.tolist(), strict=True))
    assert all(lowest + unit * (level - 1) < value for level, value in zip(levels, values.tolist(), strict=True))
    assert max(levels) <= independent_set.LEVELS
    assert independent_set._levels(np.ones(3)) == ([0, 0, 0], 1, 1)


def test_one_token_and_all_tokens():
    problem = Problem.from_features(np.eye(5), 1, signals={"cls": [1.0, 5.0, 2.0, 5.0, 0.0]}, constraint=Conflict(0.5))
    assert Exact().solve(problem, Saliency()).selected.tolist() == [1]
    assert Exact().solve(problem.with_budget(5), Saliency()).value == 13.0
