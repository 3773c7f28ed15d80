"""Exact saliency where a sort decides: cardinality, partitions, forced tokens, whole rows."""

from __future__ import annotations

import math

import numpy as np

from ..arrays import IntArray
from ..constraints import MatroidConstraint, WholeRows
from ..greedy import constrained_greedy
from ..objectives import Saliency
from ..problem import Problem
from ..solution import Status
from ..solver import Outcome


def solve_matroid_saliency(problem: Problem, objective: Saliency, time_limit: float | None) -> Outcome:
    """Best selection of `problem.budget` tokens; always optimal, whatever the time limit.

    Over a matroid the greedy selection of a modular function is optimal (Edmonds, 1971, Mathematical Programming 1):
    the largest values, skipping what a full part has no room for. Forced tokens contract and restrict the matroid,
    which leaves one. Whole rows are no matroid over tokens, but one over rows, of which the best are kept.
    """
    best = best_tokens(problem, objective)
    return Outcome(best, Status.OPTIMAL, objective.value(problem, best), problem.tokens)


def best_tokens(problem: Problem, objective: Saliency) -> IntArray:
    """Tokens [budget] of the largest sum that a matroid or whole rows allow, in pick order; ties to the lowest index.

    Raises
    ------
    TypeError
        Under any other constraint.
    """
    rule = problem.constraint
    if type(rule) is WholeRows:
        return _best_rows(problem, objective)
    if not isinstance(rule, MatroidConstraint):
        raise TypeError(f"a sort does not decide under {rule!r}")
    return constrained_greedy(problem, objective, rule)


def _best_rows(problem: Problem, objective: Saliency) -> IntArray:
    assert problem.grid is not None
    rows, columns = problem.grid
    sums = np.array([math.fsum(row) for row in problem.signal(objective.signal).astype(np.float64).reshape(rows, -1)])
    best = np.argsort(-sums, kind="stable")[: problem.budget // columns]
    tokens: IntArray = (best[:, None] * columns + np.arange(columns)).ravel()
    return tokens
