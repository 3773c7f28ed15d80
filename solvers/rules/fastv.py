"""FastV: the tokens that the last word of the prompt attends to most, in an early layer of the language model."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..arrays import Float64Array, IntArray
from .checks import budget as checked_budget
from .checks import integer, per_token
from .ranking import ascending, strongest_first
from .stages import Stage, fitted


def fastv(attention: npt.ArrayLike, keep: int) -> IntArray:
    """Keep the tokens with the largest attention.

    Parameters
    ----------
    attention
        Attention of the last prompt token to each visual token in the layer before the one whose input is shortened
        [token], mean over heads, after the softmax over the whole sequence. Only the order counts.
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
    The text of the paper describes the attention a token receives from all tokens, the code takes the last prompt token
    only; the arithmetic here is the same for either. Survivors keep their position ids.

    References
    ----------
    L. Chen et al. (2024), ECCV, arXiv:2403.06764; code pkunlp-icler/FastV@d165972,
    src/FastV/lmms-eval/fastv_kvcache.py.
    """
    scores = per_token("attention", attention)
    count = checked_budget(keep, scores.size)
    return ascending(strongest_first(scores)[:count])


def fastv_schedule(
    tokens: int, layers: int, keep: int, *, layer: int = 2, budget: str = "average"
) -> tuple[Stage, ...]:
    """One stage at one layer, which is also how DART is published (at layer 2).

    Parameters
    ----------
    tokens
        Visual tokens n that enter the language model.
    layers
        Layers of the language model.
    keep
        Budget in tokens, in [1, n].
    layer
        First layer that runs on the shorter sequence, K in the paper, counted from 0: 2 in the paper, 3 in
        the repository's code with a key-value cache.
    budget
        "end": `keep` tokens from that layer on, as R is meant in the paper. "average": as many there as make the mean
        over all layers `keep`, up to the rounding to whole tokens.

    Raises
    ------
    ValueError
        For a budget outside [1, n], an average that no number of tokens reaches, or a layer outside [1, layers - 1].
    """
    first = integer("layer", layer)
    if not 1 <= first < integer("layers", layers):
        raise ValueError(f"`layer` must be in [1, {layers - 1}], got {first}")

    def shape(share: float) -> Float64Array:
        return np.array([share * tokens])

    return (Stage(first, *fitted(shape, (first,), tokens, layers, keep, budget)),)
