"""Fused loops of max-min dispersion over distances, float64 [token, token].

Memory traffic of greedy: one row of distances per pick, 8 k n bytes in all, so at 64 of 576 tokens a third of a
megabyte; what takes the time is looking for the largest of n numbers per pick, 8 k n bytes of first-level cache.
The first pick needs the distance of every token to its nearest: one pass over the similarity, 4 n^2 or 8 n^2 bytes.
"""

from __future__ import annotations

import numpy as np

from ..arrays import Float64Array, FloatArray, IntArray
from . import plain
from .jit import fused


@fused(plain=plain.clique_cover_size)
def clique_cover_size(distances: Float64Array, threshold: float, order: IntArray, limit: int) -> int:
    """Number of groups of a first-fit partition in which all tokens of a group are closer than `threshold`.

    Tokens are placed in the given `order`; counting stops at `limit`. A selection whose tokens are all at least
    `threshold` apart has at most one token per group, so fewer than k groups prove that k such tokens do not exist.
    """
    n = distances.shape[0]
    fits = np.zeros((limit, n), np.bool_)
    groups = 0
    for position in range(n):
        token = order[position]
        group = 0
        while group < groups and not fits[group, token]:
            group += 1
        if group == groups:
            if groups + 1 >= limit:
                return limit
            groups += 1
            fits[group, :] = True
        for other in range(n):
            fits[group, other] &= distances[token, other] < threshold
    return groups


@fused(plain=plain.farthest_first)
def farthest_first(distances: Float64Array, first: int, budget: int) -> IntArray:
    """Tokens [budget] in the order of the traversal from `first`; ties go to the lowest index."""
    n = distances.shape[0]
    nearest = distances[first].copy()
    nearest[first] = -1.0
    selected = np.empty(budget, np.int64)
    selected[0] = first
    for pick in range(1, budget):
        token = 0
        for i in range(n):
            if nearest[i] > nearest[token]:
                token = i
        for i in range(n):
            nearest[i] = min(nearest[i], distances[token, i])
        nearest[token] = -1.0
        selected[pick] = token
    return selected


@fused
def _largest_gain(nearest: Float64Array, value: float) -> int:
    """First token whose distance to those kept is farthest above `value`; equal differences tie, as do its gains."""
    token = 0
    for i in range(len(nearest)):
        if nearest[i] - value > nearest[token] - value:
            token = i
    return token


@fused
def _approach(nearest: Float64Array, row: Float64Array, first: bool, token: int) -> None:
    """Keep `token`, in place: lower the distances to the kept tokens, which are `row` itself if it is the first one."""
    if first:
        nearest[:] = row
    else:
        for i in range(len(nearest)):
            nearest[i] = min(nearest[i], row[i])
    nearest[token] = -np.inf


@fused(plain=plain.greedy_spread)
def greedy_spread(distances: Float64Array, isolation: Float64Array, budget: int) -> IntArray:
    """Tokens [budget] of greedy for the smallest distance, in pick order; ties go to the lowest index.

    `isolation` [token] is the distance to the nearest other token, which the first pick has the largest of.
    """
    selected = np.empty(budget, np.int64)
    nearest = isolation.copy()
    value = 0.0
    for pick in range(budget):
        token = _largest_gain(nearest, value)
        value = nearest[token]
        _approach(nearest, distances[token], pick == 0, token)
        selected[pick] = token
    return selected


@fused
def _distances_from(similarity: FloatArray, size: Float64Array, token: int, chord: bool, row: Float64Array) -> None:
    """Fill `row` [token] with the distances from `token`, as `solvers.objectives.distances` has them."""
    own = size[token]
    for j in range(len(row)):
        row[j] = max((own + size[j]) / 2 - similarity[token, j], 0.0)
    if chord:
        for j in range(len(row)):
            row[j] = np.sqrt(2.0 * row[j])
    row[token] = 0.0


@fused(plain=plain.spread_similarity)
def spread_similarity(similarity: FloatArray, chord: bool, budget: int) -> IntArray:
    """`greedy_spread` from a similarity [token, token], whose distances never fill a matrix."""
    n = similarity.shape[0]
    size, isolation, row = np.empty(n), np.zeros(n), np.empty(n)
    for i in range(n):
        size[i] = similarity[i, i]
    # As integers non-negative floats keep their order, and the compiler may look for the smallest in any order.
    bits = row.view(np.int64)
    if n > 1:
        for i in range(n):
            _distances_from(similarity, size, i, chord, row)
            row[i] = np.inf
            least = bits[0]
            for j in range(n):
                least = min(least, bits[j])
            bits[0] = least
            isolation[i] = row[0]
    selected = np.empty(budget, np.int64)
    nearest = isolation
    value = 0.0
    for pick in range(budget):
        token = _largest_gain(nearest, value)
        value = nearest[token]
        _distances_from(similarity, size, token, chord, row)
        _approach(nearest, row, pick == 0, token)
        selected[pick] = token
    return selected


@fused(plain=plain.smallest_distance)
def smallest_distance(distances: Float64Array, selected: IntArray) -> float:
    """Smallest distance between two of the `selected` tokens; inf for a single one."""
    smallest = np.inf
    for p in range(len(selected)):
        for q in range(p):
            smallest = min(smallest, distances[selected[p], selected[q]])
    return smallest
