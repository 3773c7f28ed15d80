"""Upper bound on quadratic set functions by the concave function that equals them on every selection."""

from __future__ import annotations

import math
import time
from typing import NamedTuple

import numpy as np

from .arrays import Float64Array
from .determinant_bounds import EPS
from .objectives.pairwise import PairwiseObjective
from .problem import Problem
from .solution import Bound

STEPS = 200
"""Steps of the descent, each one pass over the pairs."""


class ConcaveForm(NamedTuple):
    """x -> linear . x + x . curved x / 2: the objective on selections, concave between them."""

    linear: Float64Array
    curved: Float64Array
    slack: float
    """How far rounding may leave it from concave, over all steps between two points of sum k in [0, 1]."""


class Tangent(NamedTuple):
    """A modular function above the objective on all selections: constant + the sum of `gains` over the selection."""

    constant: float
    gains: Float64Array

    def bound(self, size: int) -> float:
        return self.constant + math.fsum(np.sort(self.gains)[-size:])


class Descent(NamedTuple):
    """Where the descent ended."""

    tangent: Tangent
    weights: Float64Array
    """Fractional selection [token]."""


def concave(problem: Problem, objective: PairwiseObjective, *, deadline: float = math.inf) -> Bound:
    """Concave quadratic relaxation (Hammer and Rubin, 1970, RIRO 4, on convexified binary quadratic programmes).

    Since x_i^2 = x_i on selections, any number may move from the diagonal of the pairs to the linear part. Here it is
    the largest eigenvalue of the pairs on directions of sum 0, which is what makes them concave for a fixed budget. A
    tangent of a concave function lies above it, so each one bounds all selections; Frank-Wolfe steps look for the
    lowest.

    Parameters
    ----------
    problem, objective
        What is to be bounded.
    deadline
        Moment of `time.perf_counter` after which no further tangent is tried.
    """
    form = concave_form(objective.linear(problem), objective.pairs(problem), problem.budget)
    even = np.full(problem.tokens, problem.budget / problem.tokens)
    return Bound(descend(form, even, problem.budget, deadline=deadline).tangent.bound(problem.budget), "concave form")


def concave_form(linear: Float64Array, pairs: Float64Array, size: int) -> ConcaveForm:
    """Worth of `size` tokens and of their `pairs`, with as little of the diagonal moved as makes it concave."""
    n = len(linear)
    # Projected on directions of sum 0, the only ones in which two selections of equal size differ.
    means = pairs.mean(axis=0)
    values = np.linalg.eigvalsh(pairs - means - means[:, None] + means.mean())
    shift = float(values[-1]) if n > 1 else 0.0
    scale = float(np.abs(pairs).sum(axis=1).max())
    return ConcaveForm(linear + shift / 2, pairs - shift * np.eye(n), 4 * n * EPS * scale * size)


def descend(
    form: ConcaveForm,
    weights: Float64Array,
    size: int,
    *,
    steps: int = STEPS,
    deadline: float = math.inf,
    threshold: float = -math.inf,
) -> Descent:
    """Lowest tangent met by Frank-Wolfe steps with exact line search from `weights` [token] of sum `size`.

    Stops at a bound up to `threshold`, and at the `deadline`, but not without a tangent.
    """
    n = len(weights)
    product = form.curved @ weights
    best: Tangent | None = None
    reached = math.inf
    for _ in range(steps):
        gains = form.linear + product
        # f(x) - gains . x = -x . curved x / 2
        tangent = Tangent(form.slack - float(weights @ product) / 2, gains)
        bound = tangent.bound(size)
        if bound < reached:
            best, reached = tangent, bound
        step = np.zeros(n)
        step[np.argsort(-gains, kind="stable")[:size]] = 1.0
        step -= weights
        along = form.curved @ step
        rise, bend = float(gains @ step), -float(step @ along)
        if reached <= threshold or rise <= 1e-9 * max(1.0, abs(bound)) or time.perf_counter() > deadline:
            break
        length = 1.0 if bend <= 0 else min(1.0, rise / bend)
        weights = weights + length * step
        product = product + length * along
    assert best is not None
    return Descent(best, weights)
