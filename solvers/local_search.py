"""Local search: swap a kept for a dropped token while that improves the objective, from any start."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .arrays import Float64Array, FloatArray, IntArray
from .greedy import Greedy
from .kernels.interchange import eager_swaps, steepest_swaps
from .kernels.records import Swapped
from .objectives import AbstractObjective, FacilityLocation, LogDet
from .objectives.facility_location import coverage
from .problem import Problem
from .solution import Status
from .solver import ROUNDING, AbstractSolver, Outcome

MOVES_PER_LOOK = 256
"""Swaps of a fused loop between two looks at the clock."""


@dataclass(frozen=True)
class LocalSearch(AbstractSolver):
    """Swaps from the selection of another solver, until none improves; never worth less than where it started.

    Facility location is searched twice, and the better end is kept: by the best of all swaps at a time (Whitaker, 1983,
    INFOR 21), and by the best swap of one dropped token after the other, as FasterPAM goes (Schubert and Rousseeuw,
    2021, arXiv:2008.05171). A log-determinant takes the best of all swaps by the inverse of the kept block. Every other
    objective, subclasses of these two included, goes from one kept token to the next and replaces it by the best
    dropped one where that improves, which costs k additions per kept token. A swap optimum of a monotone submodular
    objective is worth at least k / (2 k - 1) of the optimum (Nemhauser, Wolsey and Fisher, 1978, Mathematical
    Programming 14, on interchange heuristics).

    Parameters
    ----------
    start
        Solver whose selection is improved.
    max_moves
        Largest number of swaps of one search.
    """

    start: AbstractSolver = field(default_factory=Greedy)
    max_moves: int = 1000

    def __post_init__(self) -> None:
        if self.max_moves < 1:
            raise ValueError(f"`max_moves` must be at least 1, got {self.max_moves}")
        # Chance in the start is chance in the result.
        object.__setattr__(self, "deterministic", self.start.deterministic)

    def _supports(self, problem: Problem, objective: AbstractObjective[Any]) -> str | None:
        reason = self.start.supports(problem, objective)
        return None if reason is None else f"its start {self.start.name} cannot run: {reason}"

    def _prepare(self, problem: Problem, objective: AbstractObjective[Any]) -> None:
        super()._prepare(problem, objective)
        self.start._prepare(problem, objective)

    def _solve(
        self, problem: Problem, objective: AbstractObjective[Any], rng: np.random.Generator, time_limit: float | None
    ) -> Outcome:
        deadline = math.inf if time_limit is None else time.perf_counter() + time_limit
        first = self.start._solve(problem, objective, rng, time_limit)
        # Sorted, so that the result depends on the set the start found and not on its order.
        selected = np.sort(np.asarray(first.selected, dtype=np.int64))
        improve: Callable[..., Improved] = FAST_PATHS.get(type(objective), _by_gains)
        improved, swaps, finished = improve(problem, objective, selected, self.max_moves, deadline)
        if not objective.value(problem, improved) > objective.value(problem, selected):
            improved = first.selected
        swap_count = problem.budget * (problem.tokens - problem.budget)
        return Outcome(
            improved,
            Status.FEASIBLE if finished else Status.TIME_LIMIT,
            first.upper_bound,
            first.evaluations + (swaps + 1) * swap_count,
            certificate=first.certificate,
        )


Improved = tuple[IntArray, int, bool]
"""Selection [budget], number of swaps, and whether the search ended by itself."""


def _by_coverage(
    problem: Problem, objective: FacilityLocation, selected: IntArray, max_moves: int, deadline: float
) -> Improved:
    matrix = coverage(problem)
    ends = [_descent(swap, matrix, selected, max_moves, deadline) for swap in (steepest_swaps, eager_swaps)]
    best = max(ends, key=lambda end: objective.value(problem, end[0]))
    return best[0], sum(swaps for _, swaps, _ in ends), all(finished for _, _, finished in ends)


def _descent(
    swap: Callable[..., Swapped], matrix: FloatArray, selected: IntArray, max_moves: int, deadline: float
) -> Improved:
    swaps = 0
    while swaps < max_moves:
        if time.perf_counter() > deadline:
            return selected, swaps, False
        asked = min(MOVES_PER_LOOK, max_moves - swaps)
        selected, moves = swap(matrix, matrix, selected, asked)
        swaps += moves
        if moves < asked:
            break
    return selected, swaps, True


def _by_inverse(problem: Problem, objective: LogDet, selected: IntArray, max_moves: int, deadline: float) -> Improved:
    kernel = objective.kernel(problem)
    value = objective.value(problem, selected)
    for swaps in range(max_moves):
        if time.perf_counter() > deadline:
            return selected, swaps, False
        factors = _swap_factors(kernel, selected)
        position, token = divmod(int(np.argmax(factors)), problem.tokens)
        candidate = selected.copy()
        candidate[position] = token
        reached = objective.value(problem, candidate)
        if reached <= value + ROUNDING * max(1.0, abs(value)):
            return selected, swaps, True
        selected, value = candidate, reached
    return selected, max_moves, True


def _swap_factors(kernel: Float64Array, selected: IntArray) -> Float64Array:
    """det of the kernel after swapping kept position p for token j, over det before [budget, token]; 0 for kept j.

    With P the inverse of the kept block and W = P L[S, :], the factor is P_pp (L_jj - L[j, S] W_j) + W_pj^2.
    """
    # Unit diagonal: the factors of a quality over many orders of magnitude cancel, and only then solve exactly.
    scale = np.sqrt(np.diag(kernel))
    block = kernel[selected] / scale[selected, None] / scale
    inverse = np.linalg.inv(block[:, selected])
    weights = inverse @ block
    left_over = np.maximum(1.0 - np.einsum("sj,sj->j", block, weights), 0.0)
    factors: Float64Array = np.diag(inverse)[:, None] * left_over + weights**2
    factors *= (scale / scale[selected, None]) ** 2
    factors[:, selected] = 0.0
    return factors


def _by_gains(
    problem: Problem, objective: AbstractObjective[Any], selected: IntArray, max_moves: int, deadline: float
) -> Improved:
    value, swaps, position, unchanged = objective.value(problem, selected), 0, 0, 0
    selected = selected.copy()
    while swaps < max_moves and unchanged < selected.size:
        if time.perf_counter() > deadline:
            return selected, swaps, False
        candidate = selected.copy()
        candidate[position] = _best_completion(problem, objective, np.delete(selected, position), selected)
        reached = objective.value(problem, candidate) if candidate[position] >= 0 else -math.inf
        if reached > value + ROUNDING * max(1.0, abs(value)):
            selected, value, swaps, unchanged = candidate, reached, swaps + 1, 0
        else:
            unchanged += 1
        position = (position + 1) % selected.size
    return selected, swaps, True


def _best_completion(problem: Problem, objective: AbstractObjective[Any], kept: IntArray, excluded: IntArray) -> int:
    """Token outside `excluded` with the largest gain over `kept`; -1 if there is none."""
    state = objective.start(problem)
    for token in kept.tolist():
        state = objective.add(state, token)
    gains = objective.gains(state).copy()
    gains[excluded] = -math.inf
    token = int(np.argmax(gains))
    return token if gains[token] > -math.inf else -1


FAST_PATHS: dict[type[AbstractObjective[Any]], Callable[..., Improved]] = {
    FacilityLocation: _by_coverage,
    LogDet: _by_inverse,
}
"""Faster search for exactly these objectives."""
