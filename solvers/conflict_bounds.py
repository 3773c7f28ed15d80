"""Upper bound on the saliency of tokens of which no two conflict."""

from __future__ import annotations

import math

import numpy as np

from .arrays import Float64Array, IntArray
from .constraints import Conflict
from .objectives import Saliency
from .problem import Problem
from .solution import Bound


def clique_maxima(problem: Problem, objective: Saliency) -> Bound:
    """Sum of the k largest of the largest values of groups, every group made of tokens that conflict pairwise.

    A selection without conflicts holds one token of a group at most. Groups are filled first-fit in descending order
    of the signal, so every token that joins one lowers the bound or leaves it. Never above the k largest values; inf
    if the constraint is not a `Conflict`.
    """
    rule = problem.constraint
    if type(rule) is not Conflict:
        return Bound(math.inf, "none")
    values = problem.signal(objective.signal).astype(np.float64)
    return Bound(math.fsum(_largest(values, rule.conflicts(problem), problem.budget)), "clique maxima")


def _largest(values: Float64Array, conflicts: np.ndarray, k: int) -> Float64Array:
    """Largest value of each of the first k groups [group]: they are founded in descending order of it."""
    order: IntArray = np.argsort(-values, kind="stable")
    joinable = np.zeros((k, len(values)), dtype=np.bool_)
    founders: list[int] = []
    for token in order.tolist():
        fitting = np.flatnonzero(joinable[: len(founders), token])
        if fitting.size:
            joinable[fitting[0]] &= conflicts[token]
        elif len(founders) < k:
            joinable[len(founders)] = conflicts[token]
            founders.append(token)
        else:
            break
    return values[founders]
