"""Idefics3 and SmolVLM: an image in tiles of one size, each of which counts as an image; several patches to a token.

The stock code of both is the same but for what happens when there is no image at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from .adapter import AbstractAdapter
from .layout import ImageLayout, Tile


class Idefics3Adapter(AbstractAdapter):
    """`Idefics3ForConditionalGeneration`, `SmolVLMForConditionalGeneration`, images only.

    The processor cuts images into tiles and adds the whole one; the model knows of tiles only, so `keep` is what stays
    of each. Features of a token are those of its patches side by side (pixel shuffle), as the linear part of the
    connector reads them. Prompts with fewer tiles than others are filled up with pictures of zeros, which the encoder
    never gets.
    """

    model_types: ClassVar[tuple[str, ...]] = ("idefics3", "smolvlm")
    decoder: ClassVar[str] = "text_model"
    encoder: ClassVar[str] = "vision_model"
    connector: ClassVar[str] = "connector.modality_projection"
    has_cls: ClassVar[bool] = False
    tiled: ClassVar[bool] = True

    def refusal(self, config: Mapping[str, Any]) -> str | None:
        return None

    def vision_layers(self, model: PreTrainedModel) -> nn.ModuleList:
        layers: nn.ModuleList = self._base(model).vision_model.encoder.layers
        return layers

    def grid(self, model: PreTrainedModel) -> tuple[int, int]:
        side = self._side(model) // int(model.config.scale_factor)
        return side, side

    def feature_layer(self, model: PreTrainedModel) -> int:
        return len(self.vision_layers(model)) - 1

    def layouts(self, model: PreTrainedModel, inputs: Mapping[str, Any]) -> list[ImageLayout]:
        grid = self.grid(model)
        return [
            ImageLayout(grid[0] * grid[1], (Tile.whole(view, grid),))
            for view in range(len(self.pictures(model, inputs)))
        ]

    def pictures(self, model: PreTrainedModel, inputs: Mapping[str, Any]) -> list[Tensor]:
        pixels = inputs["pixel_values"].flatten(0, 1)
        # As the stock code tells padding.
        real = (pixels != 0).flatten(1).any(1)
        if model.config.model_type == "smolvlm" and not real.any():
            real[0] = True
        return list(pixels[real])

    def patches_of_tokens(self, model: PreTrainedModel) -> Tensor:
        numbers = torch.arange(self._side(model) ** 2, dtype=torch.float64).reshape(1, -1, 1)
        shuffled: Tensor = self._base(model).connector.pixel_shuffle(numbers, int(model.config.scale_factor))
        return shuffled[0].long()

    def _side(self, model: PreTrainedModel) -> int:
        """Patches along a side of a tile."""
        vision = model.config.vision_config
        return int(vision.image_size // vision.patch_size)
