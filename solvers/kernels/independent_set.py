"""Fused loops of the decision behind max-min dispersion: k tokens of which no two are near, bool [token, token].

Memory traffic: `edge_clique_cover` reads up to n rows of distances for each uncovered conflict, 8 n bytes a row, until
the cover is complete; a move of `relocate` reads k^2 / 2 distances for the closest pair and at most k n, mostly fewer,
for the token to come. At n = 576 the 2.7 MB of distances lie in the third-level cache. Both look up single entries, so
latency bounds them and not bandwidth.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..arrays import Float64Array, IntArray
from .jit import fused


class Cliques(NamedTuple):
    """Groups of pairwise near tokens, laid end to end."""

    members: IntArray
    """Tokens of all groups."""
    ends: IntArray
    """Where each group ends in `members` [group]."""


@fused
def edge_clique_cover(distances: Float64Array, threshold: float) -> Cliques:
    """Groups of tokens closer than `threshold` to one another that hold every such pair at least once.

    Each pair not held yet is extended by the tokens, in index order, that bring a pair not held yet. "At most one kept
    token per group" then says the same as one condition per pair, in far fewer and stronger inequalities.
    """
    n = distances.shape[0]
    held = np.zeros((n, n), np.bool_)
    members = np.empty(4 * n, np.int64)
    ends = np.empty(n, np.int64)
    filled, groups = 0, 0
    clique = np.empty(n, np.int64)
    for i in range(n):
        for j in range(i + 1, n):
            if held[i, j] or distances[i, j] >= threshold:
                continue
            clique[0], clique[1] = i, j
            size = 2
            for token in range(n):
                fits = token != i and token != j
                brings = False
                for position in range(size):
                    if not fits or distances[token, clique[position]] >= threshold:
                        fits = False
                        break
                    brings |= not held[token, clique[position]]
                if fits and brings:
                    clique[size] = token
                    size += 1
            for p in range(size):
                for q in range(size):
                    held[clique[p], clique[q]] = True
            if filled + size > len(members):
                members = np.concatenate((members, np.empty(len(members), np.int64)))
            if groups == len(ends):
                ends = np.concatenate((ends, np.empty(len(ends), np.int64)))
            members[filled : filled + size] = clique[:size]
            filled += size
            ends[groups] = filled
            groups += 1
    return Cliques(members[:filled], ends[:groups])


@fused
def relocate(distances: Float64Array, selected: IntArray, moves: int, seed: int) -> IntArray:
    """Best selection met by tabu search on the smallest distance: `moves` times, one token of the closest pair moves.

    It goes to the token farthest from all others kept and may not return for 10 to 29 moves. Which of the two moves is
    drawn by a generator of its own, so that the result depends on `seed` alone (tabu search for max-min diversity as in
    Resende, Marti, Gallego and Duarte, 2010, Computers & Operations Research 37, in its simplest form).
    """
    n = distances.shape[0]
    k = len(selected)
    current, best, reached = selected.copy(), selected.copy(), -1.0
    inside = np.zeros(n, np.bool_)
    inside[current] = True
    free_at = np.zeros(n, np.int64)
    state = seed % 2147483646 + 1
    for move in range(moves):
        smallest, first, second = np.inf, 0, 0
        for p in range(k):
            for q in range(p):
                if distances[current[p], current[q]] < smallest:
                    smallest, first, second = distances[current[p], current[q]], p, q
        if smallest > reached:
            reached = smallest
            best[:] = current
        state = state * 48271 % 2147483647
        leaving = first if state % 2 else second
        farthest, arriving = -1.0, -1
        for token in range(n):
            if inside[token] or free_at[token] > move:
                continue
            nearest = np.inf
            for p in range(k):
                if p != leaving:
                    nearest = min(nearest, distances[token, current[p]])
                    if nearest <= farthest:
                        break
            if nearest > farthest:
                farthest, arriving = nearest, token
        if arriving < 0:
            continue
        inside[current[leaving]] = False
        inside[arriving] = True
        state = state * 48271 % 2147483647
        free_at[current[leaving]] = move + 10 + state % 20
        current[leaving] = arriving
    return best
