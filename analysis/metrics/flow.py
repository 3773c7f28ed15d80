"""Attention through several layers: rollout multiplies the maps, attention flow is the largest flow through them.

Both take head-averaged maps of consecutive layers [layer, query, token], first layer first, as NumPy arrays or xarray
DataArrays with these dimensions (and further ones in front); the rows are divided by their sums, so maps that are
restricted to the visual tokens will do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import xarray as xr

from .layered_flow import flows
from .weights import Float64Array, probabilities

Maps = TypeVar("Maps", npt.NDArray[Any], xr.DataArray)
LEAST = 1e-12
"""Residual capacity that counts as none, of a query that sends 1."""


def rollout(maps: Maps, *, residual: float = 0.5, discard: float = 0.0) -> Maps:
    """Attention rollout: the product of the maps with their residual connections, rows of sum 1 [..., query, token].

    Abnar and Zuidema, 2020, arXiv:2005.00928, section 3: A' = (1 - residual) A + residual I, multiplied over the
    layers. Row i says where the information in token i above the last layer comes from, if attention were all there is.

    Parameters
    ----------
    maps
        Attention [..., layer, query, token] with as many queries as tokens.
    residual
        Share of the residual connection, in [0, 1); 0.5 as published.
    discard
        Share of the entries of each map, the smallest ones, that is set to 0 first, in [0, 1); 0.9 in a widespread
        implementation (jacobgil/vit-explain@15a81d35, whose row normalisation divides columns instead). A row that
        loses all its entries keeps its residual connection only.

    Raises
    ------
    ValueError
        For maps that are not square, weights that are negative, NaN or sum to 0, or shares outside [0, 1).
    """
    _check_share("residual", residual)
    _check_share("discard", discard)

    def multiply(block: npt.NDArray[Any]) -> Float64Array:
        joint: Float64Array | None = None
        for layer in range(block.shape[-3]):
            mixed = _mixed(_discarded(probabilities(block[..., layer, :, :]), discard), residual)
            joint = mixed if joint is None else mixed @ joint
        assert joint is not None
        return joint

    result: Maps = _over_maps(multiply, maps, ("query", "token"))
    return result


def attention_flow(maps: Maps, query: int = 0, *, targets: Sequence[int] | None = None, residual: float = 0.5) -> Maps:
    """Attention flow: the largest flow from a token on top to tokens at the bottom, in [0, 1], float64 [..., target].

    Abnar and Zuidema, 2020, arXiv:2005.00928, section 3: attention weights with their residual connections, A' =
    (1 - residual) A + residual I, are capacities of a layered graph, one maximum-flow problem per target. Exact up to
    1e-9. With dense maps and more than two layers the flow is nearly always what the query sends, 1, or what the
    target can receive, its column sum in the first layer: then flow tells less than rollout, as comparing the two
    shows.

    Parameters
    ----------
    maps
        Attention [..., layer, query, token] with as many queries as tokens.
    query
        Token on top whose flow is asked for.
    targets
        Tokens at the bottom; None means all.
    residual
        Share of the residual connection, in [0, 1); 0.5 as published.

    Raises
    ------
    ValueError
        As for `rollout`, or for a token that does not exist.
    """
    _check_share("residual", residual)

    def solve(block: npt.NDArray[Any]) -> Float64Array:
        n = block.shape[-1]
        wanted = np.arange(n) if targets is None else np.asarray(targets, dtype=np.int64)
        for name, tokens in (("query", np.array([query])), ("targets", wanted)):
            if tokens.size == 0 or tokens.min() < 0 or tokens.max() >= n:
                raise ValueError(f"`{name}` must be tokens in [0, {n - 1}], got {tokens.tolist()}")
        mixed = np.ascontiguousarray(_mixed(probabilities(block), residual))
        stacks = mixed.reshape(-1, *mixed.shape[-3:])
        return np.stack([flows(stack, query, wanted, LEAST) for stack in stacks]).reshape(
            *block.shape[:-3], wanted.size
        )

    result: Maps = _over_maps(solve, maps, ("target",))
    return result


def _over_maps(function: Callable[[npt.NDArray[Any]], Float64Array], maps: Any, result: tuple[str, ...]) -> Any:
    if not isinstance(maps, xr.DataArray):
        return function(_square(np.asarray(maps)))
    missing = {"layer", "query", "token"} - set(map(str, maps.dims))
    if missing:
        raise ValueError(f"`maps` must have the dimensions layer, query and token, got {tuple(maps.dims)}")
    core = ["layer", "query", "token"]
    if maps.chunks is not None:
        maps = maps.chunk(dict.fromkeys(core, -1))
    sizes = {"target": maps.sizes["token"]}
    return xr.apply_ufunc(
        lambda block: function(_square(block)),
        maps,
        input_core_dims=[core],
        output_core_dims=[list(result)],
        dask="parallelized",
        output_dtypes=[np.float64],
        dask_gufunc_kwargs={"output_sizes": {name: sizes[name] for name in result if name in sizes}},
        keep_attrs=True,
    )


def _square(maps: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if maps.ndim < 3 or maps.shape[-1] != maps.shape[-2] or 0 in maps.shape:
        raise ValueError(f"`maps` must have shape [..., layer, query, token] with query = token, got {maps.shape}")
    return maps


def _check_share(name: str, share: float) -> None:
    if not 0 <= share < 1:
        raise ValueError(f"`{name}` must be in [0, 1), got {share}")


def _mixed(rows: Float64Array, residual: float) -> Float64Array:
    """`rows` [..., query, token] with the residual connection; a row of zeros is that connection alone."""
    mixed: Float64Array = (1.0 - residual) * rows + residual * np.eye(rows.shape[-1])
    empty = ~rows.any(-1)
    mixed[empty] = np.broadcast_to(np.eye(rows.shape[-1]), rows.shape)[empty]
    return mixed


def _discarded(rows: Float64Array, share: float) -> Float64Array:
    """`rows` [..., query, token] without the smallest `share` of the entries of each map, rows of sum 1 or 0."""
    count = int(share * rows.shape[-1] * rows.shape[-2])
    if count == 0:
        return rows
    flat = rows.reshape(*rows.shape[:-2], -1).copy()
    # Stable, so that of equal entries the first are dropped.
    np.put_along_axis(flat, np.argsort(flat, axis=-1, kind="stable")[..., :count], 0.0, axis=-1)
    left = flat.reshape(rows.shape)
    sums = left.sum(-1, keepdims=True)
    result: Float64Array = np.divide(left, sums, out=np.zeros_like(left), where=sums > 0)
    return result
