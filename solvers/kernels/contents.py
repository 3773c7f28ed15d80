"""What may be assumed about a similarity matrix [token, token], found out in one pass.

Memory traffic: `examined` reads the matrix once, 4 n^2 or 8 n^2 bytes. For a batch of images, more than the caches
hold, it is the one loop that runs at the speed of main memory; those that follow find their image in the cache.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..arrays import FloatArray, IntArray
from . import plain
from .jit import fused

Bits = npt.NDArray[np.signedinteger[Any]]


class Contents(NamedTuple):
    """What a matrix holds."""

    largest: float
    """Largest value; negative if all are."""
    finite: bool
    """Whether no value is NaN or infinite."""
    symmetric: bool
    """Whether it equals its transpose to the last bit."""


def contents(matrix: FloatArray) -> Contents:
    """Contents of a C-ordered float32 or float64 `matrix`.

    Symmetry is compared by two sums over all entries, one weighted by u_i v_j and one by v_i u_j, with fixed odd random
    numbers u and v of 64 bits and sums modulo 2^64 (the idea of Freivalds' check of a matrix product). They are equal
    for every symmetric matrix, and for one that is not with a chance of about 2^-63. Comparing entry by entry would
    read the matrix along its columns, which takes four times as long.
    """
    # As integers non-negative floats keep their order, NaN and infinity on top, and comparing needs no care for them.
    bits = matrix.view(f"i{matrix.itemsize}")
    infinity = int(np.array(np.inf, matrix.dtype).view(bits.dtype))
    value, largest, same = examined(bits, int(np.iinfo(bits.dtype).max), *_weights(len(matrix)))
    return Contents(float(np.array(value, bits.dtype).view(matrix.dtype)), largest < infinity, bool(same))


@functools.lru_cache(maxsize=16)
def _weights(tokens: int) -> tuple[IntArray, IntArray]:
    first, second = np.random.default_rng(0).integers(-(2**63), 2**63 - 1, (2, tokens), dtype=np.int64) | 1
    return first, second


@fused(plain=plain.examined)
def examined(bits: Bits, magnitude: int, first: IntArray, second: IntArray) -> tuple[int, int, bool]:
    """Largest number, largest one after masking by `magnitude`, and whether the two weighted sums agree."""
    n = bits.shape[0]
    highest, largest = bits[0, 0], bits[0, 0] & magnitude
    above, below = np.int64(0), np.int64(0)
    for i in range(n):
        row_above, row_below = np.int64(0), np.int64(0)
        for j in range(n):
            number = bits[i, j]
            highest = max(highest, number)
            largest = max(largest, number & magnitude)
            row_above += second[j] * np.int64(number)
            row_below += first[j] * np.int64(number)
        above += first[i] * row_above
        below += second[i] * row_below
    return highest, largest, above == below
