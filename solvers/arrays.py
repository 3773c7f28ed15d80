"""Array aliases of the package, the two checks that every array passes once, and rows of length one."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating[Any]]
Float64Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
IntArray32 = npt.NDArray[np.int32]
AnyScalar = TypeVar("AnyScalar", bound=np.generic)


def finite(name: str, array: npt.ArrayLike) -> FloatArray:
    """`array` as a read-only float array of its own; float32 and float64 keep their precision.

    Raises
    ------
    ValueError
        If it is not numeric, or holds NaN or infinite values.
    """
    values = np.asarray(array)
    if values.dtype.kind not in "fiub":
        raise ValueError(f"`{name}` must be an array of real numbers, got dtype {values.dtype}")
    if values.dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
        values = values.astype(np.float32 if values.dtype == np.float16 else np.float64)
    bad = int(values.size - np.count_nonzero(np.isfinite(values)))
    if bad:
        raise ValueError(f"`{name}` must be finite, got {bad} NaN or infinite of {values.size} values")
    return frozen(values)


def frozen(array: npt.NDArray[AnyScalar]) -> npt.NDArray[AnyScalar]:
    """A read-only C-ordered array with the content of `array`, copied only if somebody could still write to it."""
    # A read-only view does not keep the owner of the memory from writing.
    if array.flags.writeable or not array.flags.c_contiguous or array.base is not None:
        array = array.copy(order="C")
        array.setflags(write=False)
    return array


def distinct_rows(rows: npt.NDArray[np.floating[Any]]) -> tuple[IntArray, IntArray]:
    """Index of the first of each group of equal `rows` [token, ...], and the group of each row [token].

    A matrix product may sum in another order at another place. If each distinct token enters it once, equal tokens get
    equal rows and columns to the last bit.
    """
    seen: dict[bytes, int] = {}
    first = [seen.setdefault(row.tobytes(), token) for token, row in enumerate(rows + 0.0)]  # no -0.0
    distinct, copy_of = np.unique(first, return_inverse=True)
    return distinct, copy_of


def unit_rows(name: str, vectors: Float64Array) -> Float64Array:
    """`vectors` [token, dim] scaled to length one.

    Raises
    ------
    ValueError
        If a row is zero: it has no direction, hence no cosine.
    """
    # Scaled by the largest entry first: squares of very large or very small entries leave the float range.
    largest = np.abs(vectors).max(axis=1, keepdims=True)
    zero = np.flatnonzero(largest == 0.0)
    if zero.size:
        raise ValueError(f"`{name}` must have no zero row (its cosine is undefined), got {zero.size}, first {zero[0]}")
    unit: Float64Array = vectors / largest
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    return unit
