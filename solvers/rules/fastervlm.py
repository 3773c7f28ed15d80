"""FasterVLM: the tokens that the CLS token attends to most."""

from __future__ import annotations

import numpy.typing as npt

from ..arrays import IntArray
from .checks import budget, per_token
from .ranking import ascending, strongest_first


def fastervlm(attention: npt.ArrayLike, keep: int) -> IntArray:
    """Keep the tokens with the largest attention.

    Parameters
    ----------
    attention
        Attention each token receives [token]: the CLS row of the encoder block whose output is the feature
        (CLIP: layer -2), key columns of the patches, mean over heads. For an encoder without CLS the column
        mean of the map stands in for it. Only the order counts; the values need not sum to one.
    keep
        Number of tokens k to keep, in [1, n].

    Returns
    -------
    int64 [keep]
        Kept tokens, ascending. Equal attention goes to the lower index (the reference leaves ties
        unspecified).

    Raises
    ------
    ValueError
        For NaN or infinite attention, a wrong shape, or a budget outside [1, n].

    References
    ----------
    Q. Zhang et al. (2024), arXiv:2412.01818v1; code Theia-4869/FasterVLM@f5d5f12.
    """
    scores = per_token("attention", attention)
    count = budget(keep, scores.size)
    return ascending(strongest_first(scores)[:count])
