"""LLaVA: with a CLIP vision tower LLaVA-1.5 and what shares its code, the embedded model included; or with SigLIP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import nn
from transformers import PreTrainedModel

from .adapter import AbstractAdapter


class LlavaAdapter(AbstractAdapter):
    """`LlavaForConditionalGeneration`: CLIP patches of one intermediate layer, an MLP, a decoder."""

    model_types: ClassVar[tuple[str, ...]] = ("llava",)
    has_cls: ClassVar[bool] = True
    tower: ClassVar[str] = "clip_vision_model"
    """`config.vision_config.model_type` of the family."""
    strategy: ClassVar[tuple[str, str]] = ("default", "CLS dropped")
    """How features are selected, and what that means."""

    def refusal(self, config: Mapping[str, Any]) -> str | None:
        tower = config.get("vision_config", {}).get("model_type", "clip_vision_model")
        strategy = config.get("vision_feature_select_strategy", "default")
        layer = config.get("vision_feature_layer", -2)
        if tower != self.tower:
            return f"its vision tower must be {self.tower!r}, got {tower!r}"
        if strategy != self.strategy[0]:
            wanted = f"{self.strategy[0]!r} ({self.strategy[1]})"
            return f"`vision_feature_select_strategy` must be {wanted}, got {strategy!r}"
        if not isinstance(layer, int):
            return f"`vision_feature_layer` must be one layer, got {layer!r}"
        return None

    def vision_layers(self, model: PreTrainedModel) -> nn.ModuleList:
        tower: Any = self.vision_tower(model)
        # Older releases of the library wrap the encoder once more.
        layers: nn.ModuleList = getattr(tower, "vision_model", tower).encoder.layers
        return layers

    def grid(self, model: PreTrainedModel) -> tuple[int, int]:
        vision = model.config.vision_config
        side = vision.image_size // vision.patch_size
        return side, side

    def feature_layer(self, model: PreTrainedModel) -> int:
        layer, blocks = int(model.config.vision_feature_layer), len(self.vision_layers(model))
        # hidden_states has the embeddings in front: its entry i is the output of block i - 1.
        block = layer - 1 if layer >= 0 else blocks + layer
        if not 0 <= block < blocks:
            raise ValueError(f"`vision_feature_layer` must name the output of one of {blocks} blocks, got {layer}")
        return block


class SiglipLlavaAdapter(LlavaAdapter):
    """`LlavaForConditionalGeneration` with a SigLIP tower: every state of the encoder is a patch, there is no CLS."""

    has_cls: ClassVar[bool] = False
    tower: ClassVar[str] = "siglip_vision_model"
    strategy: ClassVar[tuple[str, str]] = ("full", "there is no CLS to drop")
