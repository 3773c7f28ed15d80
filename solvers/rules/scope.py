"""SCOPE: the tokens that add most coverage, times how much the CLS token attends to them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from ..arrays import Float64Array, FloatArray, IntArray, frozen, unit_rows
from ..kernels.coverage import cover, total_gains
from ..objectives.facility_location import GRID_BITS
from .checks import budget, not_negative, per_token, real, token_vectors
from .ranking import ascending, cosines


def scope(features: npt.ArrayLike, attention: npt.ArrayLike, keep: int, alpha: float = 1.0) -> IntArray:
    """Take the token of the largest SCOPE score, again and again.

    The score of token j after the tokens S is (sum_i max(0, C_ij - max(0, max over s in S of C_is))) * a_j^alpha, C
    the cosines and a the attention: what j adds to the coverage of all tokens, times its saliency. The first factor is
    the gain of facility location, so with equal attention, or alpha = 0, this is greedy facility location. The product
    is not the gain of any set function: what the steps of a selection add up to depends on their order (two tokens are
    enough), so no guarantee of greedy submodular maximisation applies.

    Parameters
    ----------
    features
        Encoder features before the projector [token, dim]; only directions count. CLIP: hidden state -2, patches only.
    attention
        CLS attention of the same block [token], not negative; sum or mean over heads, since a common factor changes
        nothing.
    keep
        Number of tokens k to keep, in [1, n].
    alpha
        Exponent of the attention, at least 0; 1 as in the reference.

    Returns
    -------
    int64 [keep]
        Kept tokens, ascending. Equal scores go to the lower index; so do tokens once every score is 0.

    Raises
    ------
    ValueError
        For NaN or infinite values, wrong shapes, a zero feature row, negative attention, a budget outside [1, n], or an
        alpha that is negative or not finite.

    Notes
    -----
    Deviation: cosines are rounded to multiples of 2**-24, so that sums are exact and ties do not depend on rounding.
    The reference computes in the precision of the model, often half.

    References
    ----------
    J. Deng et al. (2025), NeurIPS, arXiv:2510.24214; code kinredon/SCOPE@a01b98f, scope/clip_encoder.py, `SCOPE`.
    """
    coverage, weight = _coverage_and_weight(features, attention, alpha)
    count = budget(keep, weight.size)
    best, gains = np.zeros(weight.size, np.float32), total_gains(coverage)
    left = np.ones(weight.size, np.bool_)
    chosen: list[int] = []
    while len(chosen) < count:
        chosen.append(int(np.argmax(np.where(left, gains * weight, -1.0))))
        left[chosen[-1]] = False
        cover(coverage, best, gains, chosen[-1])
    return ascending(chosen)


def scope_scores(
    features: npt.ArrayLike, attention: npt.ArrayLike, chosen: Iterable[int] = (), alpha: float = 1.0
) -> Float64Array:
    """SCOPE score of each token [token] after the tokens `chosen`; 0 for these.

    Up to one common factor: attention is divided by its largest value. The other parameters are those of `scope`.
    """
    coverage, weight = _coverage_and_weight(features, attention, alpha)
    best, gains = np.zeros(weight.size, np.float32), total_gains(coverage)
    for token in chosen:
        cover(coverage, best, gains, token)
    return gains * weight


def _coverage_and_weight(
    features: npt.ArrayLike, attention: npt.ArrayLike, alpha: float
) -> tuple[FloatArray, Float64Array]:
    """max(0, cosine) [token, token] as float32 on the fixed-point grid of facility location, and a^alpha [token]."""
    vectors = token_vectors("features", features)
    saliency = not_negative("attention", per_token("attention", attention, tokens=len(vectors)))
    exponent = real("alpha", alpha)
    if exponent < 0:
        raise ValueError(f"`alpha` must be at least 0, got {exponent:g}")
    unit = unit_rows("features", vectors)
    steps = np.round(np.clip(cosines(unit, unit), 0.0, 1.0) * 2.0**GRID_BITS)
    coverage = frozen((steps * 2.0**-GRID_BITS).astype(np.float32))
    return coverage, (saliency / (saliency.max() or 1.0)) ** exponent
