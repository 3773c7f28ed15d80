"""DPP solvers: the sampler's distribution, stability, and which kernel they use."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from solvers import DppMap, FacilityLocation, KDpp, LogDet, Problem
from solvers.kernels.determinant import log_elementary_symmetric


def test_elementary_symmetric_polynomials():
    values = np.random.default_rng(0).random(7) + 0.1
    table = log_elementary_symmetric(np.log(values), 4)
    for m, size in itertools.product(range(8), range(5)):
        direct = sum(np.prod(chosen) for chosen in itertools.combinations(values[:m], size))
        assert np.exp(table[m, size]) == pytest.approx(direct)


def test_samples_follow_the_determinants(make_problem):
    problem = make_problem(rows=2, columns=3, budget=2, dim=3, seed=1)
    kernel = LogDet().kernel(problem)
    sets = list(itertools.combinations(range(6), 2))
    weights = np.array([np.linalg.det(kernel[np.ix_(s, s)]) for s in sets])
    draws = 3000
    counts = dict.fromkeys(sets, 0)
    for seed in range(draws):
        counts[tuple(sorted(KDpp().solve(problem, LogDet(), seed=seed).selected.tolist()))] += 1
    expected = draws * weights / weights.sum()
    seen = expected > 5
    chi_square = (((np.array(list(counts.values())) - expected) ** 2) / expected)[seen].sum()
    # 99.9 % quantile of chi-square with 14 degrees of freedom is 36.1; uniform sampling gives several hundred.
    assert chi_square < 36.1
    assert (((draws / 15 - expected) ** 2) / expected)[seen].sum() > 200


def test_more_tokens_than_rank_is_no_numerical_problem():
    features = np.random.default_rng(0).normal(size=(150, 8))
    problem = Problem.from_features(np.concatenate([features, features]), 64)
    for solver in (DppMap(), KDpp()):
        solution = solver.solve(problem, LogDet())
        assert np.isfinite(solution.value)
        assert len(set(solution.selected.tolist())) == 64


def test_the_kernel_is_given_or_the_objective_or_the_default(make_problem):
    problem = make_problem(rows=5, columns=5, budget=6, seed=2)
    quality = LogDet("relevance")
    by_objective = DppMap().solve(problem, quality).selected.tolist()
    assert DppMap(quality).solve(problem, FacilityLocation()).selected.tolist() == by_objective
    assert DppMap(LogDet()).solve(problem, quality).selected.tolist() != by_objective
    assert (
        DppMap().solve(problem, FacilityLocation()).selected.tolist()
        == DppMap().solve(problem, LogDet()).selected.tolist()
    )
    assert "unknown signal 'quality'" in KDpp(LogDet("quality")).supports(problem, FacilityLocation())


def test_log_det_needs_a_positive_definite_kernel():
    indefinite = Problem.from_similarity([[1.0, 2.0], [2.0, 1.0]], 1)
    assert "must be positive semidefinite" in DppMap().supports(indefinite, LogDet())
    assert LogDet(ridge=1.5).supports(indefinite) is None
    with pytest.raises(ValueError, match="`ridge` must be finite and at least 1e-9, got 0"):
        LogDet(ridge=0.0)
