"""FoPru: focal pruning by the attention among the visual tokens, token by token or by whole image rows."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ..arrays import Float64Array, IntArray
from .checks import budget, choice, grid_of, token_map
from .ranking import ascending, strongest_first

ROUNDINGS = ("nearest", "floor", "ceil")


def significance(attention_map: npt.ArrayLike) -> Float64Array:
    """Attention received by each token, or given by it if that vector has the larger variance.

    Parameters
    ----------
    attention_map
        Attention among the visual tokens of the encoder's penultimate layer [query token, key token], mean
        over heads. How the CLS token is left out of it is the caller's choice; the usual reading drops its
        row and column after the softmax without renormalising.

    Returns
    -------
    float64 [token]
        Mean over queries (received) or over keys (given). With complete softmax rows the given attention is
        constant up to rounding, so the received one is chosen.

    Raises
    ------
    ValueError
        For NaN or infinite values, or a map that is not square.
    """
    attention = token_map("attention_map", attention_map)
    received: Float64Array = attention.mean(axis=0)
    given: Float64Array = attention.mean(axis=1)
    return received if received.var() > given.var() else given


def fopru_rank(attention_map: npt.ArrayLike, keep: int) -> IntArray:
    """Keep the most significant tokens (the rank strategy).

    Parameters
    ----------
    attention_map
        Attention among the visual tokens, mean over heads [query token, key token]; see `significance`.
    keep
        Number of tokens k to keep, in [1, n].

    Returns
    -------
    int64 [keep]
        Kept tokens, ascending. Equal significance goes to the lower index (a reading; the source states no
        rule).

    Raises
    ------
    ValueError
        For NaN or infinite values, a map that is not square, or a budget outside [1, n].

    References
    ----------
    L. Jiang et al. (2024), arXiv:2411.14164, rank strategy. No official code was found; the score and the two
    strategies follow published reviews of the paper.
    """
    scores = significance(attention_map)
    count = budget(keep, scores.size)
    return ascending(strongest_first(scores)[:count])


def fopru_rows(
    attention_map: npt.ArrayLike, keep: int, grid: tuple[int, int], *, rounding: str = "nearest"
) -> IntArray:
    """Keep the image rows of largest mean significance, whole (the row strategy).

    Parameters
    ----------
    attention_map
        Attention among the visual tokens, mean over heads [query token, key token]; see `significance`.
    keep
        Budget in tokens, in [1, n].
    grid
        Rows and columns of the token grid, row-major, rows * columns = n.
    rounding
        How many rows a budget gives that is not a multiple of the row width: "nearest" (halves to the even
        number), "floor" (never above the budget, but never less than one row) or "ceil". This is a reading:
        the source does not say.

    Returns
    -------
    int64 [kept rows * columns]
        Kept tokens, ascending. **A whole number of rows, so in general not `keep` tokens**: on a 24 x 24 grid
        a budget of 64 keeps 72 tokens ("nearest", "ceil") or 48 ("floor"), and one of 10 keeps 24. Report the
        length of the result, not the budget. Equal rows go to the upper one.

    Raises
    ------
    ValueError
        For NaN or infinite values, a map that is not square, a budget outside [1, n], a grid that does not
        hold n tokens, or an unknown rounding.

    References
    ----------
    L. Jiang et al. (2024), arXiv:2411.14164, row strategy; see `fopru_rank`.
    """
    scores = significance(attention_map)
    count = budget(keep, scores.size)
    rows, columns = grid_of("grid", grid, scores.size)
    choice("rounding", rounding, ROUNDINGS)
    wanted = count / columns
    whole = {"nearest": round(wanted), "floor": math.floor(wanted), "ceil": math.ceil(wanted)}[rounding]
    kept = max(1, whole)
    strongest = strongest_first(scores.reshape(rows, columns).mean(axis=1))[:kept]
    tokens: IntArray = np.arange(scores.size, dtype=np.int64).reshape(rows, columns)
    return tokens[ascending(strongest)].ravel()
