"""Exhaustive search, the oracle that everything else is tested against."""

from __future__ import annotations

import itertools
import math
import time
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..constraints import (
    AbstractConstraint,
    Cardinality,
    Conflict,
    Forced,
    NoSelectionError,
    Partition,
    WholeRows,
)
from ..objectives.objective import AbstractObjective
from ..problem import Problem
from ..solution import Status
from ..solver import AbstractSolver, Outcome


@dataclass(frozen=True)
class BruteForce(AbstractSolver):
    """Values every selection in lexicographic order and returns the first of the best ones.

    Parameters
    ----------
    max_sets
        Largest number of selections it agrees to value; about 10 microseconds each.
    """

    max_sets: int = 500_000
    constraints: ClassVar[tuple[type[AbstractConstraint], ...]] = (Cardinality, Partition, Forced, WholeRows, Conflict)

    def __post_init__(self) -> None:
        if self.max_sets < 1:
            raise ValueError(f"`max_sets` must be at least 1, got {self.max_sets}")

    def _supports(self, problem: Problem, objective: AbstractObjective[Any]) -> str | None:
        sets = math.comb(problem.tokens, problem.budget)
        if sets > self.max_sets:
            return f"{problem.budget} of {problem.tokens} tokens make {sets:.3g} selections, more than {self.max_sets}"
        return None

    def _solve(
        self, problem: Problem, objective: AbstractObjective[Any], rng: np.random.Generator, time_limit: float | None
    ) -> Outcome:
        deadline = math.inf if time_limit is None else time.perf_counter() + time_limit
        best: tuple[int, ...] = ()
        reached, valued, status = -math.inf, 0, Status.OPTIMAL
        free = type(problem.constraint) is Cardinality
        for visited, selected in enumerate(itertools.combinations(range(problem.tokens), problem.budget), start=1):
            if free or problem.constraint.violation(np.array(selected), problem) is None:
                value = objective.value(problem, selected)
                valued += 1
                if value > reached:
                    best, reached = selected, value
            if visited % 1024 == 0 and time.perf_counter() > deadline:
                status = Status.TIME_LIMIT
                break
        if not best:
            what = f"no selection of {problem.id} keeps {problem.constraint!r}"
            raise NoSelectionError(f"{what}, or none was met in time")
        bound = reached if status is Status.OPTIMAL else math.inf
        return Outcome(np.array(best, dtype=np.int64), status, bound, valued)
