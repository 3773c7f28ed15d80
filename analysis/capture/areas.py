"""Which visual tokens of a prompt lie side by side in the image: the grids that a dump is grouped by."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from solvers.arrays import IntArray

from ..models.layout import ImageLayout, Tile

COUNTED = ("token", "query")
"""Axes that count visual tokens."""


@dataclass(frozen=True, eq=False)
class Piece:
    """What the encoder saw of an area in one picture.

    Parameters
    ----------
    view
        Number of the picture among all of the forward pass.
    sources
        int64 [token]: its tokens in the area, as the encoder counts them in the picture.
    at
        int64 [token]: the same tokens as the area counts them.
    """

    view: int
    sources: IntArray
    at: IntArray


@dataclass(frozen=True, eq=False)
class Area:
    """A rectangle of visual tokens of one prompt: a whole image, all crops of one put together, or a tile.

    Parameters
    ----------
    name
        "whole", "crops", the number of a tile from 1; empty where there is no other area.
    grid
        Rows and columns.
    places
        int64 [token], row-major: index of each token among the placeholders of the prompt. Newlines have none.
    pieces
        The pictures it was made of.
    interpolated
        Whether the model interpolated its tokens behind the encoder.
    """

    name: str
    grid: tuple[int, int]
    places: IntArray
    pieces: tuple[Piece, ...]
    interpolated: bool = False


def areas_of(layouts: Sequence[ImageLayout]) -> tuple[Area, ...]:
    """The areas of a prompt, in the order of its placeholders, from the layouts of what it shows."""
    several = len(layouts) > 1
    found, first = [], 0
    for number, layout in enumerate(layouts, 1):
        alone = [tile for tile in layout.tiles if tile.at is None]
        crops = [tile for tile in layout.tiles if tile.at is not None]
        for tile in alone:
            found.append(_area(str(number) if several else "whole" if crops else "", [tile], first))
        if crops:
            found.append(_area(f"{number}-crops" if several else "crops" if alone else "", crops, first))
        first += layout.tokens
    return tuple(found)


def layout_name(areas: Sequence[Area]) -> str:
    """The grids of the areas, such as "24x24+36x48"; "13_of_16x16" for as many in a row, "~" for interpolated ones."""
    grids = [f"{'~' if area.interpolated else ''}{area.grid[0]}x{area.grid[1]}" for area in areas]
    runs = [(grid, len(list(run))) for grid, run in itertools.groupby(grids)]
    return "+".join(f"{count}_of_{grid}" if count > 1 else grid for grid, count in runs)


def group_names(areas: Sequence[Area]) -> list[str]:
    """The name of each area among all areas of a dump: that of the layout, and its own."""
    layout = layout_name(areas)
    return [f"{layout}-{area.name}" if area.name else layout for area in areas]


def of_prompt(area: Area, dims: Sequence[str], values: Tensor) -> Tensor:
    """Values about the placeholders of a prompt [..., *dims] as values about the tokens of the area."""
    places = torch.from_numpy(area.places)
    for axis, dim in enumerate(dims, values.ndim - len(dims)):
        values = values.index_select(axis, places) if dim in COUNTED else values
    return values


def of_encoder(area: Area, dims: Sequence[str], views: Sequence[Tensor]) -> Tensor:
    """Values about the tokens of each picture [..., *dims] as values about those of the area, 0 between pictures.

    Raises
    ------
    ValueError
        If the values do not count tokens, and the area is made of several pictures.
    """
    counted = len(dims)
    if set(dims) - set(COUNTED) or not dims:
        if len(area.pieces) > 1:
            raise ValueError(
                f"a reducer that keeps {', '.join(dims) or 'one number'} cannot tell what {len(area.pieces)} crops of "
                "an image have in common: capture numbers per token"
            )
        return views[area.pieces[0].view]
    like = views[area.pieces[0].view]
    found = like.new_zeros(*like.shape[:-counted], *[len(area.places)] * counted)
    for piece in area.pieces:
        found[_square(piece.at, counted)] = views[piece.view][_square(piece.sources, counted)]
    return found


def _square(index: IntArray, axes: int) -> tuple[Any, ...]:
    """An index that picks the same entries along each of the last axes."""
    return (..., *map(torch.from_numpy, np.ix_(*[index] * axes)))


def _area(name: str, tiles: Sequence[Tile], first: int) -> Area:
    by_crop = {tile.at or (0, 0): tile for tile in tiles}
    rows, columns = (sorted({at[axis] for at in by_crop}) for axis in (0, 1))
    places = np.block([[by_crop[row, column].places.reshape(by_crop[row, column].grid) for column in columns]
                       for row in rows])  # fmt: skip
    flat = places.ravel()
    order = np.argsort(flat)
    pieces = tuple(
        Piece(tile.view, tile.sources, order[np.searchsorted(flat, tile.places, sorter=order)]) for tile in tiles
    )
    interpolated = any(tile.resampled for tile in tiles)
    return Area(name, (places.shape[0], places.shape[1]), flat + first, pieces, interpolated)
