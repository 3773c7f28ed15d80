"""InternVL: an image in tiles of one size, each of which counts as an image; four patches to a token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from .llava import LlavaAdapter


class InternVLAdapter(LlavaAdapter):
    """`InternVLForConditionalGeneration`: its processor cuts images into tiles, and the model knows of tiles only.

    So `keep` is what stays of each tile. Features of a token are those of its patches side by side (pixel shuffle), as
    the projector reads them.
    """

    model_types: ClassVar[tuple[str, ...]] = ("internvl",)
    tower: ClassVar[str] = "internvl_vision"
    tiled: ClassVar[bool] = True

    def refusal(self, config: Mapping[str, Any]) -> str | None:
        # A saved configuration leaves out what is the default of the family.
        default = {"vision_feature_select_strategy": "default", "vision_feature_layer": -1}
        vision = {"model_type": self.tower, **config.get("vision_config", {})}
        sides = vision.get("image_size", (448, 448))
        if not isinstance(sides, int) and len(set(sides)) > 1:
            return f"`image_size` must be that of a square, got {tuple(sides)}"
        return super().refusal({**default, **config, "vision_config": vision})

    def vision_layers(self, model: PreTrainedModel) -> nn.ModuleList:
        layers: nn.ModuleList = self._base(model).vision_tower.encoder.layer
        return layers

    def vision_attention(self, layer: nn.Module) -> nn.Module:
        part: nn.Module = layer.attention  # type: ignore[assignment]
        return part

    def grid(self, model: PreTrainedModel) -> tuple[int, int]:
        side = int(self._side(model) * model.config.downsample_ratio)
        return side, side

    def patches_of_tokens(self, model: PreTrainedModel) -> Tensor:
        side = self._side(model)
        numbers = torch.arange(side * side, dtype=torch.float64).reshape(1, side, side, 1)
        shuffled: Tensor = self._base(model).pixel_shuffle(numbers, scale_factor=model.config.downsample_ratio)
        return shuffled.reshape(self.tokens(model), -1).long()

    def _side(self, model: PreTrainedModel) -> int:
        """Patches along a side of a tile."""
        vision = model.config.vision_config
        return int(vision.image_size[0] // vision.patch_size[0])
