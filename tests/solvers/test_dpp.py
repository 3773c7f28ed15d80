"""DPP solvers: the sampler's distribution, stability, and which kernel they use."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from solvers import DppMap, FacilityLocation, Greedy, KDpp, LogDet, Problem
from solvers.bounds import upper_bound
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


def test_an_indefinite_similarity_saved_by_the_ridge():
    """Conditional variances go below the ridge there: gains stay differences of values and the spectrum is true."""
    rng = np.random.default_rng(1)
    similarity = rng.normal(size=(7, 7))
    similarity = (similarity + similarity.T) / 2
    problem = Problem.from_similarity(similarity, 4)
    lowest = np.linalg.eigvalsh(similarity)[0]
    assert "must be positive semidefinite" in LogDet(ridge=-lowest - 0.05).supports(problem)
    objective = LogDet(ridge=-lowest + 0.05)
    state, selected = objective.start(problem), []
    for token in (2, 5, 1, 6):
        for other in set(range(7)) - set(selected):
            step = objective.value(problem, [*selected, other]) - objective.value(problem, selected)
            assert objective.gains(state)[other] == pytest.approx(step, abs=1e-9)
        state = objective.add(state, token)
        selected.append(token)
    log_values, _ = KDpp()._spectrum(problem, objective)
    np.testing.assert_allclose(np.exp(log_values), np.linalg.eigvalsh(objective.kernel(problem)), rtol=1e-9)


def test_dot_products_too_large_for_the_ridge_are_refused():
    features = 1e4 * np.random.default_rng(0).normal(size=(20, 4))
    problem = Problem.from_features(np.concatenate([features, features]), 10, metric="dot")
    assert "must be positive semidefinite (up to ridge 1e-09)" in LogDet(ridge=1e-9).supports(problem)
    assert np.isfinite(DppMap().solve(problem, LogDet(ridge=1.0)).value)


@pytest.mark.parametrize("decades", [3, 8, 20, 100])
@pytest.mark.parametrize("budget", [1, 5, 39, 40])
def test_qualities_over_many_decades(decades, budget):
    features = np.random.default_rng(0).normal(size=(40, 6))
    problem = Problem.from_features(features, budget, signals={"q": np.geomspace(10.0**-decades, 1.0, 40)})
    objective = LogDet("q")
    values = [solver.solve(problem, objective).value for solver in (Greedy(), DppMap(), KDpp())]
    assert values[0] == values[1] >= values[2]
    assert upper_bound(problem, objective, values=values).value < np.inf


def test_qualities_whose_squares_vanish_are_refused():
    problem = Problem.from_features(np.eye(3), 2, signals={"q": [1e-101, 1.0, 1.0]})
    assert LogDet("q").supports(problem) == "signal 'q' must lie in [1e-100, 1e+100] to be a quality, got [1e-101, 1]"


def test_log_det_needs_a_positive_definite_kernel():
    indefinite = Problem.from_similarity([[1.0, 2.0], [2.0, 1.0]], 1)
    assert "must be positive semidefinite" in DppMap().supports(indefinite, LogDet())
    assert LogDet(ridge=1.5).supports(indefinite) is None
    with pytest.raises(ValueError, match="`ridge` must be finite and at least 1e-9, got 0"):
        LogDet(ridge=0.0)
