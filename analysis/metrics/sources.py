"""The attention rows of a dump under one set of names, whatever asks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr

SOURCES = {
    "cls": "vision CLS",
    "received": "vision mean received",
    "last": "text last token",
    "text": "text mean",
    "image": "text mean received",
}
"""What attends to the visual tokens, by variable, in the order of tables; an attribute `source` goes first."""
AXES = (("vision_layer", "vision_head"), ("layer", "head"))
"""Layer and head dimension of either tower."""


def grid_of(dump: xr.Dataset) -> tuple[int, int]:
    """Rows and columns of the visual tokens; ValueError if the dump does not say."""
    if "grid" not in dump.attrs:
        raise ValueError("`dump` must have the attribute 'grid' (rows, columns), got none")
    rows, columns = dump.attrs["grid"]
    return int(rows), int(columns)


def rows_by_source(dump: xr.Dataset, heads: bool) -> Iterator[tuple[str, xr.DataArray]]:
    """Attention [image, layer, (head,) token] by source, with the same dimension names for each, layers from 1.

    Every variable with these dimensions and no other counts, so entropies and whole maps do not.

    Raises
    ------
    ValueError
        If the dump holds no such variable, or `heads` are asked for and one was captured as a mean over heads.
    """
    found = False
    for name in sorted(map(str, dump.data_vars), key=lambda name: [*SOURCES, name].index(name)):
        axes = next((pair for pair in AXES if pair[0] in dump[name].dims), None)
        if axes is None or set(dump[name].dims) - {axes[1]} != {"image", axes[0], "token"}:
            continue
        found = True
        layer, head = axes
        rows = dump[name].astype(np.float64)
        numbers = rows[layer].values if layer in rows.coords else np.arange(1, rows.sizes[layer] + 1)
        if heads and head not in rows.dims:
            raise ValueError(f"`heads` must be False for this dump: `{name}` was captured as a mean over heads")
        rows = rows.drop_vars(set(rows.coords)).rename(
            {old: new for old, new in zip(axes, AXES[1], strict=True) if old in rows.dims}
        )
        rows = rows.mean("head") if "head" in rows.dims and not heads else rows
        yield str(dump[name].attrs.get("source", SOURCES.get(name, name))), rows.assign_coords(layer=numbers)
    if not found:
        held = ", ".join(map(str, dump.data_vars)) or "nothing"
        raise ValueError(f"`dump` must hold attention rows [image, layer, token] such as `cls` or `last`, got {held}")
