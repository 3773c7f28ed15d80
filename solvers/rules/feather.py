"""FEATHER: FastV's score without position encoding, beside a regular sample of the image."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..arrays import Float64Array, IntArray
from .checks import budget as checked_budget
from .checks import grid_of, integer, per_token
from .ranking import ascending, strongest_first
from .stages import Stage, fitted, scaled_layers

LAYERS = (8, 16)
"""Layers of 32 whose input is shortened."""


def feather(
    attention: npt.ArrayLike, keep: int, grid: tuple[int, int], stride: int = 3, *, exact: bool = True
) -> IntArray:
    """Keep every `stride`-th token of every `stride`-th row, and the tokens with the largest attention.

    This is the first stage. The second ranks what the first has kept by attention alone: `fastv` on the attention
    without position encoding at the later layer.

    Parameters
    ----------
    attention
        Attention of the last prompt token to each visual token [token], computed from queries and keys **before** the
        rotary position encoding, softmax over the visual tokens only, mean over heads; of the layer before the one
        whose input is shortened.
    keep
        Number of tokens k to keep, in [1, n].
    grid
        Rows and columns of the token grid, row-major, rows * columns = n.
    stride
        Distance of the regular sample along rows and columns; 3 in the reference.
    exact
        True: exactly `keep` tokens, the sample among them. That is the union that the reference takes, for the number
        of tokens by attention at which it has this size. Where the sample alone is larger, the least larger stride is
        taken at which it is not (a reading). False: as published, `keep` tokens by attention, and those of the sample
        that are not among them on top.

    Returns
    -------
    int64 [keep], or longer where `exact` is False
        Kept tokens, ascending. Equal attention goes to the lower index.

    Raises
    ------
    ValueError
        For NaN or infinite attention, a wrong shape, a budget outside [1, n], a grid that does not hold n tokens, or a
        stride below 1.

    References
    ----------
    M. Endo et al. (2024), ICCV 2025, arXiv:2412.13180; code markendo/FEATHER@c2a09b2,
    prismatic-vlms/prismatic/models/backbones/llm/llama2_models.py, and vlm-evaluation/scripts/eval_feather.sh for the
    stride. Its grids are square.
    """
    scores = per_token("attention", attention)
    count = checked_budget(keep, scores.size)
    rows, columns = grid_of("grid", grid, scores.size)
    step = integer("stride", stride)
    if step < 1:
        raise ValueError(f"`stride` must be at least 1, got {step}")
    order = strongest_first(scores)
    if not exact:
        return np.union1d(order[:count], _sample(rows, columns, step))
    while (sample := _sample(rows, columns, step)).size > count:
        step += 1
    others = order[~np.isin(order, sample)]
    return ascending(np.concatenate([sample, others[: count - sample.size]]))


def feather_schedule(tokens: int, layers: int, keep: int, *, budget: str = "average") -> tuple[Stage, ...]:
    """Two stages, for `feather` and then `fastv`: a share r of the tokens, then r^2 of what is left.

    Parameters
    ----------
    tokens
        Visual tokens n that enter the language model.
    layers
        Layers of the language model, at least 3.
    keep
        Budget in tokens, in [1, n].
    budget
        "end": `keep` tokens in the last layers. "average": as many per layer on average, up to the rounding to whole
        tokens.

    Raises
    ------
    ValueError
        For a budget outside [1, n], an average below the least that is possible, or too few layers.

    Notes
    -----
    Published: layers 8 and 16 of 32, r = 0.3 of the tokens by attention with the regular sample on top, then 0.09 of
    these. Readings: layers in proportion for other depths, another r for other budgets, and the sample counted within
    the share of the first stage.
    """
    at = scaled_layers(LAYERS, layers)

    def shape(share: float) -> Float64Array:
        return tokens * np.array([share, share**3])

    kept = fitted(shape, at, tokens, layers, keep, budget)
    return tuple(Stage(layer, count) for layer, count in zip(at, kept, strict=True))


def _sample(rows: int, columns: int, stride: int) -> IntArray:
    """Tokens at the crossings of every `stride`-th row and column, from the first on."""
    tokens: IntArray = np.arange(rows * columns, dtype=np.int64).reshape(rows, columns)
    return tokens[::stride, ::stride].ravel()
