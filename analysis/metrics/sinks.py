"""Attention sinks: tokens that draw attention by what they are in the network, not by what they show.

Four published or proposed criteria give a mask [..., token]; `without_sinks` takes the masked tokens out of attention
rows, so that any metric can be reported with and without them (`measure(..., sinks=...)` does both). Arrays are NumPy
or xarray DataArrays with the dimensions "token" and, for hidden states, "dimension"; Dask-backed ones stay lazy.

A criterion finds outliers; that they are sinks rather than objects is for the pictures to show. Published thresholds
belong to the models they were found on.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from .weights import Float64Array, Weights, probabilities

SINK_DIMENSIONS = {"LLaMA-2-7B": (1415, 2533)}
"""Dimensions of the hidden states by language model, as VisAttnSink has them (seilk/VisAttnSink@98e62d6c)."""
BIMODAL = 5 / 9
"""Bimodality coefficient of a uniform distribution; a larger one speaks for two modes."""


def activation_sinks(hidden: Weights, dimensions: Sequence[int], *, tau: float = 20.0) -> Weights:
    """Tokens with a massive activation: |x_d| / rms(x) above `tau` in one of the sink dimensions d, bool [..., token].

    VisAttnSink (ICLR 2025; seilk/VisAttnSink@98e62d6c).

    Parameters
    ----------
    hidden
        Hidden states that enter a layer [..., token, dimension].
    dimensions
        Sink dimensions: those of `SINK_DIMENSIONS`, or what `massive_dimensions` finds in a model that is not there.
    tau
        Threshold; 20 is the published one, for LLaMA-2-7B with its 4096 dimensions. No activation can be more than
        sqrt(dimensions) times the root mean square, so that narrow models need a smaller one.

    Raises
    ------
    ValueError
        For no dimension or one that does not exist, a threshold that nothing can exceed, or hidden states that are not
        finite.
    """
    wanted = np.array([operator.index(d) for d in dimensions], dtype=np.int64)

    def detect(x: Float64Array) -> npt.NDArray[np.bool_]:
        if wanted.size == 0 or wanted.min() < 0 or wanted.max() >= x.shape[-1]:
            raise ValueError(f"`dimensions` must be in [0, {x.shape[-1] - 1}], got {wanted.tolist()}")
        if not 0 < tau < np.sqrt(x.shape[-1]):
            raise ValueError(
                f"`tau` must be in (0, {np.sqrt(x.shape[-1]):.3g}) for {x.shape[-1]} dimensions, got {tau}"
            )
        scale = np.sqrt(np.square(x).mean(-1, keepdims=True))
        return np.asarray((np.abs(x[..., wanted]) > tau * scale).any(-1))

    return _over_states(detect, hidden)


def massive_dimensions(
    hidden: npt.NDArray[Any] | xr.DataArray, *, least: float = 100.0, ratio: float = 1000.0
) -> tuple[int, ...]:
    """Dimensions in which some token has a massive activation, ascending; none in many small models.

    An activation is massive if its magnitude exceeds `least` and `ratio` times the median magnitude of the hidden
    states, after Sun et al., 2024, arXiv:2402.17762; their two thresholds are given from memory, unchecked.

    Parameters
    ----------
    hidden
        Hidden states of one layer [..., token, dimension]; lower both thresholds for narrow models.
    least, ratio
        The thresholds.

    Raises
    ------
    ValueError
        If hidden states are not finite or have no dimension axis.
    """
    states = hidden.transpose(..., "dimension") if isinstance(hidden, xr.DataArray) else hidden
    magnitude = np.abs(_states(np.asarray(states)))
    limit = max(least, ratio * float(np.median(magnitude)))
    largest = magnitude.reshape(-1, magnitude.shape[-1]).max(0)
    return tuple(int(d) for d in np.flatnonzero(largest > limit))


def attention_sinks(weights: Weights, *, factor: float = 1.5, dim: str = "token") -> Weights:
    """Tokens whose attention is an upper outlier, above Q3 + `factor` IQR of their row, bool [..., token].

    The rule by which LLaVA-PruMerge and TRIM (FreedomIntelligence/TRIM@f5a232d5) count important tokens; quartiles are
    interpolated linearly. The same tokens are called important there and suspected as sinks elsewhere: that is the
    point of comparing metrics with and without them.

    Raises
    ------
    ValueError
        For a factor that is not a number of at least 0, or bad weights, as for every metric.
    """
    if not factor >= 0:
        raise ValueError(f"`factor` must be at least 0, got {factor}")

    def detect(row: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        p = probabilities(row)
        low, high = np.quantile(p, [0.25, 0.75], axis=-1, keepdims=True)
        return np.asarray(p > high + factor * (high - low))

    result: Weights = _apply(detect, (weights,), ((dim,),), dim, np.bool_)
    return result


def norm_sinks(hidden: Weights, *, threshold: float | None = None, most: float = 0.1) -> Weights:
    """Tokens of the upper mode of the norms, bool [..., token].

    Outlier tokens of large vision encoders have norms far above the others': about 1 % of the tokens lie above 60 in a
    secondary source on SinkPruner. That threshold is not checked, and not transferable.

    Parameters
    ----------
    hidden
        Hidden states or features [..., token, dimension].
    threshold
        Norm above which a token is a sink. None (own construction, not published) looks for it in each row: there are
        none unless the norms are bimodal (coefficient above `BIMODAL`); the cut is the one that separates the log norms
        best, by variance between the two sides (Otsu, 1979, IEEE Transactions on Systems, Man, and Cybernetics 9).
    most
        Largest share of the tokens that can be sinks where the cut is searched for: a larger upper mode is a
        population, not outliers.

    Raises
    ------
    ValueError
        For a threshold that is not positive, a share outside (0, 1), or hidden states that are not finite.
    """
    if threshold is not None and not threshold > 0:
        raise ValueError(f"`threshold` must be positive, got {threshold}")
    if not 0 < most < 1:
        raise ValueError(f"`most` must be in (0, 1), got {most}")

    def detect(x: Float64Array) -> npt.NDArray[np.bool_]:
        norms = np.linalg.norm(x, axis=-1)
        return np.asarray(norms > threshold) if threshold is not None else _upper_mode(norms, most)

    return _over_states(detect, hidden)


def bimodality(values: npt.NDArray[Any]) -> Float64Array:
    """Bimodality coefficient along the last axis, (skewness^2 + 1) / kurtosis, in (0, 1]: 1/3 normal, 5/9 uniform.

    Population moments, without the correction for small samples; 0 where all values are equal.
    """
    x = np.asarray(values, dtype=np.float64)
    centred = x - x.mean(-1, keepdims=True)
    second, third, fourth = (np.mean(centred**power, -1) for power in (2, 3, 4))
    spread = second > 1e-24 * np.square(x).mean(-1)  # below, the moments are rounding
    result: Float64Array = np.divide(third**2 + second**3, second * fourth, out=np.zeros_like(second), where=spread)
    return result


def without_sinks(weights: Weights, sinks: Weights, dim: str = "token") -> Weights:
    """Attention rows with the weight of the sinks set to 0 and the rest divided by its sum, float64 [..., token].

    Raises
    ------
    ValueError
        For masks that are not bool or have other tokens, and for a row whose weight lies on sinks alone.
    """

    def remove(row: npt.NDArray[Any], mask: npt.NDArray[Any]) -> Float64Array:
        left = np.where(_mask(mask), 0.0, probabilities(row))
        total = left.sum(-1, keepdims=True)
        empty = int((total <= 0).sum())
        if empty:
            raise ValueError(f"`sinks` must leave some weight in every row, got {empty} rows with weight on sinks only")
        return np.asarray(left / total)

    result: Weights = _apply(remove, (weights, sinks), ((dim,), (dim,)), dim, np.float64)
    return result


def sink_share(weights: Weights, sinks: Weights, dim: str = "token") -> Weights:
    """Share of each row's attention that the sinks hold, in [0, 1], float64 [...]."""

    def held(row: npt.NDArray[Any], mask: npt.NDArray[Any]) -> Float64Array:
        return np.asarray(np.where(_mask(mask), probabilities(row), 0.0).sum(-1))

    result: Weights = _apply(held, (weights, sinks), ((dim,), (dim,)), "", np.float64)
    return result


