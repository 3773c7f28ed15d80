"""What the passes through a language model share: the model itself, and what became of the prompts."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from ..arguments import Options
from ..inputs import PositionPolicy


@dataclass(frozen=True, eq=False)
class Shorter:
    """The prompts from a layer on: which keys are no padding [prompt, key], and what ids are too large by [prompt]."""

    layer: int
    shown: Tensor
    shift: Tensor | None


@dataclass(frozen=True)
class Side:
    """What both kinds of pass know.

    Attributes
    ----------
    language_model
        The decoder without its head.
    policy
        Position ids after a stage.
    causal
        Whether merged tokens see no later one, as in a language model whose masks are its own.
    """

    language_model: PreTrainedModel
    policy: PositionPolicy
    causal: bool

    @property
    def implementation(self) -> str | None:
        name: str | None = self.language_model.config._attn_implementation
        return name

    def rotary(self, layer: nn.Module, states: Tensor, ids: Tensor) -> Any:
        """Cosines and sines of position ids, as the language model itself computes them."""
        embedding: Any = self.language_model.rotary_emb
        options: Options = {"position_ids": ids}
        if "layer_type" in inspect.signature(embedding.forward).parameters:
            options["layer_type"] = getattr(layer.self_attn, "layer_type", None)
        return embedding(states, **options)
