"""The frame around every solver: check, prepare, time, validate, score. Solvers only write `_solve`."""

from __future__ import annotations

import math
import numbers
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from .arrays import IntArray, frozen
from .certificate import Certificate
from .constraints import AbstractConstraint, Cardinality
from .kernels import warm_up
from .names import described
from .objectives.objective import AbstractObjective
from .problem import Problem
from .solution import Solution, Status, TracePoint

ROUNDING = 1e-9
"""Relative slack between a bound and a value that are summed in different orders."""


class Outcome(NamedTuple):
    """What `_solve` returns; the value is not among it, since a solver does not score itself."""

    selected: IntArray
    """Token indices [budget], in pick order."""
    status: Status = Status.FEASIBLE
    upper_bound: float = math.inf
    """Proven bound on the objective of every allowed selection."""
    evaluations: int = 0
    trace: tuple[TracePoint, ...] = ()
    certificate: Certificate | None = None


def checked_seed(seed: int) -> int:
    """`seed` as a non-negative int, or a ValueError."""
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ValueError(f"`seed` must be a non-negative integer, got {seed!r}")
    return int(seed)


def checked_time_limit(time_limit: float | None) -> float | None:
    """`time_limit` as a positive float or None, or a ValueError."""
    if time_limit is None:
        return None
    if isinstance(time_limit, bool) or not isinstance(time_limit, numbers.Real) or not time_limit > 0:
        raise ValueError(f"`time_limit` must be positive seconds or None, got {time_limit!r}")
    return float(time_limit)


@dataclass(frozen=True)
class AbstractSolver(ABC):
    """A way to choose tokens. Subclasses are frozen dataclasses whose fields are hyper-parameters."""

    deterministic: ClassVar[bool] = True
    """Whether the seed has no influence on the result."""

    constraints: ClassVar[tuple[type[AbstractConstraint], ...]] = (Cardinality,)
    """Constraints that its selections keep, exactly these classes."""

    @property
    def name(self) -> str:
        """Class name, with the hyper-parameters that are not at their defaults: "TopK(signal=relevance)"."""
        return described(self)

    def supports(self, problem: Problem, objective: AbstractObjective[Any]) -> str | None:
        """None if the solver can run, else a sentence with the reason."""
        return objective.supports(problem) or self._refuses(problem) or self._supports(problem, objective)

    def solve(
        self, problem: Problem, objective: AbstractObjective[Any], *, seed: int = 0, time_limit: float | None = None
    ) -> Solution:
        """Choose `problem.budget` tokens.

        Parameters
        ----------
        problem
            The instance.
        objective
            What the selection is scored by; rules and baselines choose without looking at it.
        seed
            Non-negative seed of the only source of randomness.
        time_limit
            Seconds for solvers that search; None lets them finish. One-pass methods do not look at it.

        Raises
        ------
        ValueError
            If the solver does not support the combination, or `seed` or `time_limit` is out of range. As
            `NoSelectionError` if it found no selection that keeps the constraint.
        RuntimeError
            If the solver returns a selection that is not allowed, or a bound below its own value: a defect in it.
        """
        seed, time_limit = checked_seed(seed), checked_time_limit(time_limit)
        reason = self.supports(problem, objective)
        if reason is not None:
            raise ValueError(f"{self.name} cannot solve {problem.id}: {reason}")

        warm_up()
        self._prepare(problem, objective)
        rng = np.random.default_rng(seed)
        started = time.perf_counter()
        outcome = self._solve(problem, objective, rng, time_limit)
        seconds = time.perf_counter() - started

        selected = frozen(np.asarray(outcome.selected, dtype=np.int64))
        violation = problem.constraint.violation(selected, problem)
        if violation is not None:
            raise RuntimeError(f"{self.name} returned a selection that is not allowed: {violation}")
        value = objective.value(problem, selected)
        bound = outcome.upper_bound
        if value > bound + ROUNDING * max(1.0, abs(value)):
            raise RuntimeError(f"{self.name} claims the bound {bound!r} but its selection is worth {value!r}")
        return Solution(
            selected=selected,
            value=value,
            upper_bound=max(bound, value),
            status=outcome.status,
            seconds=seconds,
            evaluations=outcome.evaluations,
            trace=outcome.trace,
            certificate=outcome.certificate,
        )

    def _refuses(self, problem: Problem) -> str | None:
        """Why the solver cannot keep the constraint of `problem`, or None if it can."""
        if type(problem.constraint) in self.constraints:
            return None
        known = ", ".join(kind.__name__ for kind in self.constraints)
        return f"{type(self).__name__} selects under {known} only, got the constraint {problem.constraint!r}"

    def _supports(self, problem: Problem, objective: AbstractObjective[Any]) -> str | None:
        return None

    def _prepare(self, problem: Problem, objective: AbstractObjective[Any]) -> None:
        # Matrices are cached on the problem and shared by all solvers, so they are nobody's running time.
        objective.start(problem)

    @abstractmethod
    def _solve(
        self, problem: Problem, objective: AbstractObjective[Any], rng: np.random.Generator, time_limit: float | None
    ) -> Outcome: ...