def image_centric(
    weights: Weights, sinks: Weights, *, rho: float = 0.5, mass: float = 0.2, dim: str = "token"
) -> Weights:
    """Heads that look at the picture: at most `rho` of their visual attention on sinks, at least `mass` on the image.

    VisAttnSink's image-centric heads (seilk/VisAttnSink@98e62d6c), bool [..., without token].

    Parameters
    ----------
    weights
        Rows of the softmax over all keys restricted to the visual tokens, not renormalised, [..., head, token].
    sinks
        Mask that broadcasts against them.
    rho, mass
        The thresholds, as published.
    dim
        Token dimension of a DataArray.
    """

    def central(row: npt.NDArray[Any], mask: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        on_sinks = np.where(_mask(mask), probabilities(row), 0.0).sum(-1)
        return np.asarray((on_sinks <= rho) & (row.astype(np.float64).sum(-1) >= mass))

    result: Weights = _apply(central, (weights, sinks), ((dim,), (dim,)), "", np.bool_)
    return result


def _upper_mode(norms: Float64Array, most: float) -> npt.NDArray[np.bool_]:
    """Mask of the upper of two modes of the log norms [..., token], where there are two and it is small."""
    logs = np.log(np.maximum(norms, np.finfo(np.float64).tiny))
    n = norms.shape[-1]
    if n < 3:
        return np.zeros(norms.shape, dtype=np.bool_)
    ordered = np.sort(logs - logs.mean(-1, keepdims=True), axis=-1)
    below = np.arange(1, n)
    # With centred values the sums of the two sides differ only in sign: the variance between them is S^2 / (a b).
    between = np.square(np.cumsum(ordered, -1)[..., :-1]) / (below * (n - below))
    split = np.argmax(between, axis=-1)[..., None]
    cut = (np.take_along_axis(ordered, split, -1) + np.take_along_axis(ordered, split + 1, -1)) / 2
    above = logs - logs.mean(-1, keepdims=True) > cut
    real = (bimodality(logs) > BIMODAL) & (above.mean(-1) <= most)
    return np.asarray(above & real[..., None])


def _mask(mask: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    if mask.dtype != np.bool_:
        raise ValueError(f"`sinks` must be a mask of dtype bool, got {mask.dtype}")
    return mask


def _states(hidden: npt.NDArray[Any]) -> Float64Array:
    if hidden.ndim < 2 or 0 in hidden.shape:
        raise ValueError(f"`hidden` must have shape [..., token, dimension], got {hidden.shape}")
    values = hidden.astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"`hidden` must be finite, got {int((~np.isfinite(values)).sum())} NaN or infinite")
    return values


def _over_states(detect: Callable[[Float64Array], npt.NDArray[np.bool_]], hidden: Weights) -> Weights:
    core = (("token", "dimension"),)
    result: Weights = _apply(lambda block: detect(_states(block)), (hidden,), core, "token", np.bool_)
    return result


def _apply(
    function: Callable[..., Any], arrays: tuple[Any, ...], core: tuple[tuple[str, ...], ...], result: str, dtype: Any
) -> Any:
    """`function` of plain blocks over NumPy arrays, or over DataArrays with the core dimensions; `result` "" drops."""
    labelled = [isinstance(array, xr.DataArray) for array in arrays]
    if any(labelled) != all(labelled):
        raise ValueError("weights and sinks must both be labelled (DataArray) or neither, got one of each")
    if not any(labelled):
        plain = [np.asarray(array) for array in arrays]
        tokens = {array.shape[-len(dims)] for array, dims in zip(plain, core, strict=True) if array.ndim >= len(dims)}
        if len(tokens) > 1:
            raise ValueError(f"`sinks` must have as many tokens as the weights, got {sorted(tokens)}")
        return function(*plain)
    for array, dims in zip(arrays, core, strict=True):
        missing = [name for name in dims if name not in array.dims]
        if missing:
            raise ValueError(f"the array must have the dimension {missing[0]!r}, got dimensions {tuple(array.dims)}")
    lead = arrays[0]
    if len(arrays) > 1:
        differ = {name for name in lead.dims if name in arrays[1].dims and lead.sizes[name] != arrays[1].sizes[name]}
        if differ:
            raise ValueError(f"`sinks` must be as long as the weights along {', '.join(sorted(map(str, differ)))}")
    whole = [
        array.chunk(dict.fromkeys(d, -1)) if array.chunks else array for array, d in zip(arrays, core, strict=True)
    ]
    if len(whole) > 1 and whole[0].chunks and whole[1].chunks:
        sizes = whole[0].chunksizes
        whole[1] = whole[1].chunk({name: sizes[name] for name in whole[1].dims if name in sizes})
    return xr.apply_ufunc(
        function,
        *whole,
        input_core_dims=[list(dims) for dims in core],
        output_core_dims=[[result] if result else []],
        dask="parallelized",
        output_dtypes=[dtype],
        join="exact",
        keep_attrs=True,
    )
