"""Exact saliency under conflicts: a maximum-weight independent set of k tokens, on OR-Tools CP-SAT."""

from __future__ import annotations

import math
import time
from fractions import Fraction

import numpy as np
from ortools.sat.python import cp_model

from ..arrays import Float64Array, IntArray
from ..conflict_bounds import clique_maxima
from ..constraints import BoolArray, Conflict, NoSelectionError
from ..kernels.independent_set import Cliques, edge_clique_cover, relocate
from ..objectives import Saliency
from ..problem import Problem
from ..solution import Status, TracePoint
from ..solver import Outcome

LEVELS = 2**36
"""Integer levels between the smallest and the largest value; the solver underneath knows integers only."""

TOLERANCE = 1e-9
"""Gap per token, in units of the range of the signal, at which a selection counts as optimal."""

TABU_STEPS = 20_000_000
"""Distances looked at by the tabu search for a first selection, some ten milliseconds."""


class _Search:
    """Incumbent, bound and trace; neither side ever gets worse."""

    def __init__(self, problem: Problem, objective: Saliency, started: float) -> None:
        self.problem, self.objective, self.started = problem, objective, started
        self.selected: IntArray | None = None
        self.value = -math.inf
        self.upper_bound = math.inf
        self.trace: tuple[TracePoint, ...] = ()
        values = problem.signal(objective.signal)
        self.tolerance = TOLERANCE * problem.budget * float(np.ptp(values.astype(np.float64)))

    @property
    def closed(self) -> bool:
        return self.upper_bound - self.value <= self.tolerance

    def reach(self, selected: IntArray) -> None:
        """Take `selected` as the incumbent if it is allowed and better."""
        if self.problem.constraint.violation(selected, self.problem) is None:
            value = self.objective.value(self.problem, selected)
            if value > self.value:
                self.selected, self.value = selected, value
                self.bound(self.upper_bound)

    def bound(self, upper_bound: float) -> None:
        self.upper_bound = max(min(self.upper_bound, upper_bound), self.value)
        if self.selected is not None:
            self.trace += (TracePoint(time.perf_counter() - self.started, self.value, self.upper_bound),)


def solve_independent_set(problem: Problem, objective: Saliency, time_limit: float | None) -> Outcome:
    """Best selection of `problem.budget` tokens without a conflict; at the time limit what is known so far.

    Tokens are the vertices of a graph whose edges are the conflicts. Steps: greedy in descending order of the signal
    and, where it gets stuck, in ascending order of the conflicts, then tabu search for tokens far apart; the clique
    bound of `solvers.conflict_bounds`; then CP-SAT, with one at-most-one condition per clique of an edge clique cover.
    It sees the signal rounded up to `LEVELS` levels in rational arithmetic, so what it proves holds for the signal.

    Raises
    ------
    NoSelectionError
        If no selection is allowed, or none was met within the time limit.
    """
    started = time.perf_counter()
    deadline = math.inf if time_limit is None else started + time_limit
    rule = problem.constraint
    assert isinstance(rule, Conflict)
    conflicts = rule.conflicts(problem)
    search = _Search(problem, objective, started)
    search.bound(clique_maxima(problem, objective).value)
    _construct(search, conflicts)
    infeasible = False
    # Some selection is worth more than a tight limit: without one, the solver gets a moment beyond it.
    if not search.closed and (time.perf_counter() < deadline or search.selected is None):
        infeasible = _integer_program(search, conflicts, deadline)
    if search.selected is None:
        why = "proven" if infeasible else f"none was met in {time_limit:g} seconds"
        raise NoSelectionError(f"no selection of {problem.budget} tokens of {problem.id} keeps {rule!r} ({why})")
    status = Status.OPTIMAL if search.closed else Status.TIME_LIMIT
    return Outcome(search.selected, status, search.upper_bound, problem.tokens, search.trace)


def _construct(search: _Search, conflicts: BoolArray) -> None:
    problem = search.problem
    values = problem.signal(search.objective.signal).astype(np.float64)
    by_value = _maximal(np.argsort(-values, kind="stable"), conflicts, problem.budget)
    search.reach(by_value)
    if search.selected is not None:
        return
    degrees = np.lexsort((-values, conflicts.sum(axis=1)))
    sparse = _maximal(degrees, conflicts, problem.budget)
    search.reach(sparse)
    if search.selected is not None:
        return
    # Completed by whatever comes first, tabu search pulls the tokens apart.
    filled = np.concatenate([sparse, np.setdiff1d(degrees, sparse)])[: problem.budget]
    moves = max(20, TABU_STEPS // (problem.tokens * problem.budget))
    apart = problem.similarity.max() - problem.similarity
    search.reach(relocate(apart, filled, moves, 0))


def _maximal(order: IntArray, conflicts: BoolArray, size: int) -> IntArray:
    """At most `size` tokens without a conflict, first come first kept."""
    blocked = np.zeros(len(order), dtype=np.bool_)
    kept: list[int] = []
    for token in order.tolist():
        if not blocked[token]:
            kept.append(token)
            if len(kept) == size:
                break
            blocked |= conflicts[token]
    return np.array(kept, dtype=np.int64)


def _integer_program(search: _Search, conflicts: BoolArray, deadline: float) -> bool:
    """Improve incumbent and bound until the deadline; whether no selection is allowed."""
    problem = search.problem
    cliques = edge_clique_cover((~conflicts).astype(np.float64), 0.5)  # 0 for a conflict, hence closer than 1/2
    levels, lowest, unit = _levels(problem.signal(search.objective.signal).astype(np.float64))
    model = cp_model.CpModel()
    keep = [model.new_bool_var("") for _ in range(problem.tokens)]
    _constrain(model, keep, cliques, problem.budget)
    model.maximize(cp_model.LinearExpr.weighted_sum(keep, levels))
    if search.selected is not None:
        incumbent = set(search.selected.tolist())
        for token, variable in enumerate(keep):
            model.add_hint(variable, token in incumbent)
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = 0
    solver.parameters.linearization_level = 2
    if not math.isinf(deadline):
        solver.parameters.max_time_in_seconds = max(deadline - time.perf_counter(), 0.05)
    status = solver.solve(model, _Watch(search, keep))
    if status == cp_model.INFEASIBLE:
        return True
    proven = problem.budget * lowest + unit * math.floor(solver.best_objective_bound)
    search.bound(math.nextafter(float(proven), math.inf))
    return False


class _Watch(cp_model.CpSolverSolutionCallback):
    """Hands every selection that the solver meets to the search."""

    def __init__(self, search: _Search, keep: list[cp_model.IntVar]) -> None:
        super().__init__()
        self.search, self.keep = search, keep

    def on_solution_callback(self) -> None:
        chosen = [token for token, variable in enumerate(self.keep) if self.boolean_value(variable)]
        self.search.reach(np.array(chosen, dtype=np.int64))


def _constrain(model: cp_model.CpModel, keep: list[cp_model.IntVar], cliques: Cliques, budget: int) -> None:
    for group in np.split(cliques.members, cliques.ends[:-1]):
        model.add_at_most_one([keep[token] for token in group.tolist()])
    model.add(cp_model.LinearExpr.sum(keep) == budget)


def _levels(values: Float64Array) -> tuple[list[int], Fraction, Fraction]:
    """Integers, smallest value and unit: value <= smallest + unit * integer, exactly."""
    exact = [Fraction(value) for value in values.tolist()]
    lowest, highest = min(exact), max(exact)
    unit = (highest - lowest) / LEVELS if highest > lowest else Fraction(1)
    return [math.ceil((value - lowest) / unit) for value in exact], lowest, unit
