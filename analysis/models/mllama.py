"""Llama 3.2 Vision ("Mllama"): layers of the language model attend to visual tokens that stand beside the prompt."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from .adapter import AbstractAdapter
from .layout import ImageLayout, Tile


class MllamaAdapter(AbstractAdapter):
    """`MllamaForConditionalGeneration`: an image in up to four tiles, of which one encoder sees all at once.

    Each tile has its own CLS token, and images of fewer tiles are filled up with tiles of zeros; the language model can
    attend to all that. CLS tokens and tiles of zeros are separators: they show no part of the image. `inputs` are the
    arguments of the vision encoder, as no method of the stock model stands for encoder and projector.
    """

    model_types: ClassVar[tuple[str, ...]] = ("mllama",)
    encoder: ClassVar[str] = "vision_model"
    # One in front of each tile, which attends to all tiles of its image: there is no row of one CLS token.
    has_cls: ClassVar[bool] = False
    fixed_grid: ClassVar[bool] = False
    position_axes: ClassVar[int] = 0
    cross_attention: ClassVar[bool] = True
    tiles_attend: ClassVar[bool] = True

    def refusal(self, config: Mapping[str, Any]) -> str | None:
        return None

    def vision_layers(self, model: PreTrainedModel) -> nn.ModuleList:
        tower = self._base(model).vision_model
        return nn.ModuleList([*tower.transformer.layers, *tower.global_transformer.layers])

    def image_token_id(self, model: PreTrainedModel) -> int:
        """Id of the word that stands for an image in the prompt."""
        return int(model.config.image_token_index)

    def grid(self, model: PreTrainedModel) -> tuple[int, int]:
        vision = model.config.vision_config
        side = vision.image_size // vision.patch_size
        return side, side

    def feature_layer(self, model: PreTrainedModel) -> int:
        """The last block. Outputs of some others are part of the features, too."""
        return len(self.vision_layers(model)) - 1

    def run_encoder(self, model: PreTrainedModel, inputs: Mapping[str, Any]) -> None:
        self.projector(model)(self.vision_tower(model)(**inputs).last_hidden_state)

    def held_images(self, inputs: Mapping[str, Any]) -> Tensor:
        """As described in the base class.

        Raises
        ------
        ValueError
            If padding comes before an image.
        """
        held: Tensor = inputs["aspect_ratio_ids"] != 0
        if (held.int().diff(dim=1) > 0).any():
            raise ValueError(
                f"`aspect_ratio_ids` must have its padding last, got {inputs['aspect_ratio_ids'].tolist()}"
            )
        return held

    def layouts(self, model: PreTrainedModel, inputs: Mapping[str, Any]) -> list[ImageLayout]:
        rows, columns = self.grid(model)
        places = np.arange(rows * columns, dtype=np.int64)
        stride, room = 1 + rows * columns, inputs["pixel_values"].shape[2]
        layouts, view = [], 0
        for high, wide in self._crops(model, inputs):
            tiles = []
            crops = (high, wide) if high * wide > 1 else None
            for number in range(high * wide):
                at = divmod(number, wide) if crops else None
                tiles.append(Tile(view, (rows, columns), places, places + 1 + number * stride, at, crops))
                view += 1
            layouts.append(ImageLayout(room * stride, tuple(tiles)))
        return layouts

    def pictures(self, model: PreTrainedModel, inputs: Mapping[str, Any]) -> list[Tensor]:
        return self._by_tile(model, inputs["pixel_values"], inputs)

    def features(self, model: PreTrainedModel, caught: Tensor, inputs: Mapping[str, Any]) -> list[Tensor]:
        return [tile[1:] for tile in self._by_tile(model, caught, inputs)]

    def tokens_of_patches(
        self, model: PreTrainedModel, values: Sequence[Tensor], inputs: Mapping[str, Any]
    ) -> list[Tensor]:
        rooms = inputs["pixel_values"].shape[:3]
        tiles = torch.stack(list(values)).unflatten(1, (rooms[2], -1)).unflatten(0, rooms[:2])
        # A CLS token in front of the patches of a tile, padding behind.
        return [tile[1 : 1 + self.tokens(model)] for tile in self._by_tile(model, tiles, inputs)]

    def pictures_of_rows(self, model: PreTrainedModel, inputs: Mapping[str, Any], length: int) -> list[list[Tensor]]:
        # A CLS token in front of the patches of a tile, padding behind.
        own = torch.arange(1, 1 + self.tokens(model))
        stride = length // inputs["pixel_values"].shape[2]
        crops = iter(self._crops(model, inputs))
        return [
            [own + number * stride for number in range(math.prod(next(crops)))] if held else []
            for held in self.held_images(inputs).flatten().tolist()
        ]

    def maps_of_patches(
        self, model: PreTrainedModel, values: Sequence[Tensor], inputs: Mapping[str, Any]
    ) -> list[Tensor]:
        """As described in the base class; what tiles attend to in other tiles is left out."""
        numbers = torch.arange(values[0].shape[-1], device=values[0].device).expand(len(values), -1)
        columns = self.tokens_of_patches(model, list(numbers), inputs)
        queries = self.tokens_of_patches(model, values, inputs)
        return [rows[:, own] for rows, own in zip(queries, columns, strict=True)]

    def _crops(self, model: PreTrainedModel, inputs: Mapping[str, Any]) -> list[tuple[int, int]]:
        """Rows and columns of the tiles of each image."""
        ratios = model.config.vision_config.supported_aspect_ratios
        ids = inputs["aspect_ratio_ids"][self.held_images(inputs)].tolist()
        return [(int(ratios[number - 1][0]), int(ratios[number - 1][1])) for number in ids]

    def _by_tile(self, model: PreTrainedModel, values: Tensor, inputs: Mapping[str, Any]) -> list[Tensor]:
        """The tiles that are no padding, out of [prompt, image, tile, ...]."""
        images = values[self.held_images(inputs)]
        crops = self._crops(model, inputs)
        return [tile for image, (high, wide) in zip(images, crops, strict=True) for tile in image[: high * wide]]
