"""Checks of the numbers that instances are made from."""

from __future__ import annotations

import operator

import numpy as np


def at_least(name: str, number: int, least: int) -> int:
    """`number` as an int of at least `least`, or a ValueError."""
    if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or number < least:
        raise ValueError(f"`{name}` must be an integer of at least {least}, got {number!r}")
    return int(number)


def within(name: str, number: int, least: int, most: int) -> int:
    """`number` as an int in [least, most], or a ValueError."""
    if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or not least <= number <= most:
        raise ValueError(f"`{name}` must be an integer in [{least}, {most}], got {number!r}")
    return int(number)


def rows_and_columns(grid: tuple[int, int]) -> tuple[int, int]:
    """`grid` as two ints of at least 1, or a ValueError."""
    try:
        rows, columns = map(operator.index, grid)
    except (TypeError, ValueError):
        raise ValueError(f"`grid` must be two integers (rows, columns), got {grid!r}") from None
    if min(rows, columns) < 1:
        raise ValueError(f"`grid` must have at least one row and one column, got {grid}")
    return rows, columns
