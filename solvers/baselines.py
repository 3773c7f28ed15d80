"""Baselines that look at no objective: the largest signal, chance, an even grid, and farthest first."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .arrays import IntArray
from .constraints import (
    AbstractConstraint,
    Cardinality,
    Conflict,
    Forced,
    IndependenceSystem,
    Partition,
    WholeRows,
    dead_end,
)
from .feature_space import directions, lacks_directions
from .kernels.dispersion import farthest_first
from .kernels.lazy import lazy_farthest_first
from .objectives.max_min import MaxMin
from .objectives.objective import AbstractObjective
from .problem import Problem
from .solver import AbstractSolver, Outcome


@dataclass(frozen=True)
class TopK(AbstractSolver):
    """The k tokens with the largest signal, largest first; ties go to the lowest index.

    Under a partition, forced tokens or conflicts, the tokens that must stay come first and those not allowed are passed
    over; under conflicts it can get stuck as greedy can. Whole rows are ranked by their sum.

    Parameters
    ----------
    signal
        Name of a per-token signal of the problem.
    """

    signal: str = "cls"
    constraints: ClassVar[tuple[type[AbstractConstraint], ...]] = (Cardinality, Partition, Forced, Conflict, WholeRows)

    def _supports(self, problem: Problem, objective: AbstractObjective[Any]) -> str | None:
        return problem.lacks(self.signal) or dead_end(
            problem, lambda rule: first_allowed(strongest_first(problem, self.signal), problem, rule)
        )

    def _solve(
        self, problem: Problem, objective: AbstractObjective[Any], rng: np.random.Generator, time_limit: float | None
    ) -> Outcome:
        rule = problem.constraint
        if isinstance(rule, WholeRows):
            rows = rule.rows(problem)
            sums = problem.signal(self.signal).astype(np.float64)[rows].sum(axis=1)
            return Outcome(rows[np.argsort(-sums, kind="stable")].ravel()[: problem.budget])
        assert isinstance(rule, IndependenceSystem)
        return Outcome(first_allowed(strongest_first(problem, self.signal), problem, rule))


@dataclass(frozen=True)
class Random(AbstractSolver):
    """k tokens drawn uniformly without replacement.

    Under forced tokens and whole rows too, every allowed selection is equally likely. Under a partition each pick is
    uniform among the tokens still allowed, which makes some allowed selections more likely than others.
    """

    deterministic: ClassVar[bool] = False
    constraints: ClassVar[tuple[type[AbstractConstraint], ...]] = (Cardinality, Partition, Forced, WholeRows)

    def _solve(
        self, problem: Problem, objective: AbstractObjective[Any], rng: np.random.Generator, time_limit: float | None
    ) -> Outcome:
        rule = problem.constraint
        if isinstance(rule, WholeRows):
            return Outcome(rng.permutation(rule.rows(problem)).ravel()[: problem.budget])
        assert isinstance(rule, IndependenceSystem)
        return Outcome(first_allowed(rng.permutation(problem.tokens), problem, rule))


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
    from_features
        Whether to compute 1 - cos from the features where it can still decide a pick, and never for all pairs; it
        needs metric="cosine" and a `first`. The picks are the same up to distances that agree to about 1e-13.
    """

    first: int | None = None
    from_features: bool = False

    def __post_init__(self) -> None:
        if self.first is not None and (isinstance(self.first, bool) or self.first < 0):
            raise ValueError(f"`first` must be a token index or None, got {self.first!r}")

    def _supports(self, problem: Problem, objective: AbstractObjective[Any]) -> str | None:
        if self.first is not None and self.first >= problem.tokens:
            return f"`first` must be in [0, {problem.tokens - 1}], got {self.first}"
        if self.from_features:
            all_pairs = "`from_features` needs `first`: to find the most isolated token takes all distances"
            return lacks_directions(problem) or (all_pairs if self.first is None else None)
        return None

    def _prepare(self, problem: Problem, objective: AbstractObjective[Any]) -> None:
        if not self.from_features:
            super()._prepare(problem, objective)
            MaxMin().start(problem)

    def _solve(
        self, problem: Problem, objective: AbstractObjective[Any], rng: np.random.Generator, time_limit: float | None
    ) -> Outcome:
        if self.from_features:
            assert self.first is not None
            picks, cosines = lazy_farthest_first(*directions(problem), self.first, problem.budget)
            return Outcome(picks, evaluations=cosines)
        start = MaxMin().start(problem)
        first = int(np.argmax(start.nearest)) if self.first is None else self.first
        selected = farthest_first(start.distances, first, problem.budget)
        return Outcome(selected, evaluations=problem.tokens * problem.budget)


def strongest_first(problem: Problem, signal: str) -> IntArray:
    """Tokens by descending signal [token]; ties go to the lowest index."""
    return np.argsort(-problem.signal(signal), kind="stable")


def first_allowed(order: IntArray, problem: Problem, rule: IndependenceSystem) -> IntArray:
    """Tokens [budget] in pick order: those that must stay, then each time the first of `order` [token] still allowed.

    Raises
    ------
    StuckError
        If none is allowed while places are left, which happens under conflicts only.
    """
    if type(rule) is Cardinality:
        return order[: problem.budget]
    rank = np.argsort(order)
    selected = np.empty(problem.budget, dtype=np.int64)
    for pick in range(problem.budget):
        free = rule.candidates(selected[:pick], problem)
        selected[pick] = free[np.argmin(rank[free])]
    return selected


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
