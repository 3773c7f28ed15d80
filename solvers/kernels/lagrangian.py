"""Fused subgradient method for the Lagrangian dual of facility location."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..arrays import Float64Array, FloatArray
from .jit import fused


class Search(NamedTuple):
    """State of a subgradient search, from which it can go on."""

    bound: float
    """Smallest upper bound found."""
    multipliers: FloatArray
    """Multipliers [token] that prove it, float32 on the grid of the coverage matrix."""
    worth: Float64Array
    """sum_i max(0, coverage_ij - u_i) at these multipliers [token]."""
    frequency: Float64Array
    """Exponentially weighted share of iterations in which each token was among the k best [token]."""
    point: Float64Array
    """Current multipliers before rounding to the grid [token]."""
    direction: Float64Array
    """Smoothed subgradient [token]."""
    scale: float
    """Factor of the Polyak step."""
    stalled: int
    """Iterations since the bound last improved noticeably."""


SMALLEST_SCALE = 1e-4
"""Step factor at which a search counts as converged."""


def begin(multipliers: FloatArray) -> Search:
    """Search that starts at `multipliers` [token], which lie on the grid."""
    nothing = np.zeros(len(multipliers))
    return Search(np.inf, multipliers, nothing, nothing, multipliers.astype(np.float64), nothing, 1.0, 0)


@fused
def lagrangian_worth(coverage: FloatArray, multipliers: FloatArray) -> Float64Array:
    """sum_i max(0, coverage_ij - u_i) for each token j, float64 [token]; exact on fixed-point numbers."""
    n = coverage.shape[0]
    worth = np.zeros(n, np.float64)
    for i in range(n):
        u = multipliers[i]
        for j in range(n):
            worth[j] += max(coverage[i, j] - u, np.float32(0.0))
    return worth


@fused
def descend(coverage: FloatArray, budget: int, target: float, iterations: int, grid: float, search: Search) -> Search:
    """Go on with `search` by Polyak steps towards `target`, a known value, along smoothed subgradients.

    The step factor shrinks by 0.6 after every 60 iterations without noticeable progress. Stops after `iterations`, at
    a zero subgradient, when the bound meets the target, or when the factor is below `SMALLEST_SCALE`.
    """
    n = coverage.shape[0]
    ceiling = np.empty(n)
    for i in range(n):
        ceiling[i] = coverage[i].max()
    bound, scale, stalled = search.bound, search.scale, search.stalled
    best, worth_at_best = search.multipliers.copy(), search.worth.copy()
    frequency, point, direction = search.frequency.copy(), search.point.copy(), search.direction.copy()
    current = np.empty(n, np.float32)
    chosen = np.zeros(n, np.bool_)
    for _ in range(iterations):
        value = 0.0
        for i in range(n):
            current[i] = np.float32(np.round(point[i] / grid) * grid)
            value += current[i]
        worth = lagrangian_worth(coverage, current)
        order = np.argsort(-worth, kind="mergesort")[:budget]
        chosen[:] = False
        for j in order:
            value += worth[j]
            chosen[j] = True
        for j in range(n):
            frequency[j] = 0.9 * frequency[j] + (0.1 if chosen[j] else 0.0)
        stalled += 1
        if value < bound:
            if value < bound - 1e-3 * (bound - target):
                stalled = 0
            bound = value
            best[:] = current
            worth_at_best[:] = worth
            if bound <= target:
                break
        if stalled >= 60:
            scale *= 0.6
            stalled = 0
            point[:] = best
            if scale < SMALLEST_SCALE:
                break
        norm = 0.0
        for i in range(n):
            slope = 1.0
            for j in order:
                if coverage[i, j] > current[i]:
                    slope -= 1.0
            direction[i] = 0.2 * slope + 0.8 * direction[i]
            norm += direction[i] * direction[i]
        if norm < 1e-12:
            break
        step = scale * (value - target) / norm
        for i in range(n):
            point[i] = min(max(point[i] - step * direction[i], 0.0), ceiling[i])
    return Search(bound, best, worth_at_best, frequency, point, direction, scale, stalled)
