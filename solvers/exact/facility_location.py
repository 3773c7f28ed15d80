"""Exact facility location: Lagrangian dual, reduced-cost fixing, then a mixed-integer program on what is left."""

from __future__ import annotations

import datetime
import math
import time
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from ortools.math_opt.python import mathopt

from ..arrays import IntArray
from ..bounds import LagrangianBound, lagrangian
from ..kernels.coverage import covered
from ..objectives.facility_location import coverage
from ..problem import Problem
from ..solution import Status, TracePoint
from ..solver import Outcome

TOLERANCE = 1e-6
"""Relative gap at which a selection counts as optimal, the tolerance of the solver underneath."""

MAX_ASSIGNMENTS = 150_000
"""Largest program handed to the solver; above, its first bound would not come within minutes."""


class Core(NamedTuple):
    """What reduced costs could not decide."""

    open: IntArray
    """Tokens kept in every selection that is at least as good as the incumbent."""
    columns: IntArray
    """Tokens that such a selection may keep, those of `open` included."""
    token: IntArray
    """Covered token of each assignment that such a selection may use."""
    server: IntArray
    """Position in `columns` of the kept token of each assignment."""


@dataclass
class _Progress:
    """Incumbent, bound and trace; neither side ever gets worse."""

    started: float
    best: LagrangianBound
    upper_bound: float = math.inf
    trace: tuple[TracePoint, ...] = ()

    def update(self, best: LagrangianBound, upper_bound: float) -> None:
        if best.reached >= self.best.reached:
            self.best = best
        self.upper_bound = max(min(self.upper_bound, upper_bound), self.best.reached)
        self.trace += (TracePoint(time.perf_counter() - self.started, self.best.reached, self.upper_bound),)

    @property
    def closed(self) -> bool:
        return self.upper_bound <= self.best.reached * (1.0 + TOLERANCE)


def solve_facility_location(problem: Problem, time_limit: float | None) -> Outcome:
    """Best selection of `problem.budget` tokens, with bound and trace; at the time limit what is known so far.

    Facility location is the p-median problem. Steps: greedy and swap search; subgradient on the Lagrangian dual; every
    token and every assignment whose reduced cost exceeds the remaining gap is decided; the strong formulation
    (y_ij <= x_j, Balinski, 1965) of the rest goes to HiGHS through OR-Tools MathOpt. The last step typically has a few
    thousand assignments instead of n^2, since a token served far below its multiplier costs more than the gap.
    """
    started = time.perf_counter()
    deadline = math.inf if time_limit is None else started + time_limit
    dual = lagrangian(problem, rounds=1, deadline=deadline)
    progress = _Progress(started, dual)
    progress.update(dual, dual.value)
    while not (progress.closed or dual.converged or time.perf_counter() > deadline):
        dual = lagrangian(problem, rounds=1, deadline=deadline, start=dual)
        progress.update(dual, dual.value)
    if not progress.closed and time.perf_counter() < deadline:
        _integer_program(problem, dual, progress, deadline)
    status = Status.OPTIMAL if progress.closed else Status.TIME_LIMIT
    if status is Status.TIME_LIMIT and time.perf_counter() < deadline:
        status = Status.FEASIBLE
    return Outcome(
        progress.best.selected,
        status,
        progress.upper_bound,
        evaluations=problem.tokens * problem.budget,
        trace=progress.trace,
        certificate=dual.certificate(),
    )


def reduce(problem: Problem, dual: LagrangianBound) -> Core:
    """Fix by Lagrangian reduced costs everything that no selection as good as the incumbent can use.

    Forcing a token in or out, or serving token i by j below its multiplier, lowers the dual bound by a known amount; if
    it falls below the incumbent's value, the choice is out. All numbers are exact, so no margin is needed.
    """
    matrix, k = coverage(problem), problem.budget
    gap = dual.value - dual.reached
    order = np.argsort(-dual.search.worth, kind="stable")
    least_in, best_out = (
        dual.search.worth[order[k - 1]],
        dual.search.worth[order[k]] if k < problem.tokens else -math.inf,
    )
    regret = np.maximum(least_in - dual.search.worth, 0.0)
    columns = np.flatnonzero(regret <= gap)
    opened = np.flatnonzero(dual.search.worth - best_out > gap)
    shortfall = np.maximum(dual.search.multipliers[:, None].astype(np.float64) - matrix[:, columns], 0.0)
    token, server = np.nonzero(shortfall + regret[columns] <= gap)
    return Core(opened, columns, token, server)


def _integer_program(problem: Problem, dual: LagrangianBound, progress: _Progress, deadline: float) -> None:
    matrix = coverage(problem)
    core = reduce(problem, dual)
    if len(core.token) > MAX_ASSIGNMENTS:
        return
    # In units of the largest coverage, because the tolerances of the solver underneath are absolute.
    unit = float(matrix.max())
    weights = matrix[core.token, core.columns[core.server]].astype(np.float64) / unit
    model = mathopt.Model()
    fixed = np.isin(core.columns, core.open).astype(np.float64).tolist()
    keep = [model.add_variable(lb=lowest, ub=1.0, is_integer=True) for lowest in fixed]
    serve = [model.add_variable(lb=0.0, ub=1.0) for _ in core.token]
    _constrain(model, keep, serve, core, problem.budget)
    model.maximize(mathopt.LinearSum(w * y for w, y in zip(weights.tolist(), serve, strict=True)))
    remaining = deadline - time.perf_counter()
    parameters = mathopt.SolveParameters(
        random_seed=0,
        relative_gap_tolerance=TOLERANCE / 10,
        time_limit=None if math.isinf(remaining) else datetime.timedelta(seconds=max(remaining, 0.01)),
    )
    result = mathopt.solve(model, mathopt.SolverType.HIGHS, params=parameters, model_params=_hint(keep, core, dual))
    best = dual
    if result.has_primal_feasible_solution():
        chosen = result.variable_values(keep)
        selected = core.columns[np.sort(np.argsort(-np.array(chosen), kind="stable")[: problem.budget])]
        value = covered(matrix, selected)
        if value > dual.reached:
            best = dual._replace(selected=selected, reached=value)
    bound = result.termination.objective_bounds.dual_bound * unit
    # Selections outside the core are worth less than the incumbent, which `update` keeps as the floor of the bound.
    progress.update(best, bound if math.isfinite(bound) else math.inf)


def _constrain(
    model: mathopt.Model, keep: list[mathopt.Variable], serve: list[mathopt.Variable], core: Core, budget: int
) -> None:
    model.add_linear_constraint(mathopt.LinearSum(keep) == budget)
    served: dict[int, list[mathopt.Variable]] = {}
    for token, server, variable in zip(core.token.tolist(), core.server.tolist(), serve, strict=True):
        served.setdefault(token, []).append(variable)
        link = model.add_linear_constraint(ub=0.0)
        link.set_coefficient(variable, 1.0)
        link.set_coefficient(keep[server], -1.0)
    for variables in served.values():
        model.add_linear_constraint(mathopt.LinearSum(variables) == 1.0)


def _hint(keep: list[mathopt.Variable], core: Core, dual: LagrangianBound) -> mathopt.ModelSolveParameters:
    incumbent = set(dual.selected.tolist())
    values = {variable: float(j in incumbent) for variable, j in zip(keep, core.columns.tolist(), strict=True)}
    return mathopt.ModelSolveParameters(solution_hints=[mathopt.SolutionHint(variable_values=values)])
