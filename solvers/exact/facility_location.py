"""Exact facility location: Lagrangian dual, reduced-cost fixing, then an integer program on what is left."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np

from ..arrays import IntArray
from ..certificate import CoverageObjective
from ..lagrangian_dual import LagrangianBound, lagrangian, service
from ..problem import Problem
from ..solution import Status, TracePoint
from ..solver import Outcome
from .core import Core as Core
from .core import reduce as reduce
from .strong_formulation import solve_core

TOLERANCE = 1e-6
"""Relative gap at which a selection counts as optimal, the tolerance of the solver underneath."""

MAX_ASSIGNMENTS = 100_000
"""Largest program handed to the solver; above, its first bound would not come within minutes."""

SECONDS_PER_ASSIGNMENT = 1e-4
"""Building and presolving a program takes about so long and does not look at the clock."""

PROMISING = 0.02
"""Share of the last subgradient steps in which a token has to be chosen to be a candidate of the first program."""


@dataclass
class _Progress:
    """Incumbent, bound and trace; neither side ever gets worse."""

    started: float
    best: LagrangianBound
    upper_bound: float = math.inf
    trace: tuple[TracePoint, ...] = ()
    too_large: bool = False
    """Whether the core was too large for an integer program."""

    def update(self, best: LagrangianBound, upper_bound: float) -> None:
        if best.reached >= self.best.reached:
            self.best = best
        self.upper_bound = max(min(self.upper_bound, upper_bound), self.best.reached)
        self.trace += (TracePoint(time.perf_counter() - self.started, self.best.reached, self.upper_bound),)

    @property
    def closed(self) -> bool:
        return self.upper_bound <= self.best.reached * (1.0 + TOLERANCE)


def solve_facility_location(problem: Problem, objective: CoverageObjective, time_limit: float | None) -> Outcome:
    """Best selection of `problem.budget` tokens, with bound and trace; at the time limit what is known so far.

    Facility location is the p-median problem. Steps: greedy and swap search; subgradient on the Lagrangian dual; every
    token and every assignment whose reduced cost exceeds the remaining gap is decided; the strong formulation of the
    rest goes to HiGHS, first among the tokens that the dual often chooses, which brings a better incumbent and so a
    smaller rest, then in full. It typically has a few thousand assignments instead of n^2, since a client served far
    below its multiplier costs more than the gap. Its relaxation is tighter once its variables are integers than cut
    rounds on the shares alone (see `cut_rounds`) get.
    """
    started = time.perf_counter()
    deadline = math.inf if time_limit is None else started + time_limit
    dual = lagrangian(problem, objective, rounds=1, deadline=deadline)
    progress = _Progress(started, dual)
    progress.update(dual, dual.value)
    while not (progress.closed or dual.converged or time.perf_counter() > deadline):
        dual = lagrangian(problem, objective, rounds=1, deadline=deadline, start=dual)
        progress.update(dual, dual.value)
    for narrow in (True, False):
        if not progress.closed and time.perf_counter() < deadline:
            _integer_program(problem, progress, deadline, narrow)
    status = Status.FEASIBLE if progress.too_large or time_limit is None else Status.TIME_LIMIT
    if progress.closed:
        status = Status.OPTIMAL
    return Outcome(
        progress.best.selected,
        status,
        progress.upper_bound,
        evaluations=problem.tokens * problem.budget,
        trace=progress.trace,
        certificate=progress.best.certificate(),
    )


def _integer_program(problem: Problem, progress: _Progress, deadline: float, narrow: bool) -> None:
    best = progress.best
    core = reduce(problem, best)
    if narrow:
        core = _among(core, np.union1d(np.flatnonzero(best.search.frequency > PROMISING), best.selected))
    size = core.worth.size
    progress.too_large = size > MAX_ASSIGNMENTS
    if size == 0 or progress.too_large or size * SECONDS_PER_ASSIGNMENT > deadline - time.perf_counter():
        return
    tolerance = TOLERANCE / 10
    if narrow:  # it is there for a better incumbent: most of the gap in little time
        tolerance = max(tolerance, 0.1 * (progress.upper_bound / best.reached - 1.0))
    answer = solve_core(core, problem.budget, best.selected, tolerance, deadline)
    if answer.selected is not None:
        selected = service(problem, best.objective).improved(answer.selected)
        value = service(problem, best.objective).value(selected)
        if value > best.reached:
            best = best._replace(selected=selected, reached=value)
    # Selections outside the core are worth less than the incumbent, which `update` keeps as the floor of the bound.
    progress.update(best, math.inf if narrow else answer.bound)


def _among(core: Core, tokens: IntArray) -> Core:
    """The part of the core in which only `tokens` may be kept; it bounds nothing."""
    kept = np.isin(core.columns, tokens)
    used = kept[core.server]
    position = np.cumsum(kept) - 1
    return Core(core.open, core.columns[kept], core.client[used], position[core.server[used]], core.worth[used])
