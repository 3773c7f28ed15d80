"""Fused loops of max-min dispersion over distances, float64 [token, token]."""

from __future__ import annotations

import numpy as np

from ..arrays import Float64Array, IntArray
from .jit import fused


@fused
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


@fused
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
def smallest_distance(distances: Float64Array, selected: IntArray) -> float:
    """Smallest distance between two of the `selected` tokens; inf for a single one."""
    smallest = np.inf
    for p in range(len(selected)):
        for q in range(p):
            smallest = min(smallest, distances[selected[p], selected[q]])
    return smallest
