"""Exact solvers. This package and `solvers.bounds` are the only places that may import OR-Tools."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..objectives import AbstractObjective, FacilityLocation, LogDet, MaxMin, Saliency
from ..problem import Problem
from ..solution import Status
from ..solver import AbstractSolver, Outcome
from .brute_force import BruteForce as BruteForce


def _saliency(problem: Problem, objective: Saliency, time_limit: float | None) -> Outcome:
    best = np.argsort(-problem.signal(objective.signal), kind="stable")[: problem.budget]
    return Outcome(best, Status.OPTIMAL, objective.value(problem, best))


def _facility_location(problem: Problem, objective: FacilityLocation, time_limit: float | None) -> Outcome:
    from .facility_location import solve_facility_location  # OR-Tools takes half a second to import

    return solve_facility_location(problem, time_limit)


def _max_min(problem: Problem, objective: MaxMin, time_limit: float | None) -> Outcome:
    from .max_min import solve_max_min  # OR-Tools takes half a second to import

    return solve_max_min(problem, objective, time_limit)


def _log_det(problem: Problem, objective: LogDet, time_limit: float | None) -> Outcome:
    from .log_det import solve_log_det  # scipy.linalg takes a third of a second to import

    return solve_log_det(problem, objective, time_limit)


METHODS: dict[type[AbstractObjective[Any]], Callable[[Problem, Any, float | None], Outcome]] = {
    Saliency: _saliency,
    FacilityLocation: _facility_location,
    LogDet: _log_det,
    MaxMin: _max_min,
}
"""Which function proves optimality for which objective, exactly this class; a new method is one entry."""


@dataclass(frozen=True)
class Exact(AbstractSolver):
    """Proves optimality with the method made for the objective; at the time limit returns incumbent, bound and gap.

    Saliency is sorted. Facility location goes through a Lagrangian dual, reduced-cost fixing and a mixed-integer
    program; see `solvers.exact.facility_location`. A log-determinant is a branch and bound with factorisation bounds;
    see `solvers.exact.log_det`. Max-min dispersion is a search over thresholds, each an independent set decision; see
    `solvers.exact.max_min`. A subclass of an objective may value selections otherwise and is not
    supported.
    """

    def _supports(self, problem: Problem, objective: AbstractObjective[Any]) -> str | None:
        if type(objective) in METHODS:
            return None
        known = ", ".join(kind.__name__ for kind in METHODS)
        return (
            f"Exact has methods for {known}, got {type(objective).__name__}; BruteForce solves small problems exactly"
        )

    def _prepare(self, problem: Problem, objective: AbstractObjective[Any]) -> None:
        super()._prepare(problem, objective)
        if type(objective) is FacilityLocation:
            from . import facility_location  # noqa: F401  # the import is not solving time
        elif type(objective) is LogDet:
            from . import log_det  # noqa: F401
        elif type(objective) is MaxMin:
            from . import max_min  # noqa: F401

    def _solve(
        self, problem: Problem, objective: AbstractObjective[Any], rng: np.random.Generator, time_limit: float | None
    ) -> Outcome:
        return METHODS[type(objective)](problem, objective, time_limit)
