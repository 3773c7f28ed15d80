"""PaliGemma and PaliGemma 2: SigLIP patches, a linear projector, a prefix that attends in both directions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from transformers import PreTrainedModel

from .llava import LlavaAdapter


class PaliGemmaAdapter(LlavaAdapter):
    """`PaliGemmaForConditionalGeneration`; the features are what the last block and its norm put out.

    Its processor adds `labels` to whatever it prepares: leave them out of a pruned forward pass.
    """

    model_types: ClassVar[tuple[str, ...]] = ("paligemma",)
    has_cls: ClassVar[bool] = False
    tower: ClassVar[str] = "siglip_vision_model"
    mask_from_outside: ClassVar[bool] = True

    def refusal(self, config: Mapping[str, Any]) -> str | None:
        tower = config.get("vision_config", {}).get("model_type", self.tower)
        return None if tower == self.tower else f"its vision tower must be {self.tower!r}, got {tower!r}"

    def feature_layer(self, model: PreTrainedModel) -> int:
        return len(self.vision_layers(model)) - 1
