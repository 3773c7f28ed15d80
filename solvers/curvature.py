"""How far a set function is from adding up: last gains, monotonicity, total and greedy curvature."""

from __future__ import annotations

from typing import Any

import numpy as np

from .arrays import Float64Array
from .objectives import AbstractObjective, FacilityLocation, LogDet
from .objectives.facility_location import coverage
from .problem import Problem


def last_gains(problem: Problem, objective: AbstractObjective[Any]) -> Float64Array:
    """Gain of each token over all the others [token]: the smallest that a submodular objective can ever give it."""
    n = problem.tokens
    if type(objective) is FacilityLocation:
        cover = coverage(problem).astype(np.float64)
        if n == 1:
            result: Float64Array = cover[0].copy()
            return result
        best = np.argmax(cover, axis=1)
        lead = cover[np.arange(n), best] - np.partition(cover, n - 2, axis=1)[:, n - 2]
        return np.bincount(best, weights=lead, minlength=n).astype(np.float64)
    if type(objective) is LogDet:
        # det of the kernel without j over det of the kernel is entry j, j of its inverse.
        quality = objective.quality(problem)
        inverse = np.linalg.inv(problem.similarity + objective.ridge * np.eye(n))
        gains: Float64Array = 2.0 * np.log(quality) - np.log(np.diag(inverse))
        return gains
    everything = np.arange(n)
    full = objective.value(problem, everything)
    return np.array([full - objective.value(problem, np.delete(everything, token)) for token in range(n)])


def is_monotone(problem: Problem, objective: AbstractObjective[Any]) -> bool:
    """Whether no token ever lowers the value of a submodular `objective` on this problem: no last gain is negative.

    Raises
    ------
    ValueError
        If the objective is not submodular: last gains do not decide then.
    """
    _check_submodular(objective, "monotonicity is decided by last gains")
    return objective.monotone or bool(last_gains(problem, objective).min() >= 0.0)


def total_curvature(problem: Problem, objective: AbstractObjective[Any]) -> float:
    """c = 1 - min over tokens of last gain / first gain, in [0, 1] (Conforti and Cornuejols, 1984).

    0 for a modular function, 1 where the others make some token worthless. Greedy reaches (1 - (1 - c/k)^k) / c, which
    is at least (1 - e^-c) / c, of the optimum. Tokens without a first gain do not count.

    Raises
    ------
    ValueError
        If the objective is not monotone and submodular on this problem.
    """
    _check_curvature(problem, objective)
    return _curvature(objective.gains(objective.start(problem)), last_gains(problem, objective))


def greedy_curvature(problem: Problem, objective: AbstractObjective[Any]) -> float:
    """As the total curvature, over the tokens left after each of the first k - 1 picks of greedy, in [0, 1].

    Conforti and Cornuejols, 1984, Discrete Applied Mathematics 7(3). Greedy reaches 1 - c (k - 1) / k of the optimum: a
    pick gains at least 1 - c of the first gain of every token left, and the first pick all of it.

    Raises
    ------
    ValueError
        If the objective is not monotone and submodular on this problem.
    """
    _check_curvature(problem, objective)
    state = objective.start(problem)
    first = objective.gains(state).copy()
    worst = 0.0
    for _ in range(problem.budget - 1):
        state = objective.add(state, int(np.argmax(objective.gains(state))))
        left = np.isfinite(objective.gains(state))
        worst = max(worst, _curvature(first[left], objective.gains(state)[left]))
    return worst


def _curvature(first: Float64Array, last: Float64Array) -> float:
    counts = first > 0
    if not counts.any():
        return 0.0
    return float(np.clip(1.0 - (last[counts] / first[counts]).min(), 0.0, 1.0))


def _check_submodular(objective: AbstractObjective[Any], why: str) -> None:
    if not objective.submodular:
        raise ValueError(f"{why} for submodular objectives only, got {objective.name}")


def _check_curvature(problem: Problem, objective: AbstractObjective[Any]) -> None:
    _check_submodular(objective, "curvature is defined")
    if not is_monotone(problem, objective):
        raise ValueError(f"curvature is defined for monotone objectives only; {objective.name} is not on {problem.id}")
