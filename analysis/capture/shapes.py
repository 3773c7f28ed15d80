"""The arrays of a dump, read off what reducers gave for the first images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt

from ..models import Vlm
from .areas import COUNTED
from .dump import POSITION, Variable
from .record import chosen_layers
from .reducers import AbstractReducer

AXES = {"vision": ("vision_layer", "vision_head"), "text": ("layer", "head")}
"""Layer and head dimension of either tower."""
LAYERS = tuple(layer for layer, _ in AXES.values())
RESERVED = ("image", "image_id", "question", "captured", "rank", POSITION, *COUNTED, *AXES["vision"], *AXES["text"])
PLACES = "index of the visual token in its prompt, without padding"


def variables_of(
    reducers: Mapping[str, AbstractReducer],
    rows: Mapping[str, npt.NDArray[Any]],
    dtype: str,
    labels: Mapping[str, str],
) -> dict[str, Variable]:
    """The variables of a dump whose first images are `rows`, and what they hold by `labels`."""
    found = {}
    for name, reducer in reducers.items():
        layer, head = AXES[reducer.tower]
        axes = (layer, *([head] if reducer.heads else []), *reducer.dims)
        for suffix in reducer.suffixes:
            values = rows[name + suffix]
            kind = "int32" if values.dtype.kind == "i" else dtype if reducer.of_weights else "float32"
            found[name + suffix] = Variable(axes, values.shape[1:], kind, labels[name])
    if POSITION in rows:
        found[POSITION] = Variable(("token",), rows[POSITION].shape[1:], "int32", PLACES)
    return found


def layer_coordinates(vlm: Vlm, reducers: Mapping[str, AbstractReducer]) -> dict[str, list[int]]:
    """Numbers, from 1, of the layers of each tower."""
    towers = {"vision": vlm.adapter.vision_layers(vlm.model), "text": vlm.adapter.text_layers(vlm.model)}
    found: dict[str, list[int]] = {}
    for name, reducer in reducers.items():
        if not isinstance(reducer, AbstractReducer):
            raise TypeError(f"`{name}` must be a reducer such as ClsRow(), got {reducer!r}")
        if name in RESERVED:
            raise ValueError(f"`reducers` must not use the name of an axis or coordinate of the dump, got {name!r}")
        layers = [1 + layer for layer in chosen_layers(name, reducer.layers, len(towers[reducer.tower]))]
        if found.setdefault(AXES[reducer.tower][0], layers) != layers:
            raise ValueError(
                f"`reducers` of one dump must name the same layers of the {reducer.tower} tower, `{name}` differs: "
                "capture it into a store of its own"
            )
    return found


def coordinates_of(variables: Mapping[str, Variable]) -> dict[str, Sequence[int]]:
    """Numbers along every axis but the layers: tokens from 0, the others from 1."""
    sizes: dict[str, int] = {}
    for name, variable in variables.items():
        for axis, size in zip(variable.axes, variable.shape, strict=True):
            if axis not in LAYERS and sizes.setdefault(axis, size) != size:
                raise ValueError(
                    f"`reducers` of one dump must agree on the length of {axis!r}, got {sizes[axis]} and, for "
                    f"`{name}`, {size}: capture it into a store of its own"
                )
    first = {axis: 0 if axis in COUNTED else 1 for axis in sizes}
    return {axis: range(first[axis], first[axis] + size) for axis, size in sizes.items()}
