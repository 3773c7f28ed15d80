"""Baselines that look at no objective: the largest signal, chance, an even grid, and farthest first."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .arrays import IntArray
from .kernels.dispersion import farthest_first
from .objectives.max_min import MaxMin
from .objectives.objective import AbstractObjective
from .problem import Problem
from .solver import AbstractSolver, Outcome


@dataclass(frozen=True)
class TopK(AbstractSolver):
    """The k tokens with the largest signal, largest first; ties go to the lowest index.

    Parameters
    ----------
    signal
        Name of a per-token signal of the problem.
    """

    signal: str = "cls"

    def _supports(self, problem: Problem, objective: AbstractObjective[Any]) -> str | None:
        return problem.lacks(self.signal)

    def _solve(
        self, problem: Problem, objective: AbstractObjective[Any], rng: np.random.Generator, time_limit: float | None
    ) -> Outcome:
        order = np.argsort(-problem.signal(self.signal), kind="stable")
        return Outcome(order[: problem.budget])


@dataclass(frozen=True)
class Random(AbstractSolver):
    """k tokens drawn uniformly without replacement."""

    deterministic: ClassVar[bool] = False

    def _solve(
        self, problem: Problem, objective: AbstractObjective[Any], rng: np.random.Generator, time_limit: float | None
    ) -> Outcome:
        return Outcome(rng.permutation(problem.tokens)[: problem.budget])


@dataclass(frozen=True)
class UniformGrid(AbstractSolver):
    """k tokens spread evenly over the image: about sqrt(k rows / columns) rows, each with evenly spaced tokens."""

    def _supports(self, problem: Problem, objective: AbstractObjective[Any]) -> str | None:
        return None if problem.grid is not None else "the problem has no `grid` to spread tokens over"

    def _solve(
        self, problem: Problem, objective: AbstractObjective[Any], rng: np.random.Generator, time_limit: float | None
    ) -> Outcome:
        assert problem.grid is not None
        return Outcome(spread(problem.budget, *problem.grid))


@dataclass(frozen=True)
class FarthestFirst(AbstractSolver):
    """Farthest-first traversal: each token is the one farthest from all tokens kept before; ties to the lowest index.

    Gonzalez, 1985, Theoretical Computer Science 38; for max-min dispersion Ravi, Rosenkrantz and Tayi, 1994, Operations
    Research 42(2). The picks are those of `Greedy` under `MaxMin`, whatever the objective is. From any first token the
    smallest Euclidean distance of unit features reaches half the optimum, hence 1 - cos a quarter; see `theory`.

    Parameters
    ----------
    first
        Token to start from; None takes the one with the largest distance to its nearest neighbour, as DivPrune does
        (Alvar et al., 2025, arXiv:2503.02175).
    """

    first: int | None = None

    def __post_init__(self) -> None:
        if self.first is not None and (isinstance(self.first, bool) or self.first < 0):
            raise ValueError(f"`first` must be a token index or None, got {self.first!r}")

    def _supports(self, problem: Problem, objective: AbstractObjective[Any]) -> str | None:
        if self.first is not None and self.first >= problem.tokens:
            return f"`first` must be in [0, {problem.tokens - 1}], got {self.first}"
        return None

    def _prepare(self, problem: Problem, objective: AbstractObjective[Any]) -> None:
        super()._prepare(problem, objective)
        MaxMin().start(problem)

    def _solve(
        self, problem: Problem, objective: AbstractObjective[Any], rng: np.random.Generator, time_limit: float | None
    ) -> Outcome:
        start = MaxMin().start(problem)
        first = int(np.argmax(start.nearest)) if self.first is None else self.first
        selected = farthest_first(start.distances, first, problem.budget)
        return Outcome(selected, evaluations=problem.tokens * problem.budget)


def spread(budget: int, rows: int, columns: int) -> IntArray:
    """Ascending indices [budget] of evenly spread cells of a rows x columns grid."""
    used = min(rows, budget, max(math.ceil(budget / columns), round(math.sqrt(budget * rows / columns))))
    per_row = np.diff(np.arange(used + 1) * budget // used)
    return np.concatenate(
        [
            row * columns + _centres(int(count), columns)
            for row, count in zip(_centres(used, rows), per_row, strict=True)
        ]
    )


def _centres(parts: int, length: int) -> IntArray:
    """Middle cell of each of `parts` equal stretches of `length` cells, int64 [parts], distinct for parts <= length."""
    return (2 * np.arange(parts, dtype=np.int64) + 1) * length // (2 * parts)
