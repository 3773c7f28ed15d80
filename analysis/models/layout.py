"""Where the tokens of an image come from and go to: pictures that the encoder saw, places among the placeholders."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from solvers.arrays import IntArray


@dataclass(frozen=True, eq=False)
class Tile:
    """A rectangle of visual tokens that the encoder saw as one picture: an image, or a crop of one.

    Parameters
    ----------
    view
        Number of the picture among all that the encoder got in one call, from 0.
    grid
        Rows and columns of the tokens that reach the language model.
    sources
        int64 [token], row-major: index of each token among those that the encoder makes of its picture. Not all of them
        need to be there: LLaVA-NeXT cuts padding away.
    places
        int64 [token], row-major: index of each token among the placeholders of its image.
    at
        Row and column of a crop among the crops that cover the whole image; None for the whole image itself, or where
        crops form no such grid.
    crops
        Rows and columns of these crops, those of nothing but padding included; None as `at`.
    resampled
        Whether its tokens were interpolated after the projector (LLaVA-OneVision, many crops). Their features are then
        interpolated likewise, and the projector would make something else of them.
    """

    view: int
    grid: tuple[int, int]
    sources: IntArray
    places: IntArray
    at: tuple[int, int] | None = None
    crops: tuple[int, int] | None = None
    resampled: bool = False

    def __post_init__(self) -> None:
        if (self.at is None) != (self.crops is None):
            raise ValueError(f"`at` and `crops` must be given together, got {self.at} and {self.crops}")
        count = self.grid[0] * self.grid[1]
        for name in ("sources", "places"):
            if getattr(self, name).shape != (count,):
                raise ValueError(f"`{name}` must have {count} entries, got {getattr(self, name).shape}")

    def __len__(self) -> int:
        return self.grid[0] * self.grid[1]

    @classmethod
    def whole(cls, view: int, grid: tuple[int, int], first: int = 0) -> Tile:
        """A picture whose tokens all stand side by side, in row-major order, from place `first` of their image."""
        order = np.arange(grid[0] * grid[1], dtype=np.int64)
        return cls(view, grid, order, order + first)


@dataclass(frozen=True, eq=False)
class ImageLayout:
    """The placeholders of one image.

    Parameters
    ----------
    tokens
        How many there are.
    tiles
        The pictures that they show, in the order of the encoder.
    """

    tokens: int
    tiles: tuple[Tile, ...]

    def __post_init__(self) -> None:
        places = np.concatenate([tile.places for tile in self.tiles])
        if np.unique(places).size != places.size or not 0 <= places.min() <= places.max() < self.tokens:
            raise ValueError(f"the tiles of an image must share no place and stay below {self.tokens}")

    @cached_property
    def separators(self) -> IntArray:
        """Places that belong to no tile, such as the newlines of LLaVA-NeXT; int64, ascending."""
        shown = np.concatenate([tile.places for tile in self.tiles])
        return np.setdiff1d(np.arange(self.tokens, dtype=np.int64), shown)

    @property
    def patches(self) -> int:
        """Tokens that show something: those of the tiles."""
        return sum(len(tile) for tile in self.tiles)
