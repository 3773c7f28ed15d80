"""Tiny models of the real classes, with weights but no training, and the counter of PyTorch as the oracle."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedModel

CountedFlops = Callable[[Callable[[], object]], int]


def tiny_model(model_type: str, **fields: object) -> PreTrainedModel:
    """A random model; its attention runs as plain matrix products, the only ones that the counter knows on a CPU."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(model_type, **fields)
    model: PreTrainedModel = AutoModelForImageTextToText.from_config(config, attn_implementation="eager")
    return model.eval()


@pytest.fixture(scope="session")
def llava_next() -> PreTrainedModel:
    """Crops of 56 x 56 pixels, 16 tokens each; two query heads per key head."""
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4}
    return tiny_model(
        "llava_next",
        vision_config={
            "model_type": "clip_vision_model",
            **sizes,
            "num_hidden_layers": 3,
            "image_size": 56,
            "patch_size": 14,
        },
        text_config={
            "model_type": "llama",
            **sizes,
            "num_hidden_layers": 2,
            "num_key_value_heads": 2,
            "vocab_size": 40,
        },
        image_grid_pinpoints=[[56, 112], [112, 56], [112, 112]],
        image_token_index=39,
        image_seq_length=16,
    )


@pytest.fixture(scope="session")
def qwen() -> PreTrainedModel:
    """Windows of 4 x 4 patches, so of 2 x 2 tokens; full attention in the second and fourth block."""
    return tiny_model(
        "qwen2_5_vl",
        vision_config={
            "depth": 4,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 4,
            "out_hidden_size": 64,
            "window_size": 56,
            "fullatt_block_indexes": [1, 3],
        },
        text_config={
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "vocab_size": 50,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]},
        },
    )


VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_hidden_layers": 3,
    "image_size": 84,
    "patch_size": 14,
}
SIGLIP = {**VISION, "model_type": "siglip_vision_model", "vision_use_head": False}
TEXT = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 50,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
TILED: dict[str, dict[str, object]] = {
    "internvl": {
        "vision_config": {**VISION, "image_size": [84, 84], "patch_size": [14, 14]},
        "text_config": {"model_type": "qwen2", **TEXT},
        "image_token_id": 49,
        "downsample_ratio": 0.5,
    },
    "gemma3": {
        "vision_config": SIGLIP,
        "text_config": {"model_type": "gemma3_text", **TEXT, "head_dim": 16},
        "mm_tokens_per_image": 9,
        "image_token_index": 49,
    },
    "paligemma": {
        "vision_config": SIGLIP,
        "text_config": {"model_type": "gemma", **TEXT, "head_dim": 16},
        "projection_dim": 64,
        "image_token_index": 49,
    },
    "idefics3": {
        "vision_config": {key: SIGLIP[key] for key in VISION},
        "text_config": {"model_type": "llama", **TEXT},
        "image_token_id": 49,
        "scale_factor": 2,
        "pad_token_id": 0,
    },
}
"""Families whose images are tiles of one size: 6 x 6 patches, of which four make a token but in PaliGemma."""


@pytest.fixture(scope="session", params=TILED)
def tiled(request: pytest.FixtureRequest) -> PreTrainedModel:
    return tiny_model(request.param, **TILED[request.param])


@pytest.fixture(scope="session")
def counted_flops() -> CountedFlops:
    """FLOPs of a call, as `torch.utils.flop_counter` counts them."""

    def counted(call: Callable[[], object]) -> int:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            call()
        return int(counter.get_total_flops())

    return counted
