"""A proof of value and upper bound of a facility-location selection that anybody can check in one pass."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .arrays import Float64Array, FloatArray, IntArray, frozen
from .constraints import Cardinality
from .objectives.client_coverage import ClientCoverage
from .objectives.facility_location import FacilityLocation, coverage
from .problem import Problem

CoverageObjective = FacilityLocation | ClientCoverage
"""The facility-location family: each client is worth what the best kept token is to it."""


def worths(problem: Problem, objective: CoverageObjective) -> FloatArray:
    """Worth [client, token], at least 0, fixed-point numbers whose sums are exact in float64."""
    return coverage(problem) if isinstance(objective, FacilityLocation) else objective.worth(problem)


SLACK = 1e-9
"""Relative difference that counts as rounding: another machine may sum similarities in another order."""


@dataclass(frozen=True, eq=False)
class Certificate:
    """Claim that `selected` is worth `value` and nothing more than `bound`, with the multipliers that prove it.

    For any real multipliers u [client], sum_c u_c + (sum of the k largest sum_c max(0, worth_cj - u_c)) bounds the
    value of every selection of k tokens (Cornuejols, Fisher and Nemhauser, 1977, Management Science 23(8)).

    Parameters
    ----------
    objective
        Objective of the claim: `FacilityLocation`, `WeightedFacilityLocation` or `MultimodalFacilityLocation`.
    bound
        The claimed upper bound on every selection of as many tokens.
    multipliers
        u [client], float64. The clients of facility location are the tokens.
    selected
        Tokens kept [budget].
    value
        The claimed value of `selected`.
    """

    objective: CoverageObjective
    bound: float
    multipliers: Float64Array
    selected: IntArray
    value: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "multipliers", frozen(np.asarray(self.multipliers, dtype=np.float64)))
        object.__setattr__(self, "selected", frozen(np.asarray(self.selected, dtype=np.int64)))

    def verify(self, problem: Problem) -> bool:
        """Whether both claims hold on `problem`: one pass over the worths in float64, by no loop that solvers use."""
        if self.objective.supports(problem) or Cardinality().violation(self.selected, problem):
            return False
        worth = worths(problem, self.objective)
        if self.multipliers.shape != (len(worth),) or not np.isfinite(self.multipliers).all():
            return False
        surplus, served = np.zeros(problem.tokens), []
        for row, multiplier in zip(worth, self.multipliers, strict=True):
            client = row.astype(np.float64)
            surplus += np.maximum(client - multiplier, 0.0)
            served.append(client[self.selected].max())
        proven = math.fsum(self.multipliers) + math.fsum(np.sort(surplus)[-problem.budget :])
        # Written so that a claim that is not a number fails.
        slack = SLACK * max(abs(proven), math.ulp(0.0))
        return proven <= self.bound + slack and abs(math.fsum(served) - self.value) <= slack
