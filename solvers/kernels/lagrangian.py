"""Fused subgradient method for the Lagrangian dual of facility location, for clients of any kind.

Worths are fixed-point numbers, float32 (`objectives.facility_location.coverage`) or float64
(`objectives.client_coverage.summable`), so sums and differences are exact in float64.

Memory traffic: a step reads an index of 8 bytes and a worth of 4 or 8 for each entry of the lists that lies above the
client's multiplier, about n / k per client, so 12 to 16 bytes times clients n / k. At n = 576, k = 64 that is 0.06 MB
out of the second-level cache: the step is bound by the additions to scattered tokens, not by memory.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..arrays import Float64Array, FloatArray, IntArray
from .jit import fused


class Shortlists(NamedTuple):
    """The tokens worth most to each client, best first.

    A token counts only where it is worth more than the multiplier, which is about n / k tokens per client: a pass over
    the lists takes clients * n / k steps instead of clients * n.
    """

    start: IntArray
    """Position of the first entry of each client, and the number of entries [client + 1]."""
    token: IntArray
    """Token of each entry."""
    worth: FloatArray
    """Its worth to the client of the entry, descending within a client."""
    floor: FloatArray
    """Smallest multiplier at which no token outside of the list counts [client]."""


class Search(NamedTuple):
    """State of a subgradient search, from which it can go on."""

    bound: float
    """Smallest upper bound found."""
    multipliers: FloatArray
    """Multipliers [client] that prove it, on the grid of the worths and of their dtype."""
    surplus: Float64Array
    """sum over clients c of max(0, worth_cj - u_c) at these multipliers [token]."""
    frequency: Float64Array
    """Exponentially weighted share of iterations in which each token was among the k best [token]."""
    point: Float64Array
    """Current multipliers before rounding to the grid [client]."""
    direction: Float64Array
    """Smoothed subgradient [client]."""
    scale: float
    """Factor of the Polyak step."""
    stalled: int
    """Iterations since the bound last improved noticeably."""


SMALLEST_SCALE = 1e-4
"""Step factor at which a search counts as converged."""


def shortlists(worth: FloatArray, length: int) -> Shortlists:
    """The `length` tokens worth most to each client, from worths [client, token]."""
    clients, n = worth.shape
    length = min(length, n)
    token = np.sort(np.argpartition(-worth, length - 1, axis=1)[:, :length], axis=1)
    order = np.argsort(-np.take_along_axis(worth, token, axis=1), axis=1, kind="stable")
    token = np.take_along_axis(token, order, axis=1)
    best = np.take_along_axis(worth, token, axis=1)
    floor = best[:, -1].copy() if length < n else np.zeros(clients, worth.dtype)
    return Shortlists(np.arange(clients + 1) * length, token.ravel(), best.ravel(), floor)


def begin(multipliers: FloatArray, tokens: int) -> Search:
    """Search for a choice among `tokens` that starts at `multipliers` [client], which lie on the grid."""
    nothing = np.zeros(tokens)
    return Search(
        np.inf, multipliers, nothing, nothing, multipliers.astype(np.float64), np.zeros(len(multipliers)), 1.0, 0
    )


@fused
def _choose(surplus: Float64Array, budget: int, chosen: npt.NDArray[np.bool_]) -> float:
    """Mark the `budget` tokens of largest surplus, the lowest of equal ones; their total surplus."""
    n = len(surplus)
    least = np.partition(surplus, n - budget)[n - budget]
    total, left = 0.0, budget
    for j in range(n):
        chosen[j] = surplus[j] > least
        if chosen[j]:
            total += surplus[j]
            left -= 1
    for j in range(n):
        if left > 0 and surplus[j] == least:
            chosen[j] = True
            total += surplus[j]
            left -= 1
    return total


@fused
def descend(lists: Shortlists, budget: int, target: float, iterations: int, grid: float, search: Search) -> Search:
    """Go on with `search` by Polyak steps towards `target`, a known value, along smoothed subgradients.

    The step factor shrinks by 0.6 after every 60 iterations without noticeable progress. Stops after
    `iterations`, at a zero subgradient, when the bound meets the target, or when the factor is below `SMALLEST_SCALE`.
    """
    start, token, worth, floor = lists
    clients, n = len(floor), len(search.surplus)
    bound, scale, stalled = search.bound, search.scale, search.stalled
    best, surplus_at_best = search.multipliers.copy(), search.surplus.copy()
    frequency, point, direction = search.frequency.copy(), search.point.copy(), search.direction.copy()
    current = best.copy()
    surplus = np.empty(n)
    chosen = np.zeros(n, np.bool_)
    for _ in range(iterations):
        value = 0.0
        surplus[:] = 0.0
        for c in range(clients):
            u = max(worth.dtype.type(np.round(point[c] / grid) * grid), floor[c])
            current[c] = u
            value += u
            for entry in range(start[c], start[c + 1]):
                if worth[entry] <= u:
                    break
                surplus[token[entry]] += worth[entry] - u
        value += _choose(surplus, budget, chosen)
        for j in range(n):
            frequency[j] = 0.9 * frequency[j] + (0.1 if chosen[j] else 0.0)
        stalled += 1
        if value < bound:
            if value < bound - 1e-3 * (bound - target):
                stalled = 0
            bound = value
            best[:] = current
            surplus_at_best[:] = surplus
            if bound <= target:
                break
        if stalled >= 60:
            scale *= 0.6
            stalled = 0
            for c in range(clients):
                point[c] = best[c]
            if scale < SMALLEST_SCALE:
                break
        norm = 0.0
        for c in range(clients):
            slope = 1.0
            for entry in range(start[c], start[c + 1]):
                if worth[entry] <= current[c]:
                    break
                if chosen[token[entry]]:
                    slope -= 1.0
            direction[c] = 0.2 * slope + 0.8 * direction[c]
            norm += direction[c] * direction[c]
        if norm < 1e-12:
            break
        step = scale * (value - target) / norm
        for c in range(clients):
            highest = worth[start[c]] if start[c] < start[c + 1] else floor[c]
            point[c] = min(max(point[c] - step * direction[c], floor[c]), highest)
    return Search(bound, best, surplus_at_best, frequency, point, direction, scale, stalled)
