"""DPP solvers: the sampler's distribution, stability, and which kernel they use."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from solvers import BruteForce, DppMap, FacilityLocation, Forced, Greedy, KDpp, LocalSearch, LogDet, Problem
from solvers.bounds import upper_bound
from solvers.kernels.determinant import log_elementary_symmetric


def test_elementary_symmetric_polynomials():
    values = np.random.default_rng(0).random(7) + 0.1
    table = log_elementary_symmetric(np.log(values), 4)
    for m, size in itertools.product(range(8), range(5)):
        direct = sum(np.prod(chosen) for chosen in itertools.combinations(values[:m], size))
        assert np.exp(table[m, size]) == pytest.approx(direct)


@pytest.mark.parametrize("from_features", [False, True])
@pytest.mark.parametrize(("budget", "uniform"), [(2, 200), (4, 400)])
def test_samples_follow_the_determinants(budget, uniform, from_features, make_problem):
    """Features of rank 3: a sample of 4 tokens takes eigenvectors of the null space, where only the ridge is left."""
    problem = make_problem(rows=2, columns=3, budget=budget, dim=3, seed=1)
    # With a large ridge no set of more tokens than the rank is all but impossible.
    objective = LogDet() if budget == 2 else LogDet(ridge=0.05)
    kernel = objective.kernel(problem)
    sets = list(itertools.combinations(range(6), budget))
    weights = np.array([np.linalg.det(kernel[np.ix_(s, s)]) for s in sets])
    draws = 3000
    counts = dict.fromkeys(sets, 0)
    solver = KDpp(from_features=from_features)
    for seed in range(draws):
        counts[tuple(sorted(solver.solve(problem, objective, seed=seed).selected.tolist()))] += 1
    expected = draws * weights / weights.sum()
    seen = expected > 5
    chi_square = (((np.array(list(counts.values())) - expected) ** 2) / expected)[seen].sum()
    # 99.9 % quantile of chi-square with 14 degrees of freedom is 36.1; uniform sampling gives several hundred.
    assert chi_square < 36.1
    assert (((draws / 15 - expected) ** 2) / expected)[seen].sum() > uniform


@pytest.mark.parametrize(("tokens", "dim"), [(12, 5), (7, 20), (9, 9)])
def test_the_dual_spectrum_is_the_spectrum(tokens, dim):
    features = np.random.default_rng(0).normal(size=(tokens, dim))
    features[3] = 2 * features[1]
    problem, objective = Problem.from_features(features, 3), LogDet(ridge=1e-3)
    log_values, vectors = KDpp(from_features=True)._spectrum(problem, objective)
    kernel = objective.kernel(problem)
    np.testing.assert_allclose(np.exp(log_values), np.linalg.eigvalsh(kernel), rtol=1e-9)
    rank = vectors.shape[1]
    assert rank == min(tokens - 1, dim)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(rank), atol=1e-9)
    np.testing.assert_allclose(kernel @ vectors, vectors * np.exp(log_values[-rank:]), atol=1e-9)


def test_a_sample_of_2880_tokens_needs_no_matrix_of_all_pairs(monkeypatch):
    monkeypatch.setattr(Problem, "similarity", property(lambda problem: pytest.fail("similarity computed")))
    features = np.random.default_rng(0).normal(size=(2880, 48)).astype(np.float32)
    for budget in (40, 64):  # less and more than the rank
        problem, solver = Problem.from_features(features, budget), KDpp(from_features=True)
        assert solver.supports(problem, LogDet()) is None
        solver._prepare(problem, LogDet())
        selected = solver._solve(problem, LogDet(), np.random.default_rng(1), None).selected
        assert len(set(selected.tolist())) == budget
        factor = np.linalg.qr(features[selected].T.astype(np.float64))[1]
        assert (np.abs(np.diag(factor)) > 1e-3).all()  # no two of them look alike


def test_a_dual_sample_needs_a_ridge_that_is_a_multiple_of_the_identity(make_problem):
    reason = KDpp(from_features=True).supports(make_problem(), LogDet("relevance"))
    assert reason == "`from_features` samples from kernels without a quality only, got LogDet(signal=relevance)"


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


def spread_tokens(seed: int, tokens: int = 60, dim: int = 9, dtype: type = np.float64) -> np.ndarray:
    """Clustered features, a third of them copies of others and some of the copies scaled by two."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(5, dim))
    features = centres[rng.integers(0, 5, tokens)] + 0.5 * rng.normal(size=(tokens, dim))
    features[rng.permutation(tokens)[: tokens // 3]] = features[rng.integers(0, tokens, tokens // 3)]
    return features.astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("objective", [LogDet(), LogDet("q"), LogDet(ridge=0.1)], ids=lambda o: o.name)
@pytest.mark.parametrize("seed", range(6))
def test_from_features_picks_what_the_kernel_picks(seed, objective, dtype):
    """Also beyond the rank of the features and among copies, where many gains tie."""
    quality = np.random.default_rng(seed).random(60) + 0.1
    for budget in (1, 8, 30):
        problem = Problem.from_features(spread_tokens(seed, dtype=dtype), budget, signals={"q": quality})
        by_kernel = DppMap().solve(problem, objective)
        by_features = DppMap(from_features=True).solve(problem, objective)
        below_rank = min(budget, 9)
        assert by_features.selected[:below_rank].tolist() == by_kernel.selected[:below_rank].tolist()
        assert by_features.value == pytest.approx(by_kernel.value, abs=1e-6)
        assert by_features.evaluations <= by_kernel.evaluations


def test_from_features_never_computes_the_similarity(monkeypatch):
    monkeypatch.setattr(Problem, "similarity", property(lambda problem: pytest.fail("similarity computed")))
    problem = Problem.from_features(spread_tokens(0, tokens=300, dim=40), 20)
    solver = DppMap(from_features=True)
    assert solver.supports(problem, LogDet()) is None
    solver._prepare(problem, LogDet())
    outcome = solver._solve(problem, LogDet(), np.random.default_rng(0), None)
    assert len(set(outcome.selected.tolist())) == 20
    assert outcome.evaluations < 300 * 20


@pytest.mark.parametrize("value", [1.0, 0.3, 1e-30, 1e30])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equal_tokens_tie_from_features_too(value, dtype):
    rows = np.full((9, 7), value, dtype=dtype)
    rows[:, 3] = -value / 3
    problem = Problem.from_features(rows, 4)
    assert DppMap(from_features=True).solve(problem, LogDet()).selected.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("solver", [DppMap(from_features=True), KDpp(from_features=True)], ids=lambda s: s.name)
def test_from_features_needs_cosines(solver, make_problem):
    given, dot = Problem.from_similarity(np.eye(4), 2), Problem.from_features(np.eye(4), 2, metric="dot")
    for problem in (given, dot):
        assert solver.supports(problem, LogDet()) == "`from_features` needs features under metric='cosine'"
    forced = dataclasses.replace(make_problem(), constraint=Forced((1,)), id="p")
    assert "selects under Cardinality only, got the constraint Forced" in solver.supports(forced, LogDet())
    assert solver.name.endswith("(from_features=True)")


@pytest.mark.parametrize("objective", [LogDet(), LogDet("relevance")], ids=lambda o: o.name)
def test_map_local_search_never_loses_and_mostly_finds_the_optimum(objective, make_problem):
    found, at_the_start = 0, 0
    for seed in range(30):
        problem = make_problem(rows=3, columns=5, budget=5, seed=seed)
        start, best = DppMap().solve(problem, objective), BruteForce().solve(problem, objective)
        searched = LocalSearch(start=DppMap()).solve(problem, objective)
        assert start.value <= searched.value <= best.value + 1e-9
        found += searched.value >= best.value - 1e-9
        at_the_start += start.value >= best.value - 1e-9
    assert found >= 24 > at_the_start
