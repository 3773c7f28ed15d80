"""LLaVA-NeXT: the whole image and high-resolution crops of it, padding cut away, a newline after each row of tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.models.llava_next import modeling_llava_next

from solvers.arrays import IntArray

from .layout import ImageLayout, Tile
from .llava import LlavaAdapter


class LlavaNextAdapter(LlavaAdapter):
    """`LlavaNextForConditionalGeneration`: the encoder sees an image as several pictures of one size.

    The first shows the whole image. The others are crops that cover the image, padded to one of `image_grid_pinpoints`;
    their tokens are put together, the padding is cut away, and each row gets a newline. So a tile is what is left of a
    crop, crops of nothing but padding have none, and newlines are separators. Where each token goes is found by packing
    numbers instead of features with the stock code.
    """

    model_types: ClassVar[tuple[str, ...]] = ("llava_next",)
    fixed_grid: ClassVar[bool] = False
    stock: ClassVar[ModuleType] = modeling_llava_next
    """Where the stock code says how many crops an image has."""

    def grid(self, model: PreTrainedModel) -> tuple[int, int]:
        raise ValueError(f"the grid of {model.config.model_type!r} depends on the picture: how it is cut into crops")

    def layouts(self, model: PreTrainedModel, inputs: Mapping[str, Any]) -> list[ImageLayout]:
        layouts, first = [], 0
        for image, count in enumerate(self.crops(model, inputs)):
            numbers = self.numbered(model, inputs, image, count)
            tiles = self._tiles(model, numbers, first, self.crop_grid(model, inputs, image))
            layouts.append(ImageLayout(len(numbers), tuple(tiles)))
            first += count
        return layouts

    def pictures(self, model: PreTrainedModel, inputs: Mapping[str, Any]) -> list[Tensor]:
        pixels: Tensor = inputs["pixel_values"]
        if pixels.ndim == 4:
            return list(pixels)
        # Images of fewer crops are filled up with pictures that the encoder never gets.
        return [crop for image, count in zip(pixels, self.crops(model, inputs), strict=True) for crop in image[:count]]

    def crops(self, model: PreTrainedModel, inputs: Mapping[str, Any]) -> list[int]:
        """How many pictures the encoder gets of each image, the whole one included."""
        config: Any = model.config
        return [
            int(
                self.stock.image_size_to_num_patches(size, config.image_grid_pinpoints, config.vision_config.image_size)
            )
            for size in inputs["image_sizes"]
        ]

    def side(self, model: PreTrainedModel) -> int:
        """Rows, and columns, of the tokens of a picture before padding is cut away."""
        vision: Any = model.config.vision_config
        return int(vision.image_size // vision.patch_size)

    def packed(self, model: PreTrainedModel, values: Tensor, inputs: Mapping[str, Any], image: int) -> Tensor:
        """Values of an image's pictures [picture, token, dim], placed by the stock code [placeholder, dim].

        Newlines are -1.
        """
        base: Any = model.base_model
        newline = values.new_full((values.shape[-1],), -1)
        sizes = inputs["image_sizes"][image : image + 1]
        rows: list[Tensor] = base.pack_image_features(
            [values], sizes, image_newline=newline, **self.packing(model, inputs)
        )[0]
        return rows[0]

    def packing(self, model: PreTrainedModel, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """What else the stock code asks for when it packs."""
        return {"vision_feature_select_strategy": self.strategy[0]}

    def numbered(self, model: PreTrainedModel, inputs: Mapping[str, Any], image: int, count: int) -> IntArray:
        """Number of the token at each placeholder of an image among all tokens of its `count` pictures; newlines -1."""
        tokens = self.side(model) ** 2
        numbers = torch.arange(count * tokens, dtype=torch.float64).reshape(count, tokens, 1)
        array: IntArray = self.packed(model, numbers, inputs, image)[:, 0].long().numpy()
        return array

    def crop_grid(self, model: PreTrainedModel, inputs: Mapping[str, Any], image: int) -> tuple[int, int]:
        """Rows and columns of the crops of an image."""
        config: Any = model.config
        rows, columns = self.stock.get_anyres_image_grid_shape(
            inputs["image_sizes"][image], config.image_grid_pinpoints, config.vision_config.image_size
        )
        return int(rows), int(columns)

    def _tiles(self, model: PreTrainedModel, numbers: IntArray, first: int, crops: tuple[int, int]) -> Iterator[Tile]:
        side = self.side(model)
        picture = np.where(numbers < 0, -1, numbers // side**2)
        for view in np.unique(picture[picture >= 0]).tolist():
            places = np.flatnonzero(picture == view)
            sources = numbers[places] % side**2
            grid = np.unique(sources // side).size, np.unique(sources % side).size
            at = divmod(view - 1, crops[1]) if view else None
            yield Tile(first + view, grid, sources, places, at, crops if view else None)
