"""The strong formulation of facility location over a reduced core, solved by HiGHS through OR-Tools MathOpt."""

from __future__ import annotations

import datetime
import math
import time
from typing import NamedTuple

import numpy as np
from ortools.math_opt.python import mathopt

from ..arrays import IntArray
from .core import Core


class Answer(NamedTuple):
    """What the integer program found before the deadline."""

    selected: IntArray | None
    """Its best selection [budget], or None if it found none."""
    bound: float
    """Upper bound on every selection within the core; inf if there is none yet."""


def solve_core(core: Core, budget: int, hint: IntArray, tolerance: float, deadline: float) -> Answer:
    """Best selection within `core`, starting from the selection `hint`, to the relative gap `tolerance`.

    One variable says whether a token is kept, one whether a client is served by it, and a client is only served by
    tokens that are kept, y_cj <= x_j (Balinski, 1965, Management Science 12). The y would be integral by themselves;
    declaring them so lets the solver derive clique and zero-half cuts from these rows, which is the difference between
    minutes and seconds where the linear relaxation is not tight.
    """
    # In units of the largest worth, because the tolerances of the solver underneath are absolute.
    unit = float(core.worth.max())
    model = mathopt.Model()
    fixed = np.isin(core.columns, core.open).astype(np.float64).tolist()
    keep = [model.add_variable(lb=lowest, ub=1.0, is_integer=True) for lowest in fixed]
    serve = [model.add_binary_variable() for _ in core.worth]
    model.add_linear_constraint(mathopt.LinearSum(keep) == budget)
    served: dict[int, list[mathopt.Variable]] = {}
    for client, server, variable in zip(core.client.tolist(), core.server.tolist(), serve, strict=True):
        served.setdefault(client, []).append(variable)
        link = model.add_linear_constraint(ub=0.0)
        link.set_coefficient(variable, 1.0)
        link.set_coefficient(keep[server], -1.0)
    for variables in served.values():
        model.add_linear_constraint(mathopt.LinearSum(variables) <= 1.0)
    weights = (core.worth / unit).tolist()
    model.maximize(mathopt.LinearSum(weight * variable for weight, variable in zip(weights, serve, strict=True)))

    incumbent = set(hint.tolist())
    start = {variable: float(j in incumbent) for variable, j in zip(keep, core.columns.tolist(), strict=True)}
    remaining = deadline - time.perf_counter()
    result = mathopt.solve(
        model,
        mathopt.SolverType.HIGHS,
        params=mathopt.SolveParameters(
            random_seed=0,
            relative_gap_tolerance=tolerance,
            time_limit=None if math.isinf(remaining) else datetime.timedelta(seconds=max(remaining, 0.01)),
        ),
        model_params=mathopt.ModelSolveParameters(solution_hints=[mathopt.SolutionHint(variable_values=start)]),
    )
    bound = result.termination.objective_bounds.dual_bound * unit
    if not math.isfinite(bound):
        bound = math.inf
    if not result.has_primal_feasible_solution():
        return Answer(None, bound)
    chosen = np.array(result.variable_values(keep))
    return Answer(core.columns[np.sort(np.argsort(-chosen, kind="stable")[:budget])], bound)
