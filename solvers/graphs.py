"""Similarities as graphs: who is close to whom, who excludes whom, which tokens are copies, who covers everybody.

Every function returns or takes `networkx` graphs whose nodes are the tokens 0 .. n - 1, so that the whole library
applies to them. Importing this module imports networkx; `import solvers` alone does not.
"""

from __future__ import annotations

import math

import networkx as nx
import numpy as np
import numpy.typing as npt

from .arrays import IntArray, frozen
from .constraints import Conflict
from .problem import Problem


def similarity_graph(problem: Problem, *, threshold: float | None = None, neighbours: int | None = None) -> nx.Graph:
    """Pairs of similar tokens, with their similarity as `weight`.

    Parameters
    ----------
    problem
        The tokens.
    threshold
        Join pairs whose similarity is at least this.
    neighbours
        Join each token to so many others, the most similar ones, in [1, n - 1]; ties go to the lower index. An edge
        stands where at least one of its ends chose the other.

    Returns
    -------
    networkx.Graph
        Nodes have `group` and `position` (row, column) where the problem has groups and a grid.

    Raises
    ------
    ValueError
        If not exactly one of `threshold` and `neighbours` is given, or it is out of range.

    Examples
    --------
    >>> problem = Problem.from_similarity([[1.0, 0.8, 0.1], [0.8, 1.0, 0.3], [0.1, 0.3, 1.0]], 1)
    >>> list(similarity_graph(problem, threshold=0.5).edges), list(similarity_graph(problem, neighbours=1).edges)
    ([(0, 1)], [(0, 1), (1, 2)])
    """
    if (threshold is None) == (neighbours is None):
        raise ValueError(f"give either `threshold` or `neighbours`, got {threshold!r} and {neighbours!r}")
    if threshold is not None:
        if not math.isfinite(threshold):
            raise ValueError(f"`threshold` must be finite, got {threshold}")
        joined = problem.similarity >= threshold
    else:
        joined = _nearest(problem, neighbours)
    return _graph(problem, joined)


def conflict_graph(problem: Problem, constraint: Conflict | None = None) -> nx.Graph:
    """Pairs that exclude each other; the allowed selections are its independent sets of `budget` nodes.

    Parameters
    ----------
    problem
        The tokens.
    constraint
        Which tokens conflict; default: the constraint of the problem.

    Raises
    ------
    ValueError
        If there is no such constraint.
    """
    chosen = problem.constraint if constraint is None else constraint
    if not isinstance(chosen, Conflict):
        raise ValueError(f"a conflict graph needs a `Conflict` constraint, got {chosen!r}")
    return _graph(problem, chosen.conflicts(problem))


def duplicates(problem: Problem, epsilon: float = 1e-6) -> list[IntArray]:
    """Groups of two or more tokens linked by chains of similarities of at least 1 - epsilon, ascending, by first token.

    For cosines; a chain may connect tokens that are further apart than epsilon themselves.

    Raises
    ------
    ValueError
        If `epsilon` is not in [0, 2].
    """
    if not 0.0 <= epsilon <= 2.0:
        raise ValueError(f"`epsilon` must lie in [0, 2], got {epsilon!r}")
    graph = similarity_graph(problem, threshold=1.0 - epsilon)
    groups = (np.array(sorted(group), dtype=np.int64) for group in nx.connected_components(graph) if len(group) > 1)
    return sorted((frozen(group) for group in groups), key=lambda group: int(group[0]))


def dominates(graph: nx.Graph, selected: npt.ArrayLike) -> bool:
    """Whether every token is in `selected` or joined to a token in it.

    In the similarity graph at threshold t this says that each token is covered by at least t, if it covers itself by at
    least t: then facility location is worth at least t n, and the covering radius is at most 1 - t for cosines.

    Raises
    ------
    ValueError
        If `selected` holds a token that is not in the graph.
    """
    tokens = np.unique(np.asarray(selected, dtype=np.int64)).tolist()
    unknown = next((token for token in tokens if token not in graph), None)
    if unknown is not None:
        raise ValueError(f"`selected` must hold tokens of the graph, got {unknown}")
    return bool(nx.is_dominating_set(graph, tokens))


def greedy_dominating_set(graph: nx.Graph) -> IntArray:
    """Tokens in pick order that dominate all: each time the one that dominates most of those left, lowest index first.

    At most 1 + ln(1 + largest degree) times as many as the fewest possible: it is greedy set cover over the closed
    neighbourhoods (Chvatal, 1979, Mathematics of Operations Research 4(3)).
    """
    closed = nx.to_numpy_array(graph, nodelist=sorted(graph), weight=None) + np.eye(len(graph)) > 0
    open_ = np.ones(len(graph), dtype=np.bool_)
    picked: list[int] = []
    while open_.any():
        picked.append(int(np.argmax(closed[:, open_].sum(axis=1))))
        open_ &= ~closed[picked[-1]]
    return frozen(np.array(picked, dtype=np.int64))


def fewest_dominating(graph: nx.Graph) -> int:
    """Lower bound on the size of every dominating set: tokens no two of which share a neighbour, themselves included.

    Each of them needs a dominator of its own. Found greedily, smallest degree first, so it is not the best such bound.
    """
    blocked: set[int] = set()
    count = 0
    for token in sorted(graph, key=lambda node: (graph.degree(node), node)):
        near = {token, *graph[token]}
        if not near & blocked:
            blocked |= near
            count += 1
    return count


def clique_cover_bound(graph: nx.Graph) -> int:
    """Upper bound on the number of pairwise unjoined tokens: that many cliques cover the graph.

    An independent set has at most one token of a clique. In a conflict graph it bounds the budgets that can be kept; in
    the graph of pairs closer than d, a bound below the budget proves that max-min dispersion stays below d. The
    cliques are the colours of a largest-first greedy colouring of the complement.
    """
    colours = nx.greedy_color(nx.complement(graph), strategy="largest_first")
    return len(set(colours.values()))


def _nearest(problem: Problem, neighbours: int | None) -> npt.NDArray[np.bool_]:
    n = problem.tokens
    if isinstance(neighbours, bool) or not isinstance(neighbours, (int, np.integer)) or not 1 <= neighbours < n:
        raise ValueError(f"`neighbours` must be an integer in [1, {n - 1}], got {neighbours!r}")
    others = problem.similarity.copy()
    np.fill_diagonal(others, -np.inf)
    chosen = np.argsort(-others, axis=1, kind="stable")[:, :neighbours]
    joined = np.zeros((n, n), dtype=np.bool_)
    np.put_along_axis(joined, chosen, True, axis=1)
    return joined | joined.T


def _graph(problem: Problem, joined: npt.NDArray[np.bool_]) -> nx.Graph:
    graph = nx.Graph()
    graph.add_nodes_from(range(problem.tokens))
    first, second = np.nonzero(np.triu(joined, 1))
    weights = problem.similarity[first, second]
    graph.add_weighted_edges_from(zip(first.tolist(), second.tolist(), weights.tolist(), strict=True))
    if problem.groups is not None:
        nx.set_node_attributes(graph, dict(enumerate(problem.groups.tolist())), "group")
    if problem.grid is not None:
        columns = problem.grid[1]
        nx.set_node_attributes(graph, {t: divmod(t, columns) for t in range(problem.tokens)}, "position")
    return graph
