"""Exact solvers. This package and `solvers.bounds` are the only places that may import OR-Tools."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..certificate import CoverageObjective
from ..constraints import AbstractConstraint, Cardinality, Conflict, Forced, Partition, WholeRows
from ..objectives import (
    AbstractObjective,
    FacilityLocation,
    GramLogDet,
    GraphCut,
    LogDet,
    MaxMin,
    MaxSum,
    MultimodalFacilityLocation,
    RelevanceMinusRedundancy,
    Saliency,
    WeightedFacilityLocation,
)
from ..objectives.log_det import KernelLogDet
from ..objectives.pairwise import PairwiseObjective
from ..problem import Problem
from ..solver import AbstractSolver, Outcome
from .brute_force import BruteForce as BruteForce
from .matroid_saliency import solve_matroid_saliency


def _saliency(problem: Problem, objective: Saliency, time_limit: float | None) -> Outcome:
    if type(problem.constraint) is not Conflict:
        return solve_matroid_saliency(problem, objective, time_limit)
    from .independent_set import solve_independent_set  # OR-Tools takes half a second to import

    return solve_independent_set(problem, objective, time_limit)


def _facility_location(problem: Problem, objective: CoverageObjective, time_limit: float | None) -> Outcome:
    from .facility_location import solve_facility_location  # OR-Tools takes half a second to import

    return solve_facility_location(problem, objective, time_limit)


def _max_min(problem: Problem, objective: MaxMin, time_limit: float | None) -> Outcome:
    from .max_min import solve_max_min  # OR-Tools takes half a second to import

    return solve_max_min(problem, objective, time_limit)


def _quadratic(problem: Problem, objective: PairwiseObjective, time_limit: float | None) -> Outcome:
    from .quadratic import solve_quadratic  # it needs the bounds, which need this package

    return solve_quadratic(problem, objective, time_limit)


def _log_det(problem: Problem, objective: KernelLogDet, time_limit: float | None) -> Outcome:
    from .log_det import solve_log_det  # scipy.linalg takes a third of a second to import

    return solve_log_det(problem, objective, time_limit)


METHODS: dict[type[AbstractObjective[Any]], Callable[[Problem, Any, float | None], Outcome]] = {
    Saliency: _saliency,
    FacilityLocation: _facility_location,
    WeightedFacilityLocation: _facility_location,
    MultimodalFacilityLocation: _facility_location,
    LogDet: _log_det,
    GramLogDet: _log_det,
    MaxMin: _max_min,
    MaxSum: _quadratic,
    GraphCut: _quadratic,
    RelevanceMinusRedundancy: _quadratic,
}
"""Which function proves optimality for which objective, exactly this class; a new method is one entry."""


@dataclass(frozen=True)
class Exact(AbstractSolver):
    """Proves optimality with the method made for the objective; at the time limit returns incumbent, bound and gap.

    Saliency is sorted, also under partitions, forced tokens and whole rows; under conflicts it is an independent set,
    see `solvers.exact.independent_set`. Other objectives are solved under a cardinality alone. Facility location goes
    through a Lagrangian dual, reduced-cost fixing and a mixed-integer program; see `solvers.exact.facility_location`. A
    log-determinant is a branch and bound with factorisation bounds; see `solvers.exact.log_det`. Max-min dispersion is
    a search over thresholds, each an independent set decision; see `solvers.exact.max_min`. Sums over pairs (max-sum,
    graph cut, relevance minus redundancy) are a branch and bound on a concave form; see `solvers.exact.quadratic`. A
    subclass of an objective may value selections otherwise and is not supported.
    """

    constraints: ClassVar[tuple[type[AbstractConstraint], ...]] = (Cardinality, Partition, Forced, WholeRows, Conflict)

    def _supports(self, problem: Problem, objective: AbstractObjective[Any]) -> str | None:
        return self.refusal(objective, problem.constraint)

    @staticmethod
    def refusal(objective: AbstractObjective[Any], constraint: AbstractConstraint) -> str | None:
        """None if there is a method for the objective under the constraint, else a sentence with the reason."""
        elsewhere = "BruteForce solves small problems exactly"
        if type(objective) not in METHODS:
            known = ", ".join(kind.__name__ for kind in METHODS)
            return f"Exact has methods for {known}, got {type(objective).__name__}; {elsewhere}"
        if type(objective) is Saliency or type(constraint) is Cardinality:
            return None
        kind = type(objective).__name__
        return f"Exact solves {kind} under Cardinality only, got the constraint {constraint!r}; {elsewhere}"

    def _prepare(self, problem: Problem, objective: AbstractObjective[Any]) -> None:
        super()._prepare(problem, objective)
        if METHODS[type(objective)] is _facility_location:
            from . import facility_location  # noqa: F401  # the import is not solving time
        elif METHODS[type(objective)] is _log_det:
            from . import log_det  # noqa: F401
        elif METHODS[type(objective)] is _quadratic:
            from . import quadratic  # noqa: F401
        elif type(problem.constraint) is Conflict:
            from . import independent_set  # noqa: F401
        elif type(objective) is MaxMin:
            from . import max_min  # noqa: F401

    def _solve(
        self, problem: Problem, objective: AbstractObjective[Any], rng: np.random.Generator, time_limit: float | None
    ) -> Outcome:
        return METHODS[type(objective)](problem, objective, time_limit)
