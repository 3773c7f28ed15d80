"""From modules to numbers: an `Architecture` read off a model, which may lie on the meta device."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn
from transformers import PreTrainedModel

from analysis.models import AbstractAdapter

from .architecture import Architecture, Block, Encoding


def of_model(name: str, model: PreTrainedModel, adapter: AbstractAdapter, encoding: Encoding) -> Architecture:
    """The numbers of `model`, of the family that `adapter` knows, for an image that becomes what `encoding` says."""
    vision, text = model.config.vision_config, model.config.get_text_config()
    head_width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    key_value_heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    tower: nn.Module = adapter.vision_tower(model)
    return Architecture(
        name=name,
        encoding=encoding,
        encoder=tuple(_block(layer, vision.hidden_size) for layer in adapter.vision_layers(model)),
        patch_matrix=_entries(m for m in tower.modules() if isinstance(m, nn.Conv2d | nn.Conv3d)),
        # Gemma 3 keeps its matrix as a parameter.
        projector=sum(entry.numel() for entry in adapter.projector(model).parameters() if entry.ndim == 2),
        layers=tuple(
            _block(layer, text.num_attention_heads * head_width, 2 * key_value_heads * head_width)
            for layer in adapter.text_layers(model)
        ),
        width=text.hidden_size,
        head=_entries([model.get_output_embeddings()]),
        value_bytes=model.dtype.itemsize,
    )


def _block(layer: nn.Module, attention_width: int, cache_width: int = 0) -> Block:
    matrices = {name: module for name, module in layer.named_modules() if isinstance(module, nn.Linear)}
    return Block(
        matrices=_entries(matrices.values()),
        attention_width=attention_width,
        gate_matrix=_entries(module for name, module in matrices.items() if name.endswith("gate_proj")),
        cache_width=cache_width,
    )


def _entries(modules: Iterable[nn.Module]) -> int:
    return sum(module.weight.numel() for module in modules)  # type: ignore[operator, misc]
