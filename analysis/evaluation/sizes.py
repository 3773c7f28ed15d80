"""How many visual tokens the images of a task have, and what that costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from analysis.cost import Architecture, cost
from analysis.cost.models import FAMILIES, of_vlm
from analysis.models import Vlm
from analysis.pruning.pruner import Keep

from .settings import one_picture
from .tasks import Sample


@dataclass(frozen=True)
class ImageSize:
    """The visual tokens of one image.

    Attributes
    ----------
    pixels
        Height and width.
    budgeted
        Tokens of each picture that has a budget of its own: of the whole image, newlines and other separators not
        counted; or of each tile, where the model itself knows of tiles only.
    pictures
        How many pictures the encoder sees.
    placeholders
        All tokens that the unpruned language model attends to, separators included.
    """

    pixels: tuple[int, int]
    budgeted: tuple[int, ...]
    pictures: int
    placeholders: int

    @property
    def tokens(self) -> int:
        """Tokens that show something: n, what all budgets of the image together can keep."""
        return sum(self.budgeted)

    def kept_whole(self, keep: Keep) -> bool:
        """Whether a number `keep` leaves nothing out."""
        return not isinstance(keep, float) and keep >= max(self.budgeted)


def sizes_of(vlm: Vlm, samples: Sequence[Sample]) -> list[ImageSize]:
    """Sizes as the processor cuts and scales the images; those without question are left at nothing."""
    return [_size(vlm, sample) for sample in samples]


def _size(vlm: Vlm, sample: Sample) -> ImageSize:
    pixels = sample.image.height, sample.image.width
    if not sample.questions:
        return ImageSize(pixels, (0,), 0, 0)
    if one_picture(vlm):
        return ImageSize(pixels, (vlm.adapter.tokens(vlm.model),), 1, vlm.adapter.tokens(vlm.model))
    inputs = vlm.prepare(sample.image, sample.questions[0].question)
    layouts = vlm.adapter.layouts(vlm.model, inputs)
    return ImageSize(
        pixels,
        budgeted=tuple(layout.patches for layout in layouts),
        pictures=sum(len(layout.tiles) for layout in layouts),
        placeholders=sum(layout.tokens for layout in layouts),
    )


class Counter:
    """Counts operations and cache of answers, each size once."""

    def __init__(self, vlm: Vlm) -> None:
        self._vlm = vlm
        self._shapes: dict[tuple[int, int] | None, Architecture] = {}
        self._known: dict[tuple[Any, ...], tuple[float, float]] = {}

    def count(self, size: ImageSize, by_layer: tuple[int, ...], n_text: int) -> tuple[float, float]:
        """FLOPs and bytes of the cache; NaN for families, and for images in tiles, that `cost` does not count."""
        if not self._countable:
            return np.nan, np.nan
        pixels = None if self._vlm.adapter.fixed_grid else size.pixels
        key = pixels, size.placeholders, by_layer, n_text
        if key not in self._known:
            if pixels not in self._shapes:
                self._shapes[pixels] = of_vlm(self._vlm, pixels)
            shape = self._shapes[pixels]
            counted = cost(shape, by_layer, n_text) if shape.visual == size.placeholders else None
            self._known[key] = (np.nan, np.nan) if counted is None else (counted.flops, counted.kv_bytes)
        return self._known[key]

    @cached_property
    def _countable(self) -> bool:
        named = {family.model_type for family in FAMILIES}
        return self._vlm.adapter.fixed_grid or self._vlm.model.config.model_type in named
