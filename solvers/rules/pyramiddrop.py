"""PyramidDrop: fewer tokens in every quarter of the language model, by attention of the instruction's last token."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..arrays import Float64Array, IntArray
from .fastv import fastv
from .stages import Stage, fitted, scaled_layers

LAYERS = (8, 16, 24)
"""Layers of 32 whose input is shortened."""


def pyramiddrop(attention: npt.ArrayLike, keep: int) -> IntArray:
    """Keep the tokens with the largest attention: the arithmetic of `fastv` on a row from another place.

    Parameters
    ----------
    attention
        Attention of the last instruction token to each visual token still there [token], mean over heads, after the
        softmax over the whole sequence. It is computed ahead of the layer whose input is shortened, by that layer's own
        norm and query and key projections, where `fastv` takes what the layer before has computed anyway.
    keep
        Number of tokens k to keep, in [1, n].

    Returns
    -------
    int64 [keep]
        Kept tokens, ascending. Equal attention goes to the lower index (the reference leaves ties unspecified).

    Raises
    ------
    ValueError
        For NaN or infinite attention, a wrong shape, or a budget outside [1, n].

    Notes
    -----
    The reference numbers the position ids anew at each stage.

    References
    ----------
    L. Xing et al. (2024), CVPR 2025, arXiv:2410.17247; code Cooperx521/PyramidDrop@6444f30,
    llava/model/modeling_llama_pdrop.py, `pdrop_rank_drop`.
    """
    return fastv(attention, keep)


def pyramiddrop_schedule(tokens: int, layers: int, keep: int, *, budget: str = "average") -> tuple[Stage, ...]:
    """Three stages a quarter of the layers apart, each with the same share of the tokens before it.

    Parameters
    ----------
    tokens
        Visual tokens n that enter the language model.
    layers
        Layers of the language model, at least 4.
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
    Published: from layers 8, 16 and 24 of 32 on, 1/2, 1/4 and 1/8 of the tokens; 72 of 576 at the end, 270 on average.
    Either budget gives these counts back. Readings: layers in proportion for other depths, and another share than 1/2,
    the same at each stage, for other budgets.
    """
    at = scaled_layers(LAYERS, layers)

    def shape(share: float) -> Float64Array:
        counts: Float64Array = tokens * np.power(share, np.arange(1.0, 4.0))
        return counts

    kept = fitted(shape, at, tokens, layers, keep, budget)
    return tuple(Stage(layer, count) for layer, count in zip(at, kept, strict=True))
