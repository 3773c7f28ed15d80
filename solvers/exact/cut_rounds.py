"""The strong linear relaxation of facility location by rounds of cuts, with GLOP through OR-Tools MathOpt."""

from __future__ import annotations

import datetime
import math
import time

import numpy as np
from ortools.math_opt.python import mathopt

from ..arrays import Float64Array, FloatArray, IntArray
from ..certificate import CoverageObjective
from ..lagrangian_dual import LagrangianBound, Service, lagrangian, service
from ..problem import Problem

PRECISION = 1e-8
"""Relative gap between the proven bound and the worth of the fractional solution that ends the rounds."""

FEASIBILITY = 1e-7
"""Violation of a cut, in units of the largest worth, within the tolerance of the solver underneath."""


def linear_bound(problem: Problem, objective: CoverageObjective, deadline: float = math.inf) -> LagrangianBound:
    """Multipliers that prove the value of the strong linear relaxation, about the smallest bound that any can prove.

    The strong relaxation has n^2 variables; its projection on the kept shares x needs one number theta_c per client,
    what the client is worth, and the cuts theta_c <= r + sum_j max(0, worth_cj - r) x_j for every level r (Magnanti and
    Wong, 1981, Operations Research 29). At given x the tightest level is the worth at which the tokens best for the
    client add up to one. Cuts start at the Lagrangian multipliers and at the best and second best worths of the
    incumbent; a few rounds suffice from there. The dual prices of a client's cuts add up to one: the levels averaged by
    them are multipliers, and what these prove in exact arithmetic is no more than the programme's value.
    """
    best = lagrangian(problem, objective, deadline=deadline)
    if best.value <= best.reached:
        return best
    worth = service(problem, objective)
    programme = _CutProgramme(worth, problem.budget)
    programme.add(best.search.multipliers)
    for level in np.sort(worth.by_token[best.selected], axis=0)[::-1][:2]:
        programme.add(level)
    while time.perf_counter() < deadline:
        multipliers = programme.solve(deadline)
        if multipliers is None:
            break
        search = worth.proven(multipliers, problem.budget, best.search)
        best = best._replace(search=min(search, best.search, key=lambda found: found.bound))
        levels, violated, attained = programme.tightest()
        if violated.size == 0 or best.value <= attained * (1.0 + PRECISION):
            break
        programme.add(levels, violated)
    return best


class _CutProgramme:
    """Linear programme in the kept shares and in the worth of each client, in units of the largest worth."""

    def __init__(self, worth: Service, budget: int) -> None:
        clients, n = worth.by_client.shape
        self._unit = float(worth.by_client.max())
        self._worth = worth.by_client.astype(np.float64) / self._unit
        self._order = np.argsort(-self._worth, axis=1, kind="stable")
        model = mathopt.Model()
        self._kept = [model.add_variable(lb=0.0, ub=1.0) for _ in range(n)]
        self._served = [model.add_variable(lb=0.0, ub=float(most)) for most in self._worth.max(axis=1)]
        model.add_linear_constraint(mathopt.LinearSum(self._kept) == float(budget))
        model.maximize(mathopt.LinearSum(self._served))
        self._model = model
        self._cuts: list[mathopt.LinearConstraint] = []
        self._client: list[int] = []
        self._level: list[float] = []
        self._share, self._theta = np.zeros(n), np.zeros(clients)
        self._solver = mathopt.IncrementalSolver(model, mathopt.SolverType.GLOP)

    def add(self, levels: FloatArray, clients: IntArray | None = None) -> None:
        """A cut for each of `clients` (default: all) at its level [client]."""
        for c in range(len(self._theta)) if clients is None else clients.tolist():
            level = float(levels[c]) / self._unit
            cut = self._model.add_linear_constraint(ub=level)
            cut.set_coefficient(self._served[c], 1.0)
            for j in np.flatnonzero(self._worth[c] > level).tolist():
                cut.set_coefficient(self._kept[j], level - float(self._worth[c, j]))
            self._cuts.append(cut)
            self._client.append(c)
            self._level.append(level)

    def solve(self, deadline: float) -> Float64Array | None:
        """Multipliers [client] from the dual prices of the cuts; None if the time did not suffice."""
        remaining = deadline - time.perf_counter()
        limit = None if math.isinf(remaining) else datetime.timedelta(seconds=max(remaining, 0.01))
        result = self._solver.solve(params=mathopt.SolveParameters(time_limit=limit))
        if result.termination.reason != mathopt.TerminationReason.OPTIMAL:
            return None
        self._share = np.array(result.variable_values(self._kept))
        self._theta = np.array(result.variable_values(self._served))
        prices = np.abs(np.array(result.dual_values(self._cuts)))
        total = np.bincount(self._client, prices, minlength=len(self._theta))
        # A client at its largest worth has a price there instead: the level of that is the largest worth.
        rest = np.maximum(1.0 - total, 0.0) * self._worth.max(axis=1)
        found: Float64Array | None = (
            np.bincount(self._client, prices * self._level, minlength=len(total)) + rest
        ) * self._unit
        return found

    def tightest(self) -> tuple[Float64Array, IntArray, float]:
        """Tightest level at the last solution [client], the clients it cuts off there, and what its shares attain."""
        filled = np.cumsum(self._share[self._order], axis=1)
        last = np.minimum((filled < 1.0 - 1e-9).sum(axis=1), self._share.size - 1)
        rows = np.arange(len(last))
        levels = self._worth[rows, self._order[rows, last]]
        allowed = levels + np.maximum(self._worth - levels[:, None], 0.0) @ self._share
        return (
            levels * self._unit,
            np.flatnonzero(self._theta > allowed + FEASIBILITY),
            float(allowed.sum()) * self._unit,
        )
