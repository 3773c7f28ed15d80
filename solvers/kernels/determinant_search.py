"""Fused depth-first search for the largest determinant over a positive definite kernel, float64 [token, token].

Memory traffic: a node at depth d reads d earlier Cholesky rows and a kernel row of the tokens it leaves open, at most
8 (d + 1) n bytes. All rows of all depths are 8 k^2 n bytes, 0.3 MB for 16 of 144 tokens: they stay in the second-level
cache, and how far the search gets is a matter of the number of nodes, not of bandwidth.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..arrays import Float64Array, IntArray
from .jit import fused


class Found(NamedTuple):
    """What a depth-first search knows when it stops."""

    selected: IntArray
    """Best selection above the threshold [size]; empty if there is none."""
    finished: bool
    """Whether every selection was looked at or ruled out."""


@fused
def search_determinants(kernel: Float64Array, floor: Float64Array, size: int, threshold: float, limit: int) -> Found:
    """Look for `size` tokens whose log-determinant exceeds `threshold`, in at most `limit` nodes.

    Every node picks the next token among those after the last one, in descending order of conditional variance. A
    determinant is at most the product of the conditional variances (Hadamard), so a node ends where the largest of them
    cannot lift it above the threshold, and leaves out tokens that cannot. Variances stay at or above `floor` [token].
    """
    n = kernel.shape[0]
    tokens = np.empty((size, n), np.int64)
    variances = np.empty((size, n))
    gains = np.empty((size, n))
    rows = np.empty((size, size, n))
    counts = np.zeros(size, np.int64)
    following = np.zeros(size, np.int64)
    base = np.zeros(size)
    path = np.empty(size, np.int64)
    best = np.empty(0, np.int64)
    new_rows, new_variances, new_gains = np.empty(n), np.empty(n), np.empty(n)
    order = np.argsort(-np.diag(kernel), kind="mergesort")
    for i in range(n):
        tokens[0, i] = order[i]
        variances[0, i] = kernel[order[i], order[i]]
        gains[0, i] = np.log(variances[0, i])
    counts[0] = n
    depth, nodes = 0, 0
    while depth >= 0:
        i, missing, count = following[depth], size - depth, counts[depth]
        bound = base[depth]
        for j in range(i, min(i + missing, count)):
            bound += gains[depth, j]
        if i + missing > count or bound <= threshold:
            depth -= 1
            continue
        if nodes == limit:
            return Found(best, False)
        nodes += 1
        following[depth] = i + 1
        token = tokens[depth, i]
        path[depth] = token
        value = base[depth] + gains[depth, i]
        if missing == 1:
            threshold = value
            best = path.copy()
            continue
        scale = 1.0 / np.sqrt(variances[depth, i])
        for j in range(i + 1, count):
            other = tokens[depth, j]
            entry = kernel[token, other]
            for q in range(depth):
                entry -= rows[depth, q, i] * rows[depth, q, j]
            entry *= scale
            new_rows[j] = entry
            new_variances[j] = max(variances[depth, j] - entry * entry, floor[other])
            new_gains[j] = np.log(new_variances[j])
        order = i + 1 + np.argsort(-new_gains[i + 1 : count], kind="mergesort")
        others = 0.0
        for j in range(missing - 2):
            others += new_gains[order[j]]
        kept = 0
        for j in order:
            if kept >= missing - 1 and value + others + new_gains[j] <= threshold:
                break
            tokens[depth + 1, kept] = tokens[depth, j]
            variances[depth + 1, kept] = new_variances[j]
            gains[depth + 1, kept] = new_gains[j]
            for q in range(depth):
                rows[depth + 1, q, kept] = rows[depth, q, j]
            rows[depth + 1, depth, kept] = new_rows[j]
            kept += 1
        depth += 1
        counts[depth], following[depth], base[depth] = kept, 0, value
    return Found(best, True)
