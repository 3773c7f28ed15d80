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


def rope_response(product: npt.ArrayLike, distance: npt.ArrayLike, base: float = 10000.0) -> Float64Array:
    """Expected score over distance of queries and keys with known mean products: sum over m of Re(z_m e^(i d theta_m)).

    Seen as complex numbers, pair m of a query turns by p theta_m at position p, and so does that of a key; a score is
    the real part of the summed products of one with the other's conjugate, hence depends on position through the
    distance d only. The sum is linear: where queries and keys are independent of position, its expectation is this
    function of the mean products z_m = E[q_m conj(k_m)], exactly. `rope_decay` is the case of equal z_m > 0; mean
    products of other signs or phases give trends that rise with distance as well as ones that fall. [derived here]

    Parameters
    ----------
    product
        z, complex [..., pair], times the factor of the scores.
    distance
        Position of the query minus that of the key [...]; its last axis is that of the result.
    base
        Base of the frequencies.

    Returns
    -------
    float64
        [..., position]: the leading axes of `product` and of `distance`, broadcast, and the last axis of `distance`.

    Raises
    ------
    ValueError
        For NaN or infinite values, a number without axes, and as for `rope_frequencies`.

    Examples
    --------
    >>> rope_response([0.5, 0.5], [0.0, 1.0]).round(3).tolist()
    [1.0, 0.77]
    """
    z, apart = np.asarray(product, dtype=np.complex128), np.asarray(distance, dtype=np.float64)
    if not (np.isfinite(z).all() and np.isfinite(apart).all()):
        raise ValueError("`product` and `distance` must be finite")
    if z.ndim < 1 or apart.ndim < 1:
        raise ValueError("`product` must be [..., pair] and `distance` [..., position]")
    angles = apart[..., None] * rope_frequencies(2 * z.shape[-1], base)
    real = np.cos(angles) @ z.real[..., None] - np.sin(angles) @ z.imag[..., None]
    return np.asarray(real[..., 0])
