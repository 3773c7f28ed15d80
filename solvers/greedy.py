"""Greedy selection: take the token with the largest marginal gain, k times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .arrays import IntArray
from .objectives.objective import AbstractObjective
from .problem import Problem
from .solver import AbstractSolver, Outcome


@dataclass(frozen=True)
class Greedy(AbstractSolver):
    """Exact greedy with incrementally maintained float64 gains; ties go to the lowest index.

    For a monotone submodular objective the value is at least 1 - 1/e of the optimum (Nemhauser, Wolsey and Fisher,
    1978, Mathematical Programming 14). The objective's state updates all gains after each pick, which costs far less
    than recomputing them: for facility location about 5 n^2 operations in all, nearly independent of k.
    """

    def _solve(
        self, problem: Problem, objective: AbstractObjective[Any], rng: np.random.Generator, time_limit: float | None
    ) -> Outcome:
        return Outcome(greedy_picks(problem, objective), evaluations=problem.budget * problem.tokens)


def greedy_picks(problem: Problem, objective: AbstractObjective[Any]) -> IntArray:
    """Tokens [budget] of exact greedy, in pick order."""
    state = objective.start(problem)
    selected = np.empty(problem.budget, dtype=np.int64)
    for pick in range(problem.budget):
        selected[pick] = np.argmax(objective.gains(state))
        state = objective.add(state, int(selected[pick]))
    return selected
