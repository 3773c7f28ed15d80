"""Graphs of tokens, by hand: a path, a star, cliques, and the relations to the objectives on random problems."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import networkx as nx
import numpy as np
import pytest

import solvers
from solvers import Conflict, CoveringRadius, Exact, FacilityLocation, MaxMin, Problem, graphs, instances

PATH = Problem.from_similarity(
    [[1.0, 0.9, 0.2, 0.1], [0.9, 1.0, 0.8, 0.3], [0.2, 0.8, 1.0, 0.7], [0.1, 0.3, 0.7, 1.0]], 2
)


def test_a_threshold_joins_what_is_at_least_as_similar():
    graph = graphs.similarity_graph(PATH, threshold=0.7)
    assert sorted(graph.edges(data="weight")) == [(0, 1, 0.9), (1, 2, 0.8), (2, 3, 0.7)]
    assert list(graph) == [0, 1, 2, 3]
    assert graphs.similarity_graph(PATH, threshold=0.95).number_of_edges() == 0


def test_neighbours_are_joined_from_either_side_and_ties_go_to_the_lower_index():
    assert sorted(graphs.similarity_graph(PATH, neighbours=1).edges) == [(0, 1), (1, 2), (2, 3)]
    assert graphs.similarity_graph(PATH, neighbours=3).number_of_edges() == 6
    equal = Problem.from_similarity(np.ones((4, 4)), 1)
    assert sorted(graphs.similarity_graph(equal, neighbours=1).edges) == [(0, 1), (0, 2), (0, 3)]


def test_nodes_know_their_place():
    problem = Problem.from_features(np.eye(6), 1, grid=(2, 3), groups=[0, 0, 0, 1, 1, 1])
    graph = graphs.similarity_graph(problem, threshold=0.5)
    assert graph.nodes[4] == {"group": 1, "position": (1, 1)}
    assert graphs.similarity_graph(PATH, threshold=0.5).nodes[0] == {}


def test_independent_sets_of_the_conflict_graph_are_the_allowed_selections(make_problem):
    plain = make_problem(rows=3, columns=3, budget=3, dim=3)
    rule = Conflict(0.5)
    graph = graphs.conflict_graph(plain, rule)
    problem = Problem.from_features(plain.features, 3, constraint=rule)
    assert sorted(graph.edges) == sorted(graphs.conflict_graph(problem).edges)
    assert 0 < graph.number_of_edges() < 36
    for chosen in itertools.combinations(range(9), 3):
        allowed = rule.violation(np.array(chosen), problem) is None
        assert allowed == (graph.subgraph(chosen).number_of_edges() == 0)


def test_copies_are_found_in_groups():
    known = instances.planted_duplicates(6, 5, 2, seed=3)
    found = graphs.duplicates(known.problem)
    _, member, sizes = np.unique(known.problem.features, axis=0, return_inverse=True, return_counts=True)
    expected = [np.flatnonzero(member.ravel() == group).tolist() for group in np.flatnonzero(sizes > 1)]
    assert [group.tolist() for group in found] == sorted(expected)
    assert graphs.duplicates(PATH) == []
    assert [group.tolist() for group in graphs.duplicates(PATH, 0.2)] == [[0, 1, 2]]


def test_a_dominating_set_bounds_coverage_and_radius(make_problem):
    for seed in range(5):
        problem = make_problem(rows=4, columns=5, dim=4, seed=seed)
        graph = graphs.similarity_graph(problem, threshold=0.6)
        picked = graphs.greedy_dominating_set(graph)
        assert graphs.dominates(graph, picked)
        assert not graphs.dominates(graph, picked[:-1])
        covering, radius = FacilityLocation(), CoveringRadius()
        assert covering.value(problem, picked) >= 0.6 * problem.tokens - 1e-6
        reached = radius.distances(problem)[picked].min(axis=0).max()
        assert reached <= 0.4 + 1e-9
        fewest = min(
            size
            for size in range(1, problem.tokens + 1)
            if any(nx.is_dominating_set(graph, chosen) for chosen in itertools.combinations(graph, size))
        )
        assert graphs.fewest_dominating(graph) <= fewest <= picked.size
        assert picked.size <= (1 + np.log(1 + max(degree for _, degree in graph.degree))) * fewest


def test_dominating_sets_of_known_graphs():
    assert graphs.greedy_dominating_set(nx.star_graph(5)).tolist() == [0]
    assert graphs.greedy_dominating_set(nx.path_graph(6)).tolist() == [1, 4]
    assert graphs.fewest_dominating(nx.path_graph(6)) == 2
    assert graphs.greedy_dominating_set(nx.empty_graph(3)).tolist() == [0, 1, 2]
    assert graphs.fewest_dominating(nx.empty_graph(3)) == 3
    assert graphs.fewest_dominating(nx.complete_graph(4)) == 1


def test_cliques_cover():
    assert graphs.clique_cover_bound(nx.complete_graph(5)) == 1
    assert graphs.clique_cover_bound(nx.empty_graph(4)) == 4
    assert graphs.clique_cover_bound(nx.path_graph(4)) == 2
    assert graphs.clique_cover_bound(nx.cycle_graph(5)) == 3  # while only two are pairwise unjoined


def test_the_clique_cover_bounds_independent_sets_and_dispersion(make_problem):
    for seed in range(4):
        problem = make_problem(rows=3, columns=4, budget=4, dim=3, seed=seed)
        for threshold in (0.0, 0.5, 0.8):
            graph = graphs.similarity_graph(problem, threshold=threshold)
            largest = max(len(clique) for clique in nx.find_cliques(nx.complement(graph)))
            bound = graphs.clique_cover_bound(graph)
            assert bound >= largest
            if bound < problem.budget:  # then two of any four tokens are at least that similar
                assert Exact().solve(problem, MaxMin()).value <= 1 - threshold + 1e-9


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: graphs.similarity_graph(PATH), "give either `threshold` or `neighbours`, got None and None"),
        (lambda: graphs.similarity_graph(PATH, threshold=0.5, neighbours=1), "got 0.5 and 1"),
        (lambda: graphs.similarity_graph(PATH, threshold=float("nan")), "`threshold` must be finite, got nan"),
        (lambda: graphs.similarity_graph(PATH, neighbours=4), r"`neighbours` must be an integer in \[1, 3\], got 4"),
        (lambda: graphs.conflict_graph(PATH), r"needs a `Conflict` constraint, got Cardinality\(\)"),
        (lambda: graphs.duplicates(PATH, -0.1), r"`epsilon` must lie in \[0, 2\], got -0.1"),
        (lambda: graphs.dominates(nx.path_graph(3), [0, 3]), "`selected` must hold tokens of the graph, got 3"),
    ],
)
def test_reasons(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_networkx_is_imported_by_graphs_alone():
    code = "import sys, solvers; before = 'networkx' in sys.modules; import solvers.graphs; "
    command = [sys.executable, "-c", code + "print(before, 'networkx' in sys.modules)"]
    environment = os.environ | {"PYTHONPATH": str(Path(solvers.__file__).parents[1])}
    shown = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["False", "True"]
