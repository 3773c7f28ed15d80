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
