"""Lagrangian dual of the facility-location family: a bound, the multipliers that prove it, and good selections."""

from __future__ import annotations

import math
import time
from typing import NamedTuple

import numpy as np

from .arrays import Float64Array, FloatArray, IntArray, frozen
from .certificate import Certificate, CoverageObjective, worths
from .greedy import greedy_picks
from .kernels.interchange import steepest_swaps
from .kernels.lagrangian import SMALLEST_SCALE, Search, Shortlists, begin, descend, shortlists
from .objectives.facility_location import FacilityLocation, grid_step
from .problem import Problem

SWAPS = 200
"""Largest number of swaps by which a selection suggested by the multipliers is improved."""


class Service(NamedTuple):
    """Worths of an objective of the family in both layouts."""

    by_client: FloatArray
    """Fixed-point worth [client, token]."""
    by_token: FloatArray
    """The same numbers [token, client]."""
    grid: float
    """Distance of neighbouring multipliers, a power of two at which all sums of a bound are exact."""

    def value(self, selected: IntArray) -> float:
        """Value of `selected`, exact."""
        return float(self.by_token[selected].max(axis=0).astype(np.float64).sum())

    def proven(self, multipliers: Float64Array, budget: int, search: Search) -> Search:
        """`search` moved to `multipliers` [client], with the bound that these prove once they are on the grid."""
        dtype = self.by_client.dtype
        on_grid = (np.round(multipliers / self.grid) * self.grid).astype(dtype)
        surplus = np.zeros(self.by_client.shape[1])
        for row, multiplier in zip(self.by_client, on_grid, strict=True):
            surplus += np.maximum(row - multiplier, 0.0)
        bound = float(on_grid.astype(np.float64).sum() + np.sort(surplus)[-budget:].sum())
        return search._replace(bound=bound, multipliers=on_grid, surplus=surplus, point=on_grid.astype(np.float64))

    def improved(self, selected: IntArray, max_moves: int = SWAPS) -> IntArray:
        """`selected` after at most `max_moves` best swaps."""
        return steepest_swaps(self.by_client, self.by_token, selected, max_moves).selected


class LagrangianBound(NamedTuple):
    """Dual and primal side of facility location after the subgradient method."""

    objective: CoverageObjective
    """What is bounded."""
    search: Search
    """Multipliers, the bound they prove (exact in float64), and where to go on."""
    selected: IntArray
    """Best selection met on the way [budget]."""
    reached: float
    """Value of `selected`."""
    lists: Shortlists
    """Tokens that count for each client."""

    @property
    def value(self) -> float:
        """The upper bound."""
        return self.search.bound

    @property
    def converged(self) -> bool:
        """Whether further rounds are pointless."""
        return self.search.scale < SMALLEST_SCALE or self.value <= self.reached

    def certificate(self) -> Certificate:
        """Multipliers and selection as a proof that can be checked on its own."""
        multipliers = self.search.multipliers.astype(np.float64)
        return Certificate(self.objective, self.value, multipliers, self.selected, self.reached)


def service(problem: Problem, objective: CoverageObjective) -> Service:
    """Worths of `objective` on `problem`, computed once."""

    def build() -> Service:
        by_client = worths(problem, objective)
        if isinstance(objective, FacilityLocation):
            return Service(by_client, by_client, grid_step(by_client))
        return Service(by_client, frozen(by_client.T), _grid_of_sums(by_client))

    made: Service = problem.cached(f"service {objective!r}", build)
    return made


def _grid_of_sums(worth: FloatArray) -> float:
    """Step of the grid on which `summable` put the worths, or the next finer or coarser one."""
    total = float(worth.max(axis=1).sum())
    return max(2.0 ** (math.ceil(math.log2(total)) + 1 - 52), math.ulp(0.0)) if total > 0 else 1.0


def lagrangian(
    problem: Problem,
    objective: CoverageObjective | None = None,
    *,
    rounds: int = 12,
    iterations: int = 250,
    deadline: float = math.inf,
    start: LagrangianBound | None = None,
) -> LagrangianBound:
    """Lagrangian dual of facility location by a subgradient method, with swap search on the primal side.

    Relaxes that every client is served once (Cornuejols, Fisher and Nemhauser, 1977, Management Science 23(8)).
    The arithmetic is exact (see `coverage` and `summable`), so the bound needs no safety margin.

    Parameters
    ----------
    problem
        The instance.
    objective
        A member of the family: `FacilityLocation` (the default), `WeightedFacilityLocation`,
        `MultimodalFacilityLocation`.
    rounds, iterations
        Rounds, and subgradient steps in each; after each round the multipliers suggest selections.
    deadline
        Moment of `time.perf_counter` at which no further round starts.
    start
        A former result to go on from.
    """
    objective = objective or FacilityLocation()
    worth = service(problem, objective)
    k = problem.budget
    best = start or _first_primal(problem, objective, worth)
    for _ in range(rounds):
        lists = _deepened(best, worth)
        search = descend(lists, k, best.reached, iterations, worth.grid, best.search)
        selected, reached = best.selected, best.reached
        for guess in (search.surplus, search.frequency):
            candidate = worth.improved(np.argsort(-guess, kind="stable")[:k])
            value = worth.value(candidate)
            if value > reached:
                selected, reached = candidate, value
        best = LagrangianBound(objective, search, selected, reached, lists)
        if best.converged or time.perf_counter() > deadline:
            break
    return best


def _deepened(best: LagrangianBound, worth: Service) -> Shortlists:
    """The lists, twice as long if a multiplier would go below what they allow."""
    lists, n = best.lists, worth.by_client.shape[1]
    length = int(lists.start[1])
    if length < n and (best.search.point <= lists.floor).any():
        return shortlists(worth.by_client, 2 * length)
    return lists


def _first_primal(problem: Problem, objective: CoverageObjective, worth: Service) -> LagrangianBound:
    selected = worth.improved(greedy_picks(problem, objective), 500)
    # Between best and second best worth each client is served by about one kept token, as the dual wants it.
    two_best = np.partition(np.pad(worth.by_token[selected], ((1, 0), (0, 0))), problem.budget - 1, axis=0)[-2:]
    halfway = two_best.astype(np.float64).sum(axis=0) / 2
    multipliers = (np.round(halfway / worth.grid) * worth.grid).astype(worth.by_client.dtype)
    lists = shortlists(worth.by_client, 8 * problem.tokens // problem.budget + 8)
    return LagrangianBound(objective, begin(multipliers, problem.tokens), selected, worth.value(selected), lists)
