"""What rotary position embedding alone makes of the distance between a query and a key."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]


def rope_frequencies(head_dim: int, base: float = 10000.0) -> Float64Array:
    """theta_m = base^(-2 m / d) for m = 0 .. d/2 - 1, radians per position, float64 [d / 2].

    Su et al. 2021 (RoFormer), arXiv:2104.09864, section 3.2.2.

    Raises
    ------
    ValueError
        If `head_dim` is not an even number of at least 2, or `base` is not above 1.
    """
    if head_dim < 2 or head_dim % 2:
        raise ValueError(f"`head_dim` must be an even number of at least 2, got {head_dim}")
    if not base > 1:
        raise ValueError(f"`base` must be above 1, got {base}")
    return np.asarray(base ** (-2.0 * np.arange(head_dim // 2) / head_dim))


def rope_decay(distance: npt.ArrayLike, head_dim: int, base: float = 10000.0) -> Float64Array:
    """Score of a query with itself, rotated by `distance` positions, over its score at distance 0: in [-1, 1].

    mean over m of cos(distance * theta_m). It is exact where all pairs of coordinates carry the same energy, and the
    expectation for a query drawn from any rotation-invariant distribution with the key equal to it. For queries and
    keys that are independent of each other and centred, the expected score is 0 at every distance: then position acts
    on nothing, and a trend of measured attention over the index needs another cause (RoFormer, arXiv:2104.09864,
    section 3.4.3, derives long-term decay for the first case only).

    Parameters
    ----------
    distance
        Positions between query and key, any shape.
    head_dim
        Width d of a head.
    base
        Base of the frequencies, 10000 in RoFormer and LLaMA.

    Examples
    --------
    >>> rope_decay([0, 576], head_dim=128).round(2).tolist()
    [1.0, 0.23]
    """
    apart = np.asarray(distance, dtype=np.float64)
    if not np.isfinite(apart).all():
        raise ValueError("`distance` must be finite")
    return np.asarray(np.cos(apart[..., None] * rope_frequencies(head_dim, base)).mean(-1))
