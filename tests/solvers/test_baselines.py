"""Baselines: signal order, chance, even grids."""

from __future__ import annotations

import numpy as np
import pytest

from solvers import FacilityLocation, FarthestFirst, Greedy, MaxMin, Problem, Random, TopK, UniformGrid
from solvers.baselines import spread


def test_top_k_takes_the_largest_first_and_the_lowest_index_on_ties():
    problem = Problem.from_features(np.eye(6), 4, signals={"cls": [0.1, 0.3, 0.2, 0.3, -1.0, 0.2]})
    assert TopK().solve(problem, FacilityLocation()).selected.tolist() == [1, 3, 2, 5]


def test_random_is_uniform():
    problem = Problem.from_features(np.eye(6), 2)
    counts = np.zeros(6)
    for seed in range(600):
        counts[Random().solve(problem, FacilityLocation(), seed=seed).selected] += 1
    # 200 expected, standard deviation 11.5: five of them.
    assert np.abs(counts - 200).max() < 58


@pytest.mark.parametrize(("rows", "columns"), [(24, 24), (3, 7), (1, 10), (10, 1), (5, 4)])
def test_grids_of_every_budget_are_distinct_cells(rows, columns):
    for budget in range(1, rows * columns + 1):
        cells = spread(budget, rows, columns)
        assert len(cells) == budget
        assert (np.diff(cells) > 0).all()
        assert cells[0] >= 0
        assert cells[-1] < rows * columns


def test_a_square_budget_makes_a_square_lattice():
    cells = spread(64, 24, 24)
    assert set(cells // 24) == set(cells % 24) == {1, 4, 7, 10, 13, 16, 19, 22}
    solution = UniformGrid().solve(Problem.from_features(np.eye(16), 4, grid=(4, 4)), FacilityLocation())
    assert solution.selected.tolist() == [5, 7, 13, 15]


@pytest.mark.parametrize("seed", range(5))
def test_farthest_first_is_greedy_max_min_under_any_objective(seed, make_problem):
    problem = make_problem(rows=5, columns=6, budget=9, seed=seed)
    expected = Greedy().solve(problem, MaxMin()).selected.tolist()
    for objective in (MaxMin(), MaxMin("chord"), FacilityLocation()):
        assert FarthestFirst().solve(problem, objective).selected.tolist() == expected


@pytest.mark.parametrize("first", [0, 7])
def test_farthest_first_starts_where_it_is_told(first, make_problem):
    problem = make_problem(budget=3)
    selected = FarthestFirst(first).solve(problem, MaxMin()).selected.tolist()
    distances = MaxMin().distances(problem)
    assert selected[0] == first
    assert selected[1] == np.argmax(distances[first])
    assert selected[2] == np.argmax(np.minimum(distances[first], distances[selected[1]]))


def test_farthest_first_checks_its_first_token(make_problem):
    with pytest.raises(ValueError, match=r"`first` must be in \[0, 11\], got 12"):
        FarthestFirst(12).solve(make_problem(), MaxMin())
    with pytest.raises(ValueError, match="`first` must be a token index or None, got -1"):
        FarthestFirst(-1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("seed", range(6))
def test_farthest_first_from_features_picks_what_the_distances_pick(seed, dtype):
    rng = np.random.default_rng(seed)
    features = (rng.normal(size=(4, 6))[rng.integers(0, 4, 50)] + 0.5 * rng.normal(size=(50, 6))).astype(dtype)
    features[rng.permutation(50)[:20]] = features[rng.integers(0, 50, 20)]
    for budget in (1, 5, 50):
        problem = Problem.from_features(features, budget)
        by_distances = FarthestFirst(3).solve(problem, MaxMin())
        by_features = FarthestFirst(3, from_features=True).solve(problem, MaxMin())
        assert by_features.selected.tolist() == by_distances.selected.tolist()
        assert by_features.evaluations <= by_distances.evaluations


def test_farthest_first_from_features_never_computes_the_similarity(monkeypatch):
    monkeypatch.setattr(Problem, "similarity", property(lambda problem: pytest.fail("similarity computed")))
    problem = Problem.from_features(np.random.default_rng(0).normal(size=(200, 30)), 10)
    solver = FarthestFirst(0, from_features=True)
    solver._prepare(problem, MaxMin())
    assert len(set(solver._solve(problem, MaxMin(), np.random.default_rng(0), None).selected.tolist())) == 10


def test_farthest_first_from_features_needs_cosines_and_a_first_token(make_problem):
    assert "`from_features` needs `first`" in FarthestFirst(from_features=True).supports(make_problem(), MaxMin())
    dot = Problem.from_features(np.eye(4), 2, metric="dot")
    assert "under metric='cosine'" in FarthestFirst(0, from_features=True).supports(dot, MaxMin())
