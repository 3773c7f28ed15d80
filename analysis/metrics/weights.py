"""Run a function of one attention row over whole arrays: NumPy, Dask or xarray, along the token axis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar, get_args

import dask.array
import numpy as np
import numpy.typing as npt
import xarray as xr

Float64Array = npt.NDArray[np.float64]
Core = Callable[..., Float64Array]
Unit = Literal["side", "patch"]
"""What distances in the grid are measured in: sides of the image, or patches."""
Weights = TypeVar("Weights", npt.NDArray[Any], xr.DataArray)
"""Attention weights [..., token]: non-negative, finite, at least one of them positive; any scale."""


def over_tokens(
    core: Core, weights: Weights, dim: str, *, part: str = "", labels: tuple[Any, ...] = (), **options: Any
) -> Weights:
    """Apply `core` to `weights`, normalised to sum 1 in float64 along the tokens.

    Parameters
    ----------
    core
        Function of an array [..., token] of probabilities; its result has the token axis replaced by `labels`, if any,
        else dropped.
    weights
        Array [..., token], or a DataArray with the dimension `dim`. Dask arrays stay lazy.
    dim
        Name of the token dimension of a DataArray; without meaning for arrays, whose last axis is taken.
    part
        Name of the new last dimension of the result, if it has one.
    labels
        Coordinates along `part`.
    options
        Passed on to `core`.

    Raises
    ------
    ValueError
        For a missing dimension, no tokens, negative, NaN or infinite weights, or a row that sums to 0. With a Dask
        array the values are seen, and refused, when the result is computed.
    """
    if isinstance(weights, xr.DataArray):
        return _over_dimension(core, weights, dim, part, labels, options)
    if isinstance(weights, dask.array.Array):
        names = [*(f"axis_{axis}" for axis in range(weights.ndim - 1)), dim]
        return _over_dimension(core, xr.DataArray(weights, dims=names), dim, part, labels, options).data
    array = np.asarray(weights)
    if array.ndim == 0:
        raise ValueError("`weights` must have a token axis, got a single number")
    return core(probabilities(array), **options)


def _over_dimension(
    core: Core, weights: xr.DataArray, dim: str, part: str, labels: tuple[Any, ...], options: dict[str, Any]
) -> xr.DataArray:
    if dim not in weights.dims:
        raise ValueError(f"`weights` must have the dimension {dim!r}, got dimensions {tuple(weights.dims)}")
    if weights.sizes[dim] == 0:
        raise ValueError("`weights` must hold at least 1 token, got 0")
    if weights.chunks is not None:
        weights = weights.chunk({dim: -1})  # a row is one unit: its sum and its order need all tokens

    def on_block(block: npt.NDArray[Any]) -> Float64Array:
        return core(probabilities(block), **options)

    result = xr.apply_ufunc(
        on_block,
        weights,
        input_core_dims=[[dim]],
        output_core_dims=[[part] if part else []],
        dask="parallelized",
        output_dtypes=[np.float64],
        dask_gufunc_kwargs={"output_sizes": {part: len(labels)}} if part else None,
        keep_attrs=True,
    )
    labelled: xr.DataArray = result.assign_coords({part: list(labels)}) if part else result
    return labelled


def over_token_pairs(core: Core, first: Weights, second: Weights, dim: str, **options: Any) -> Any:
    """Apply `core` to two arrays of weights, each normalised as by `over_tokens`, row by row.

    Parameters
    ----------
    core
        Function of two arrays [..., token] of probabilities that broadcast; its result has the token axis dropped.
    first, second
        Arrays [..., token] that broadcast, or DataArrays with the dimension `dim`: their other dimensions are matched
        by name, and those that only one of them has are crossed. Dask arrays stay lazy.
    dim
        Name of the token dimension of a DataArray; without meaning for arrays, whose last axis is taken.
    options
        Passed on to `core`.

    Raises
    ------
    ValueError
        As for `over_tokens`; for different numbers of tokens; for a DataArray beside an array of another kind.
    """

    pair: tuple[Any, Any] = (first, second)
    labelled = [isinstance(weights, xr.DataArray) for weights in pair]
    if any(labelled) != all(labelled):
        raise ValueError("both weights must be labelled (DataArray) or neither, got one of each")
    if not any(labelled):
        if any(np.ndim(weights) == 0 for weights in pair):
            raise ValueError("`weights` must have a token axis, got a single number")
        lazy = any(isinstance(weights, dask.array.Array) for weights in pair)
        pair = (_named(pair[0], dim), _named(pair[1], dim))
        result = _over_dimension_pairs(core, pair, dim, options).data
        return result if lazy else np.asarray(result)
    return _over_dimension_pairs(core, pair, dim, options)


def _named(weights: Any, dim: str) -> xr.DataArray:
    """`weights` with dimension names that broadcast as its axes do; an axis of length 1 has none."""
    array = weights if isinstance(weights, dask.array.Array) else np.asarray(weights)
    names = [*(f"axis_{axis}" for axis in range(array.ndim - 1, 0, -1)), dim]
    single = {name: 0 for name, size in zip(names[:-1], array.shape, strict=False) if size == 1}
    return xr.DataArray(array, dims=names).isel(single)


def _over_dimension_pairs(
    core: Core, pair: tuple[xr.DataArray, xr.DataArray], dim: str, options: dict[str, Any]
) -> xr.DataArray:
    for weights in pair:
        if dim not in weights.dims:
            raise ValueError(f"`weights` must have the dimension {dim!r}, got dimensions {tuple(weights.dims)}")
    tokens = [weights.sizes[dim] for weights in pair]
    if tokens[0] != tokens[1]:
        raise ValueError(f"both weights must have equally many tokens, got {tokens[0]} and {tokens[1]}")

    def on_blocks(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> Float64Array:
        return core(probabilities(one), probabilities(other), **options)

    one, other = (weights if weights.chunks is None else weights.chunk({dim: -1}) for weights in pair)
    if one.chunks is not None and other.chunks is not None:
        other = other.chunk({name: sizes for name, sizes in one.chunksizes.items() if name in other.dims})
    result: xr.DataArray = xr.apply_ufunc(
        on_blocks,
        one,
        other,
        input_core_dims=[[dim], [dim]],
        dask="parallelized",
        output_dtypes=[np.float64],
        keep_attrs=True,
    )
    return result


def probabilities(weights: npt.NDArray[Any]) -> Float64Array:
    """`weights` [..., token] in float64, divided by their sum along the last axis."""
    if weights.dtype.kind not in "fiub":
        raise ValueError(f"`weights` must be real numbers, got dtype {weights.dtype}")
    if weights.shape[-1] == 0:
        raise ValueError("`weights` must hold at least 1 token, got 0")
    values = weights.astype(np.float64)
    bad = values.size - int(np.count_nonzero(np.isfinite(values)))
    if bad:
        raise ValueError(f"`weights` must be finite, got {bad} NaN or infinite of {values.size} values")
    if (values < 0).any():
        raise ValueError(f"`weights` must not be negative, got {values.min():g}")
    total = values.sum(-1, keepdims=True)
    if not (total > 0).all():
        raise ValueError("`weights` must have a positive sum over the tokens, got a row of zeros")
    result: Float64Array = values / total
    return result


def grid_positions(grid: tuple[int, int], tokens: int, unit: Unit = "side") -> Float64Array:
    """Row and column of each token of a row-major grid, float64 [token, 2], both from 0.

    Parameters
    ----------
    grid
        Rows and columns.
    tokens
        Number of tokens that the grid must hold.
    unit
        "side" scales rows and columns to [0, 1] (0 along a side of 1), "patch" counts patches.

    Raises
    ------
    ValueError
        If the grid does not hold `tokens` tokens, or the unit is another one.
    """
    rows, columns = grid
    if rows < 1 or columns < 1 or rows * columns != tokens:
        raise ValueError(f"`grid` must be (rows, columns) with rows * columns = {tokens} tokens, got {tuple(grid)}")
    if unit not in get_args(Unit):
        raise ValueError(f"`unit` must be 'side' or 'patch', got {unit!r}")
    row, column = np.divmod(np.arange(tokens), columns)
    if unit == "patch":
        return np.stack([row, column], axis=-1).astype(np.float64)
    return np.stack([row / max(rows - 1, 1), column / max(columns - 1, 1)], axis=-1)


def bin_overlap(tokens: int, bins: int) -> Float64Array:
    """Part of each token in each of `bins` equal stretches of the index, float64 [token, bin]; rows sum to 1."""
    left = np.arange(tokens)[:, None]
    border = tokens * np.arange(bins + 1) / bins
    result: Float64Array = np.maximum(np.minimum(left + 1, border[1:]) - np.maximum(left, border[:-1]), 0.0)
    return result
