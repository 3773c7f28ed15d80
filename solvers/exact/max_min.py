"""Exact max-min dispersion: threshold search with clique covers and independent-set decisions on OR-Tools CP-SAT."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import numpy as np
from ortools.sat.python import cp_model

from ..arrays import Float64Array, IntArray
from ..kernels.dispersion import clique_cover_size, farthest_first, smallest_distance
from ..kernels.independent_set import edge_clique_cover, relocate
from ..objectives import MaxMin
from ..problem import Problem
from ..solution import Status, TracePoint
from ..solver import Outcome

MAX_TOKENS = 1200
"""Largest problem handed to CP-SAT; above, its model alone would take minutes to build."""

FIRST_SLICE = 2.0
"""Seconds of the first decisions; a decision left open is put off and gets twice the time when it comes up again."""

TABU_RUNS = 16
TABU_STEPS = 20_000_000
"""Runs of tabu search, and distances looked at in each: some ten milliseconds between two looks at the clock."""


class _ThresholdSearch:
    """Incumbent, bound and trace while thresholds are decided; neither side ever gets worse.

    The optimum is a distance that occurs. `open` holds, ascending, those above the incumbent's value that are not
    refuted yet: the largest of them is the upper bound, and the incumbent is optimal once there are none.
    """

    def __init__(self, distances: Float64Array, selected: IntArray, started: float, deadline: float) -> None:
        self.distances, self.started, self.deadline = distances, started, deadline
        self.selected, self.value = selected, smallest_distance(distances, selected)
        self.open = np.unique(distances[np.triu(distances > self.value, 1)])
        self.trace: tuple[TracePoint, ...] = ()
        self._record()

    @property
    def budget(self) -> int:
        return int(self.selected.size)

    @property
    def upper_bound(self) -> float:
        return float(self.open[-1]) if self.open.size else self.value

    @property
    def expired(self) -> bool:
        return time.perf_counter() >= self.deadline

    def reach(self, selected: IntArray) -> None:
        """Take `selected` as the incumbent if it is better."""
        value = smallest_distance(self.distances, selected)
        if value > self.value:
            self.selected, self.value = selected, value
            self.open = self.open[self.open > value]
            self._record()

    def refute(self, threshold: float) -> None:
        """No selection is worth `threshold` or more."""
        self.open = self.open[self.open < threshold]
        self._record()

    def _record(self) -> None:
        self.trace += (TracePoint(time.perf_counter() - self.started, self.value, self.upper_bound),)


def solve_max_min(problem: Problem, objective: MaxMin, time_limit: float | None) -> Outcome:
    """Best selection of `problem.budget` tokens, with bound and trace; at the time limit what is known so far.

    k tokens at least d apart are an independent set of the graph of all pairs closer than d. Steps: farthest-first from
    every token and tabu search for a good selection; bisection on d with greedy clique covers, which refute most d at
    once; then CP-SAT decides the d that are left, with one at-most-one condition per clique of an edge clique cover
    (threshold search as in Sayyady and Fathi, 2016, European Journal of Operational Research 253, on p-dispersion).
    Distances are compared and never added, so value and bound are exact. Above `MAX_TOKENS` tokens the clique covers
    have the last word.
    """
    started = time.perf_counter()
    deadline = math.inf if time_limit is None else started + time_limit
    distances, k = objective.distances(problem), problem.budget
    if k == 1:
        best = np.array([np.argmax(objective.isolation(problem))], dtype=np.int64)
        return Outcome(best, Status.OPTIMAL, objective.value(problem, best), problem.tokens)
    nearest = objective.isolation(problem)
    search = _ThresholdSearch(distances, farthest_first(distances, int(np.argmax(nearest)), k), started, deadline)
    _construct(search)
    _cover(search)
    if problem.tokens <= MAX_TOKENS:
        _decide(search)
    status = Status.OPTIMAL if not search.open.size else Status.TIME_LIMIT if search.expired else Status.FEASIBLE
    return Outcome(search.selected, status, search.upper_bound, problem.tokens * k, search.trace)


def _construct(search: _ThresholdSearch) -> None:
    """Farthest-first from every token, then tabu search from the best of them; a quarter of the time at most."""
    deadline = search.started + (search.deadline - search.started) / 4
    n = len(search.distances)
    moves = _tabu_moves(search)
    for first in range(n):
        if time.perf_counter() >= deadline:
            return
        search.reach(farthest_first(search.distances, first, search.budget))
    for seed in range(TABU_RUNS):
        if time.perf_counter() >= deadline or not search.open.size:
            return
        search.reach(relocate(search.distances, search.selected, moves, seed))


def _tabu_moves(search: _ThresholdSearch) -> int:
    return max(20, TABU_STEPS // (len(search.distances) * search.budget))


def _orders(distances: Float64Array, k: int) -> Iterator[IntArray]:
    """Orders in which a first-fit clique cover is tried."""
    n = len(distances)
    yield np.arange(n)
    ranks = sorted({min(1, n - 1), n // k, n // 2} - {n})
    near = np.partition(distances, ranks, axis=1)
    for rank in ranks:
        yield np.argsort(near[:, rank], kind="stable")
        yield np.argsort(-near[:, rank], kind="stable")
    # Outlying tokens first: they need groups of their own, the crowded middle fills in afterwards.
    for token in np.linspace(0, n - 1, 32).astype(np.int64):
        yield np.argsort(-distances[token], kind="stable")


def _cover(search: _ThresholdSearch) -> None:
    """Bisection for a small threshold that a clique cover refutes: first by one order of the tokens, then by all."""
    orders = [np.arange(len(search.distances))]
    _bisect(search, orders)
    for order in _orders(search.distances, search.budget):
        if search.expired:
            return
        orders.append(order)
    _bisect(search, orders)


def _bisect(search: _ThresholdSearch, orders: list[IntArray]) -> None:
    distances, k = search.distances, search.budget
    low = 0
    while low < search.open.size and not search.expired:
        middle = (low + search.open.size) // 2
        threshold = float(search.open[middle])
        for position, order in enumerate(orders):
            if search.expired:
                return
            if clique_cover_size(distances, threshold, order, k) < k:
                search.refute(threshold)
                orders.insert(0, orders.pop(position))  # what worked is tried first next time
                break
        else:
            low = middle + 1


def _decide(search: _ThresholdSearch) -> None:
    """Decide open thresholds by CP-SAT until none is left, by bisection on both sides of those put off."""
    seconds = FIRST_SLICE
    hard: tuple[float, float] | None = None
    while search.open.size and not search.expired:
        below, above = search.open, search.open[:0]
        if hard is not None:
            below, above = search.open[search.open < hard[0]], search.open[search.open > hard[1]]
        if not below.size and not above.size:
            seconds, hard = 2 * seconds, None
            continue
        side = below if below.size else above
        threshold = float(side[side.size // 2])
        answer = _decision(search, threshold, min(seconds, search.deadline - time.perf_counter()))
        if answer is None:
            hard = (min(threshold, hard[0]), max(threshold, hard[1])) if hard else (threshold, threshold)
        elif answer.size:
            search.reach(answer)
            search.reach(relocate(search.distances, answer, _tabu_moves(search), 0))
        else:
            search.refute(threshold)


def _decision(search: _ThresholdSearch, threshold: float, seconds: float) -> IntArray | None:
    """k tokens at least `threshold` apart; empty if there are none, None if `seconds` were too few to tell."""
    finish = time.perf_counter() + seconds
    n, k = len(search.distances), search.budget
    cliques = edge_clique_cover(search.distances, threshold)
    model = cp_model.CpModel()
    keep = [model.new_bool_var("") for _ in range(n)]
    for group in np.split(cliques.members, cliques.ends[:-1]):
        model.add_at_most_one([keep[token] for token in group.tolist()])
        if time.perf_counter() > finish:
            return None
    model.add(cp_model.LinearExpr.sum(keep) >= k)
    incumbent = set(search.selected.tolist())
    for token, variable in enumerate(keep):
        model.add_hint(variable, token in incumbent)
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = 0
    solver.parameters.max_time_in_seconds = max(finish - time.perf_counter(), 1e-3)
    status = solver.solve(model)
    if status in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        chosen = [token for token, variable in enumerate(keep) if solver.value(variable)]
        return np.array(chosen[:k], dtype=np.int64)
    return np.empty(0, dtype=np.int64) if status == cp_model.INFEASIBLE else None
