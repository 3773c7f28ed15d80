"""Exact sums over pairs: branch and bound with tangents of a concave form, best bound first."""

from __future__ import annotations

import heapq
import itertools
import math
import time
from typing import NamedTuple

import numpy as np

from ..arrays import Float64Array, IntArray
from ..bounds import best_partners
from ..determinant_bounds import capped
from ..local_search import LocalSearch
from ..objectives.pairwise import PairwiseObjective
from ..problem import Problem
from ..quadratic_bounds import STEPS, concave_form, descend
from ..solution import Status, TracePoint
from ..solver import Outcome

TOLERANCE = 1e-6
"""Gap, in units of the largest worth of a kept token, at which a selection counts as optimal."""

NODE_STEPS = 25
"""Steps of the descent below the root."""


class _Node(NamedTuple):
    """All selections that hold `kept` and take the rest from `tokens`."""

    kept: IntArray
    tokens: IntArray
    weights: Float64Array
    """Fractional selection at which the bound was found [token of `tokens`]."""


class _Search:
    """Incumbent, bound and trace; neither side ever gets worse."""

    def __init__(self, problem: Problem, objective: PairwiseObjective, selected: IntArray, started: float) -> None:
        self.problem, self.objective, self.started = problem, objective, started
        self.linear, self.pairs = objective.linear(problem), objective.pairs(problem)
        self.selected, self.value = selected, objective.value(problem, selected)
        self.upper_bound = math.inf
        self.trace: tuple[TracePoint, ...] = ()
        self.nodes = 0
        share = np.abs(self.linear) + np.sort(np.abs(self.pairs), axis=1)[:, -problem.budget :].sum(axis=1) / 2
        self.tolerance = TOLERANCE * float(share.max())

    @property
    def threshold(self) -> float:
        """Bounds up to here prove nothing better that matters."""
        return self.value + self.tolerance

    def reach(self, selected: IntArray) -> None:
        value = self.objective.value(self.problem, selected)
        if value > self.value:
            self.selected, self.value = np.sort(selected), value
            self.record(self.upper_bound)

    def record(self, upper_bound: float) -> None:
        self.upper_bound = max(min(self.upper_bound, upper_bound), self.value)
        self.trace += (TracePoint(time.perf_counter() - self.started, self.value, self.upper_bound),)


def solve_quadratic(problem: Problem, objective: PairwiseObjective, time_limit: float | None) -> Outcome:
    """Best selection of `problem.budget` tokens, with bound and trace; at the time limit what is known so far.

    Greedy and swaps first, then a branch and bound on the concave form of `solvers.quadratic_bounds`, made anew for the
    tokens that a node leaves open, since fewer of them need less of the diagonal moved. Tokens that its tangent rules
    in or out are decided; the one whose weight is nearest to a half is kept in one child and dropped in the other. It
    takes the place of Glover's linearisation in a mixed-integer program; CHANGELOG says why.
    """
    started = time.perf_counter()
    deadline = math.inf if time_limit is None else started + time_limit
    first = LocalSearch()._solve(problem, objective, np.random.default_rng(0), time_limit)
    search = _Search(problem, objective, np.sort(first.selected), started)
    search.record(best_partners(problem, objective).value)
    n, k = problem.tokens, problem.budget
    root = _Node(np.empty(0, dtype=np.int64), np.arange(n), np.full(n, k / n))
    count = itertools.count()
    heap = [(-search.upper_bound, next(count), root)]
    while heap and -heap[0][0] > search.threshold and time.perf_counter() < deadline:
        bound, _, node = heapq.heappop(heap)
        search.record(-bound)
        for child_bound, child in _children(search, node, -bound, deadline):
            heapq.heappush(heap, (-child_bound, next(count), child))
    open_bound = -heap[0][0] if heap else -math.inf
    search.record(max(open_bound, search.threshold))
    status = Status.OPTIMAL if open_bound <= search.threshold else Status.TIME_LIMIT
    return Outcome(search.selected, status, search.upper_bound, first.evaluations + search.nodes, search.trace)


def _children(search: _Search, node: _Node, bound: float, deadline: float) -> list[tuple[float, _Node]]:
    """The two parts of `node`, with its bound; none where nothing in it is better than the incumbent."""
    size = search.problem.budget - len(node.kept)
    search.nodes += 1
    if size == 0 or size == len(node.tokens):
        search.reach(np.concatenate([node.kept, node.tokens[:size]]))
        return []
    inside = search.pairs[:, node.kept].sum(axis=1)
    base = search.objective.value(search.problem, node.kept)
    linear = search.linear[node.tokens] + inside[node.tokens]
    form = concave_form(linear, search.pairs[np.ix_(node.tokens, node.tokens)], size)
    steps = NODE_STEPS if len(node.kept) or len(node.tokens) < search.problem.tokens else STEPS
    tangent, weights = descend(
        form, node.weights, size, steps=steps, deadline=deadline, threshold=search.threshold - base
    )
    bound = min(bound, base + tangent.bound(size))
    order = np.argsort(-weights, kind="stable")
    search.reach(np.concatenate([node.kept, node.tokens[order[:size]]]))
    if bound <= search.threshold:
        return []
    ranked = np.sort(tangent.gains)[::-1]
    slack = base + tangent.bound(size) - search.threshold
    sure = tangent.gains - ranked[size] > slack
    free = ~sure & (ranked[size - 1] - tangent.gains <= slack)
    kept, tokens, left = np.concatenate([node.kept, node.tokens[sure]]), node.tokens[free], weights[free]
    missing = search.problem.budget - len(kept)
    if missing == 0 or missing == len(tokens):
        search.reach(np.concatenate([kept, tokens[:missing]]))
        return []
    if missing < 0 or missing > len(tokens):
        return []  # a contradiction: nothing better is left
    split = int(np.argmin(np.abs(left - 0.5)))
    others, even = np.delete(tokens, split), np.maximum(np.delete(left, split), 1e-9)
    dropped = _Node(kept, others, capped(even, missing))
    return [
        (bound, _Node(np.append(kept, tokens[split]), others, _scaled(even, missing - 1))),
        (bound, dropped),
    ]


def _scaled(weights: Float64Array, size: int) -> Float64Array:
    return capped(weights, size) if size else np.zeros(len(weights))
