"""Average pooling to a smaller grid: the plainest way to fewer tokens, and a strong baseline."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from ..arrays import Float64Array, IntArray
from .assignment import Assignment
from .checks import budget, grid_of


def pooling(grid: tuple[int, int], keep: int) -> Assignment:
    """Average the tokens of each cell of the largest grid in the proportions of the image that fits the budget.

    Parameters
    ----------
    grid
        Rows and columns of the token grid, row-major.
    keep
        Budget in tokens, in [1, rows * columns].

    Returns
    -------
    Assignment
        One output per cell, row-major. **A whole grid, so in general not `keep` outputs**: on a 24 x 24 grid a budget
        of 64 gives 8 x 8, but 128 gives 11 x 11 = 121 and 192 gives 13 x 13 = 169. Report `outputs`, not the budget. An
        anchor is the middle token of its cell, the upper left of several.

    Raises
    ------
    ValueError
        For a grid that is not two positive integers, or a budget outside [1, rows * columns].

    Notes
    -----
    Cell i of r over R rows spans rows floor(i R / r) to ceil((i + 1) R / r) - 1, so that cells overlap where r does not
    divide R, as in adaptive average pooling elsewhere. The source pools to square grids of 4, 16 or 25 tokens; the grid
    for any other budget or proportion is a reading: both sides times one factor, rounded down, but at least 1.

    References
    ----------
    T. Peng et al. (2025), UniPruneBench, arXiv:2511.02650; code TianfanPeng/VLMUniPruneBench@f93768f, `pool_pre_llm`.
    """
    rows, columns = grid_of("grid", grid)
    height, width = _shrunk(rows, columns, budget(keep, rows * columns))
    vertical, middle_rows = _cells(rows, height)
    horizontal, middle_columns = _cells(columns, width)
    anchors = (middle_rows[:, None] * columns + middle_columns).ravel()
    return Assignment(anchors, np.kron(vertical, horizontal))


def _shrunk(rows: int, columns: int, keep: int) -> tuple[int, int]:
    """Sides of the largest grid of at most `keep` tokens among those shrunk by one factor."""
    factors = {Fraction(part, side) for side in (rows, columns) for part in range(1, side + 1)}
    # Both sides grow with the factor, so the last grid that fits is the largest.
    grids = [(max(1, int(rows * factor)), max(1, int(columns * factor))) for factor in sorted(factors)]
    return [(height, width) for height, width in [(1, 1), *grids] if height * width <= keep][-1]


def _cells(side: int, cells: int) -> tuple[Float64Array, IntArray]:
    """Averages over the cells [cell, side], and the middle of each cell [cell]."""
    cell, place = np.arange(cells), np.arange(side)
    first, end = cell * side // cells, -(-(cell + 1) * side // cells)
    inside = (place >= first[:, None]) & (place < end[:, None])
    return inside / inside.sum(axis=1, keepdims=True), (first + end - 1) // 2
