"""What every published rule checks about its arguments before it selects."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import numpy.typing as npt

from ..arrays import Float64Array, finite


def per_token(name: str, array: npt.ArrayLike, tokens: int | None = None) -> Float64Array:
    """`array` as float64 [token]: finite, not empty and, if `tokens` is given, of that length.

    Raises
    ------
    ValueError
        Otherwise, naming the argument, what it must be and what came.
    """
    values = finite(name, array)
    expected = "[token]" if tokens is None else f"[token] with {tokens} tokens"
    if values.ndim != 1 or values.size == 0 or tokens not in (None, values.size):
        raise ValueError(f"`{name}` must have shape {expected}, got {values.shape}")
    return values.astype(np.float64, copy=False)


def token_vectors(name: str, array: npt.ArrayLike) -> Float64Array:
    """`array` as float64 [token, dim]: finite and not empty.

    Raises
    ------
    ValueError
        Otherwise, naming the argument, what it must be and what came.
    """
    values = finite(name, array)
    if values.ndim != 2 or values.size == 0:
        raise ValueError(f"`{name}` must have shape [token, dim], got {values.shape}")
    return values.astype(np.float64, copy=False)


def token_map(name: str, array: npt.ArrayLike, tokens: int | None = None) -> Float64Array:
    """`array` as float64 [query token, key token]: finite, square, not empty and, if `tokens` is given, of that size.

    Raises
    ------
    ValueError
        Otherwise, naming the argument, what it must be and what came.
    """
    values = finite(name, array)
    if values.ndim != 2 or values.size == 0 or values.shape[0] != values.shape[1]:
        raise ValueError(f"`{name}` must have shape [query token, key token] with as many of both, got {values.shape}")
    if tokens not in (None, len(values)):
        raise ValueError(f"`{name}` must have shape [{tokens}, {tokens}], as many as `features`, got {values.shape}")
    return values.astype(np.float64, copy=False)


def grid_of(name: str, grid: Any, tokens: int | None = None) -> tuple[int, int]:
    """`grid` as (rows, columns), both at least 1 and, if `tokens` is given, holding that many.

    Raises
    ------
    ValueError
        Otherwise, naming the argument, what it must be and what came.
    """
    try:
        rows, columns = (integer(name, side) for side in grid)
    except (TypeError, ValueError):
        raise ValueError(f"`{name}` must be two integers (rows, columns), got {grid!r}") from None
    if min(rows, columns) < 1 or tokens not in (None, rows * columns):
        expected = "at least one row and column" if tokens is None else f"{tokens} tokens (rows * columns)"
        raise ValueError(f"`{name}` must hold {expected}, got {rows} x {columns}")
    return rows, columns


def not_negative(name: str, values: Float64Array) -> Float64Array:
    """`values`, if none is below 0.

    Raises
    ------
    ValueError
        Otherwise, with the lowest.
    """
    if values.min() < 0.0:
        raise ValueError(f"`{name}` must not be negative, got {values.min():g}")
    return values


def budget(keep: Any, tokens: int) -> int:
    """`keep` as an int in [1, tokens].

    Raises
    ------
    ValueError
        If it is not a whole number, or outside that range.
    """
    whole = integer("keep", keep)
    if not 1 <= whole <= tokens:
        raise ValueError(f"`keep` must be in [1, {tokens}], got {whole}")
    return whole


def integer(name: str, value: Any) -> int:
    """`value` as an int; a float, even a whole one, is refused because it usually is a ratio gone astray.

    Raises
    ------
    ValueError
        If it is not an integer.
    """
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise ValueError(f"`{name}` must be an integer, got {value!r}") from None


def real(name: str, value: Any, low: float = -np.inf, high: float = np.inf) -> float:
    """`value` as a finite float in [low, high].

    Raises
    ------
    ValueError
        If it is no number, not finite, or outside that range.
    """
    expected = f"in [{low:g}, {high:g}]" if np.isfinite([low, high]).all() else "a finite number"
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"`{name}` must be {expected}, got {value!r}") from None
    if not np.isfinite(number) or not low <= number <= high:
        raise ValueError(f"`{name}` must be {expected}, got {value!r}")
    return number


def choice(name: str, value: str, choices: tuple[str, ...]) -> str:
    """`value`, if it is one of `choices`.

    Raises
    ------
    ValueError
        Otherwise, listing them.
    """
    if value not in choices:
        raise ValueError(f"`{name}` must be one of {', '.join(map(repr, choices))}, got {value!r}")
    return value
