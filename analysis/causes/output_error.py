"""What dropping tokens does to the output of an attention layer: the exact change, and bounds on it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..metrics.weights import Float64Array


class OutputError(NamedTuple):
    """Change of attention outputs when keys are dropped; every field float64 [...], one number per query (and head)."""

    dropped_mass: Float64Array
    """m: softmax weight of the dropped keys, in [0, 1)."""
    error: Float64Array
    """Euclidean norm of the change of the output."""
    relative_error: Float64Array
    """`error` over the norm of the full output; inf where that is 0 and the error is not."""
    norm_bound: Float64Array
    """m (max norm of a kept value + max norm of a dropped one): needs masses and norms only."""
    centred_bound: Float64Array
    """The same with values measured from their mean over the keys, which changes no error: never needs more knowledge
    than the values themselves, and is smaller where they share an offset."""


def output_error(weights: npt.ArrayLike, values: npt.ArrayLike, kept: npt.ArrayLike) -> OutputError:
    """Error of an attention output after its keys are reduced to `kept` and the softmax is renormalised.

    Let o = sum_j p_j v_j be the full output, m the weight of the dropped keys, o' the output over the kept keys with
    weights p_j / (1 - m), and u the mean of the dropped values under p_j / m. Then o = (1 - m) o' + m u, hence

        o' - o = m (o' - u)                                     exactly, and
        |o' - o| <= m (max over kept |v_j| + max over dropped |v_j|),

    with the maxima over keys of positive weight, since o' and u are averages of their values. Both sides of the first
    line stay the same if a constant is added to all values, so the second holds for values minus any constant too. So
    attention mass alone does not decide what a token is worth: at equal mass an error is small where the dropped values
    look like the kept ones on average, which is the case for diverse selections made in the theory. [derived here]

    Parameters
    ----------
    weights
        Softmax weights over all keys [..., key]; each row sums to 1.
    values
        Value vectors [..., key, dim], whose leading axes broadcast with those of the weights.
    kept
        Which keys stay, bool [key] or [..., key]; at least one with positive weight in each row.

    Raises
    ------
    ValueError
        For NaN, infinite or negative weights, rows that do not sum to 1 (within 1e-4), mismatched shapes, or a row of
        which nothing with positive weight is kept.

    Examples
    --------
    >>> result = output_error([0.5, 0.3, 0.2], [[1.0], [0.0], [2.0]], [True, True, False])
    >>> [round(float(number), 4) for number in (result.dropped_mass, result.error, result.norm_bound)]
    [0.2, 0.275, 0.6]
    """
    p, v, stays = _checked(weights, values, kept)
    kept_mass = np.where(stays, p, 0.0).sum(-1)
    if not (kept_mass > 0).all():
        raise ValueError("`kept` must leave a key of positive weight in every row")
    mass = np.where(stays, 0.0, p).sum(-1)
    full = np.einsum("...k,...kd->...d", p, v)
    reduced = np.einsum("...k,...kd->...d", np.where(stays, p, 0.0), v) / kept_mass[..., None]
    error = np.linalg.norm(reduced - full, axis=-1)
    size = np.linalg.norm(full, axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.where(error > 0, error / size, 0.0)
    centred = v - v.mean(-2, keepdims=True)
    bounds = [mass * _reach(np.linalg.norm(vectors, axis=-1), p > 0, stays) for vectors in (v, centred)]
    return OutputError(mass, error, relative, *bounds)


def _reach(norms: Float64Array, seen: npt.NDArray[np.bool_], stays: npt.NDArray[np.bool_]) -> Float64Array:
    """Largest norm among the kept plus the largest among the dropped keys, of those that have weight [...]."""
    return np.asarray(np.where(seen & stays, norms, 0.0).max(-1) + np.where(seen & ~stays, norms, 0.0).max(-1))


def _checked(
    weights: npt.ArrayLike, values: npt.ArrayLike, kept: npt.ArrayLike
) -> tuple[Float64Array, Float64Array, npt.NDArray[np.bool_]]:
    p, v, stays = np.asarray(weights, dtype=np.float64), np.asarray(values, dtype=np.float64), np.asarray(kept)
    if p.ndim < 1 or v.ndim < 2 or v.shape[-2] != p.shape[-1] or 0 in v.shape:
        raise ValueError(
            f"`values` must have shape [..., key, dim] for weights [..., key], got {v.shape} and {p.shape}"
        )
    if stays.dtype != np.bool_ or stays.shape[-1:] != p.shape[-1:]:
        raise ValueError(f"`kept` must be bool [key] = [{p.shape[-1]}], got {stays.dtype} {stays.shape}")
    if not (np.isfinite(p).all() and np.isfinite(v).all()):
        raise ValueError("`weights` and `values` must be finite")
    if (p < 0).any() or not np.allclose(p.sum(-1), 1.0, rtol=0, atol=1e-4):
        raise ValueError("`weights` must be softmax rows: not negative, with a sum of 1")
    return p / p.sum(-1, keepdims=True), v, stays
