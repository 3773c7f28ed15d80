"""Fused loops of facility location over a symmetric coverage matrix, float32 [token, token], sums in float64.

The matrix holds fixed-point numbers (see `solvers.objectives.facility_location.coverage`), so differences are exact in
float32 and sums exact in float64: reordering by the compiler cannot change a result.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..arrays import Float64Array, FloatArray, IntArray
from .jit import fused


class Cover(NamedTuple):
    """How a selection covers each token."""

    best: FloatArray
    """Largest coverage [token]."""
    second: FloatArray
    """Second largest coverage [token], 0 if only one token is kept."""
    server: IntArray
    """Position in the selection of the best one [token]."""


@fused
def total_gains(coverage: FloatArray) -> Float64Array:
    """Gain of each token [token] over the empty selection."""
    n = coverage.shape[0]
    gains = np.zeros(n, np.float64)
    for i in range(n):
        for j in range(n):
            gains[j] += coverage[i, j]
    return gains


@fused
def cover(coverage: FloatArray, best: FloatArray, gains: Float64Array, token: int) -> None:
    """Add `token`, in place: only tokens that it covers better than before change the gains of the others."""
    n = coverage.shape[0]
    for i in range(n):
        old = best[i]
        new = coverage[token, i]
        if new > old:
            best[i] = new
            most = new - old
            for j in range(n):
                gains[j] -= min(max(coverage[i, j] - old, np.float32(0.0)), most)


@fused
def assign(coverage: FloatArray, selected: IntArray) -> Cover:
    """Best and second best coverage of each token by `selected`."""
    n = coverage.shape[0]
    best = np.full(n, np.float32(-1.0))
    second = np.zeros(n, np.float32)
    server = np.zeros(n, np.int64)
    for position in range(len(selected)):
        for i in range(n):
            value = coverage[selected[position], i]
            if value > best[i]:
                second[i] = max(best[i], np.float32(0.0))
                best[i] = value
                server[i] = position
            elif value > second[i]:
                second[i] = value
    return Cover(best, second, server)


@fused
def covered(coverage: FloatArray, selected: IntArray) -> float:
    """Facility-location value of `selected`."""
    total = 0.0
    for value in assign(coverage, selected).best:
        total += value
    return total


@fused
def interchange(coverage: FloatArray, selected: IntArray, max_moves: int) -> IntArray:
    """Swap one kept for one dropped token, best swap first, until none improves or `max_moves` are made.

    The gain of every swap comes from one pass over the coverage matrix (the fast interchange of Whitaker, 1983, INFOR
    21, as in FastPAM by Schubert and Rousseeuw, 2019, arXiv:1810.05691).
    """
    n = coverage.shape[0]
    k = len(selected)
    chosen = selected.copy()
    inside = np.zeros(n, np.bool_)
    inside[chosen] = True
    removal = np.zeros(k)
    cost = np.zeros(k)
    for _ in range(max_moves):
        best, second, server = assign(coverage, chosen)
        removal[:] = 0.0
        for i in range(n):
            removal[server[i]] += best[i] - second[i]
        top_gain, top_token, top_position = 0.0, -1, -1
        for j in range(n):
            if inside[j]:
                continue
            gained = 0.0
            cost[:] = removal
            for i in range(n):
                value = coverage[j, i]
                if value > best[i]:
                    gained += value - best[i]
                    cost[server[i]] -= best[i] - second[i]
                elif value > second[i]:
                    cost[server[i]] -= value - second[i]
            position = int(np.argmin(cost))
            if gained - cost[position] > top_gain:
                top_gain, top_token, top_position = gained - cost[position], j, position
        if top_token < 0:
            break
        inside[chosen[top_position]] = False
        inside[top_token] = True
        chosen[top_position] = top_token
    return chosen
