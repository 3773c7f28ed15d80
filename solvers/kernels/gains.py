"""Fused loops for the gains of objectives beyond plain facility location.

Memory traffic per call: `serve` reads 8 n bytes for each client that changes its best; the others read their matrix
once, 4 n^2 bytes of coverage or 8 n^2 of distances, and keep what they fill in the first-level cache.
"""

from __future__ import annotations

from ..arrays import Float64Array, FloatArray
from . import plain
from .jit import fused


@fused(plain=plain.saturated_gains)
def saturated_gains(coverage: FloatArray, room: Float64Array, gains: Float64Array) -> None:
    """Fill `gains` [token] with the sum over tokens i of min(coverage_ij, room_i); `coverage` is symmetric, >= 0."""
    n = coverage.shape[0]
    for j in range(n):
        gains[j] = 0.0
    for i in range(n):
        left = room[i]
        if left > 0.0:
            for j in range(n):
                gains[j] += min(coverage[i, j], left)


@fused(plain=plain.serve)
def serve(worth: Float64Array, best: Float64Array, gains: Float64Array, token: int) -> None:
    """Add `token`, in place: only clients that it serves better than before change the gains of the others."""
    clients, n = worth.shape
    for i in range(clients):
        old = best[i]
        new = worth[i, token]
        if new > old:
            best[i] = new
            most = new - old
            for j in range(n):
                gains[j] -= min(max(worth[i, j] - old, 0.0), most)


@fused(plain=plain.covering_radii)
def covering_radii(distances: Float64Array, nearest: Float64Array, radii: Float64Array) -> None:
    """Fill `radii` [token] with the max over tokens i of min(nearest_i, distance_ij); `distances` is symmetric."""
    n = distances.shape[0]
    for j in range(n):
        radii[j] = 0.0
    for i in range(n):
        bound = nearest[i]
        if bound > 0.0:
            for j in range(n):
                radii[j] = max(radii[j], min(bound, distances[i, j]))


@fused(plain=plain.shared_radii)
def shared_radii(distances: Float64Array, token: int, radii: Float64Array) -> None:
    """Lower `radii` [token] to the smallest radius at which a centre covers both that token and `token`."""
    n = distances.shape[0]
    for i in range(n):
        smallest = radii[i]
        for j in range(n):
            smallest = min(smallest, max(distances[i, j], distances[token, j]))
        radii[i] = smallest
