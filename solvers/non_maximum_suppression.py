"""Non-maximum suppression: the most salient tokens, without those that look like a more salient one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .baselines import strongest_first
from .constraints import AbstractConstraint, Cardinality, Conflict, Forced, IndependenceSystem, Partition, dead_end
from .objectives.objective import AbstractObjective
from .problem import Problem
from .solver import AbstractSolver, Outcome


@dataclass(frozen=True)
class NonMaximumSuppression(AbstractSolver):
    """Takes the most salient token and suppresses those too similar to it, again and again; ties to the lowest index.

    Once every other token is suppressed, the most salient of them fill the budget. It is the greedy rule of GreedyPrune
    (Pei et al., 2025, arXiv:2506.13166) for any per-token signal. Under a constraint it takes, and fills with, tokens
    that are still allowed only, after those that must stay; under conflicts it can get stuck as greedy can.

    Parameters
    ----------
    signal
        Name of a per-token signal of the problem.
    threshold
        A token is suppressed if its similarity to a kept one is strictly above it.
    """

    signal: str = "cls"
    threshold: float = 0.9
    constraints: ClassVar[tuple[type[AbstractConstraint], ...]] = (Cardinality, Partition, Forced, Conflict)

    def __post_init__(self) -> None:
        if not math.isfinite(self.threshold):
            raise ValueError(f"`threshold` must be finite, got {self.threshold}")

    def _supports(self, problem: Problem, objective: AbstractObjective[Any]) -> str | None:
        return problem.lacks(self.signal) or dead_end(problem, lambda rule: self._picks(problem, rule))

    def _prepare(self, problem: Problem, objective: AbstractObjective[Any]) -> None:
        super()._prepare(problem, objective)
        _ = problem.similarity

    def _solve(
        self, problem: Problem, objective: AbstractObjective[Any], rng: np.random.Generator, time_limit: float | None
    ) -> Outcome:
        assert isinstance(problem.constraint, IndependenceSystem)
        return self._picks(problem, problem.constraint)

    def _picks(self, problem: Problem, rule: IndependenceSystem) -> Outcome:
        rank = np.argsort(strongest_first(problem, self.signal))
        suppressed = np.zeros(problem.tokens, dtype=np.bool_)
        selected = np.empty(problem.budget, dtype=np.int64)
        for pick in range(problem.budget):
            free = rule.candidates(selected[:pick], problem)
            standing = free[~suppressed[free]]
            pool = standing if standing.size else free
            selected[pick] = pool[np.argmin(rank[pool])]
            suppressed |= problem.similarity[selected[pick]] > self.threshold
        return Outcome(selected)
