"""Published architectures with random weights, made where they run, and a prompt about one image for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedConfig, PreTrainedModel
from transformers.models.llava_next.modeling_llava_next import image_size_to_num_patches

from analysis.cost import configuration
from analysis.models import adapter_for

Size = tuple[int, int]
_CLIP = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "image_size": 84}
_LLAMA = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4,
          "num_key_value_heads": 4}  # fmt: skip
SMALL: dict[str, dict[str, Any]] = {
    "llava": {"image": [84, 84], "config": {"vision_config": _CLIP, "text_config": _LLAMA, "image_seq_length": 36}},
    "llava_next": {
        "image": [168, 168],
        "config": {
            "vision_config": _CLIP,
            "text_config": _LLAMA,
            "image_grid_pinpoints": [[84, 168], [168, 84], [168, 168]],
        },
    },
    "qwen2_5_vl": {
        "image": [168, 168],
        "config": {
            "vision_config": {
                "depth": 4,
                "hidden_size": 32,
                "intermediate_size": 64,
                "num_heads": 4,
                "out_hidden_size": 64,
                "fullatt_block_indexes": [1, 3],
            },
            "text_config": _LLAMA
            | {"num_key_value_heads": 2, "rope_parameters": {"mrope_section": [2, 3, 3], "rope_type": "default"}},
        },
    },
}
"""By model type, what makes a model of seconds on a processor: 36 tokens to a picture, widths below a hundred."""


def random_model(
    name: str, device: torch.device, *, small: bool = False
) -> tuple[PreTrainedModel, dict[str, Tensor | Any]]:
    """A shipped architecture with weights from seed 0 and fused attention, and the pixels of its default image.

    In bfloat16, or in float32 if `small`, which shrinks it to four layers. Answers have whatever length is asked for.

    Parameters
    ----------
    name
        One of `analysis.cost.SHIPPED`.
    device
        Where weights and pixels are made; nothing is copied.
    small
        Whether to take the widths of `SMALL`.

    Returns
    -------
    tuple
        The model in evaluation mode, and arguments of its `get_image_features`.
    """
    shipped = configuration(name)
    changes = SMALL[shipped["config"]["model_type"]] if small else {}
    fields = _merged(shipped["config"], changes.get("config", {}))
    config = AutoConfig.for_model(fields.pop("model_type"), **fields)
    dtype = torch.float32 if small else torch.bfloat16
    torch.manual_seed(0)
    with device:
        model: Any = AutoModelForImageTextToText.from_config(config, dtype=dtype, attn_implementation="sdpa")
        height, width = changes.get("image", shipped["image"])
        images = PIXELS[config.model_type](config, (height, width))
    generation = model.generation_config
    generation.eos_token_id, generation.pad_token_id = None, 0
    generation.suppress_tokens = _placeholders(config)  # a written one would ask for another image
    images["pixel_values"] = images["pixel_values"].to(dtype)
    return model.eval(), images


def prompt(model: PreTrainedModel, images: Mapping[str, Any], words: int) -> dict[str, Any]:
    """Arguments of the model for one prompt: an image, and random words around it, of which there are `words`.

    Raises
    ------
    ValueError
        If there are fewer than 8 words.
    """
    if words < 8:
        raise ValueError(f"`words` must be at least 8, got {words}")
    adapter, config, device = adapter_for(model), model.config, model.device
    (layout,) = adapter.layouts(model, images)
    image_id = adapter.image_token_id(model)
    text = torch.randint(10, 1000, (words,), generator=torch.Generator().manual_seed(0)).tolist()
    around = [getattr(config, name, None) for name in ("vision_start_token_id", "vision_end_token_id")]
    if None not in around:
        text[words // 2 - 1], text[words // 2] = around
    row = [*text[: words // 2], *[image_id] * layout.tokens, *text[words // 2 :]]
    ids = torch.tensor([row], device=device)
    arguments = {"input_ids": ids, "attention_mask": torch.ones_like(ids), **images}
    if adapter.position_axes > 1:
        arguments["mm_token_type_ids"] = (ids == image_id).int()
    return arguments


def _llava(config: PreTrainedConfig, size: Size) -> dict[str, Any]:
    return {"pixel_values": torch.randn(1, 3, *size)}


def _llava_next(config: PreTrainedConfig, size: Size) -> dict[str, Any]:
    side = config.vision_config.image_size
    pictures = image_size_to_num_patches(size, config.image_grid_pinpoints, side)
    return {"pixel_values": torch.randn(1, pictures, 3, side, side), "image_sizes": torch.tensor([size])}


def _qwen2_5_vl(config: PreTrainedConfig, size: Size) -> dict[str, Any]:
    vision = config.vision_config
    rows, columns = (pixels // vision.patch_size for pixels in size)
    values = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
    return {
        "pixel_values": torch.randn(rows * columns, values),
        "image_grid_thw": torch.tensor([[1, rows, columns]]),
    }


PIXELS: dict[str, Callable[[PreTrainedConfig, Size], dict[str, Any]]] = {
    "llava": _llava,
    "llava_next": _llava_next,
    "qwen2_5_vl": _qwen2_5_vl,
}
"""By model type, the noise that stands for an image of a height and a width."""


def _placeholders(config: PreTrainedConfig) -> list[int]:
    names = ("image_token_id", "image_token_index", "video_token_id", "vision_start_token_id")
    return sorted({int(entry) for name in names if (entry := getattr(config, name, None)) is not None})


def _merged(fields: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`fields` with `changes`, level by level."""
    found = dict(fields)
    for name, entry in changes.items():
        both = isinstance(entry, Mapping) and isinstance(found.get(name), Mapping)
        found[name] = _merged(found[name], entry) if both else entry
    return found
