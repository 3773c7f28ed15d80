"""Gemma 3: SigLIP patches averaged over squares, images that attend in both directions, sliding windows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import PreTrainedModel

from .paligemma import PaliGemmaAdapter


class Gemma3Adapter(PaliGemmaAdapter):
    """`Gemma3ForConditionalGeneration`: the projector averages a square of patches to make a token.

    Features of a token are that average. Crops of an image (pan and scan) count as images of their own.
    """

    model_types: ClassVar[tuple[str, ...]] = ("gemma3",)
    projects_tokens: ClassVar[bool] = False
    tiled: ClassVar[bool] = True

    def refusal(self, config: Mapping[str, Any]) -> str | None:
        vision = config.get("vision_config", {})
        patches = vision.get("image_size", 224) // vision.get("patch_size", 16)
        side = int(config.get("mm_tokens_per_image", 256) ** 0.5)
        if patches % side:
            return f"the patches along a side must be a multiple of the {side} tokens, got {patches}"
        return super().refusal(config)

    def grid(self, model: PreTrainedModel) -> tuple[int, int]:
        side = int(self._base(model).multi_modal_projector.tokens_per_side)
        return side, side

    def patches_of_tokens(self, model: PreTrainedModel) -> Tensor:
        rows, columns = self.grid(model)
        square = int(self._base(model).multi_modal_projector.kernel_size)
        numbers = torch.arange(rows * columns * square**2).reshape(rows, square, columns, square)
        return numbers.transpose(1, 2).reshape(rows * columns, square**2)

    def features(self, model: PreTrainedModel, caught: Tensor, inputs: Mapping[str, Any]) -> list[Tensor]:
        return self.tokens_of_patches(model, list(caught), inputs)

    def project(self, model: PreTrainedModel, features: Tensor) -> Tensor:
        # Patches that all are the average of their square: the projector takes the average again.
        patches = self.patches_of_tokens(model)
        spread = features.new_empty(len(features), patches.numel(), features.shape[-1])
        spread[:, patches] = features[:, :, None]
        return super().project(model, spread)
