"""Orders and cosines whose ties do not depend on the machine: equal values go to the lowest index."""

from __future__ import annotations

import numpy as np

from ..arrays import Float64Array, IntArray

COSINE_DECIMALS = 12
"""Cosines are rounded to this many decimals. A matrix product may sum in another order at another place of
the matrix, so that duplicates differ in the last bit and chance breaks the tie; rounding restores it."""


def strongest_first(scores: Float64Array) -> IntArray:
    """Indices from the largest score to the smallest, equal scores in index order."""
    return np.argsort(-scores, kind="stable").astype(np.int64, copy=False)


def ascending(selected: IntArray | list[int]) -> IntArray:
    """The selection in index order, which is the order the language model sees."""
    return np.sort(np.asarray(selected, dtype=np.int64))


def cosines(unit: Float64Array, other: Float64Array) -> Float64Array:
    """Cosines of unit rows [token, dim] with `other`: one unit vector [dim], or unit rows [other, dim]."""
    product: Float64Array = unit @ other.T
    return np.round(product, COSINE_DECIMALS, out=product)
