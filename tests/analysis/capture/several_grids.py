"""A tiny Qwen2.5-VL with a processor, and pictures of three sizes about which it is asked.

Imports nothing of the other tests: the scripts that are killed load it from its file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
import zarr
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    PreTrainedTokenizerFast,
    ProcessorMixin,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLImageProcessorPil,
    Qwen2VLProcessor,
)

from analysis.capture import open_dumps
from analysis.models import Vlm, wrap

VOCABULARY, IMAGE, VIDEO, VISION_START = 320, 300, 301, 302
SIZES = ((56, 84), (84, 84), (140, 112))
"""Height and width; they make 2 x 3, 3 x 3 and 5 x 4 tokens."""
ORDER = (0, 2, 0, 1, 2, 2, 0)
"""Which of the sizes each sample has."""
QUESTIONS = ("w5 w6 w7", "w8 w9", "w10 w11 w12 w13")
TEMPLATE = (
    "{% for message in messages %}{% for part in message['content'] %}{% if part['type'] == 'image' %}"
    "<|vision_start|> <|image_pad|> {% else %}{{ part['text'] }} {% endif %}{% endfor %}{% endfor %}"
)


class ImagesOnly(Qwen2VLProcessor):
    """Without the processor of videos, which needs a further library."""

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, chat_template: str | None = None) -> None:
        self.image_token, self.image_token_id = tokenizer.image_token, tokenizer.image_token_id
        self.video_token, self.video_token_id = tokenizer.video_token, tokenizer.video_token_id
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)


def windowed_processor() -> ImagesOnly:
    special = {IMAGE: "<|image_pad|>", VIDEO: "<|video_pad|>", 0: "<pad>", 1: "<s>", 2: "</s>"}
    special |= {VISION_START: "<|vision_start|>"}
    words = {special.get(index, f"w{index}"): index for index in range(VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    names = {"image_token": special[IMAGE], "video_token": special[VIDEO]}
    ends = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, padding_side="left", extra_special_tokens=names, **ends)
    pictures = Qwen2VLImageProcessorPil(min_pixels=28 * 28 * 4, max_pixels=28 * 28 * 40, patch_size=14, merge_size=2)
    return ImagesOnly(pictures, fast, chat_template=TEMPLATE)


def build_windowed_vlm() -> Vlm:
    """Three blocks in the encoder, of which the second sees whole pictures; windows of two by two tokens."""
    torch.manual_seed(0)
    vision = {"depth": 3, "hidden_size": 32, "intermediate_size": 64, "out_hidden_size": 64, "num_heads": 4}
    vision |= {"patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2}
    text = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    text |= {"vocab_size": VOCABULARY, "num_key_value_heads": 2, "max_position_embeddings": 4096}
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0}
    config = Qwen2_5_VLConfig(
        vision_config=vision | {"window_size": 56, "fullatt_block_indexes": [1]},
        text_config=text | {"rope_parameters": rope, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2},
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        vision_start_token_id=VISION_START,
        vision_end_token_id=303,
    )
    model = Qwen2_5_VLForConditionalGeneration(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim >= 2:  # fresh weights attend almost evenly
                weight.mul_(40 if any(part in name for part in ("q_proj", "k_proj", "qkv")) else 3)
    return wrap(model, windowed_processor(), id="tiny qwen")


def samples_of_several_grids() -> list[tuple[int, Image.Image, str]]:
    """Seven (id, picture, question), in the order of ORDER."""
    return [
        (
            100 + seed,
            Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*SIZES[size], 3), dtype=np.uint8)),
            QUESTIONS[seed % 3],
        )
        for seed, size in enumerate(ORDER)
    ]


def same(tree: xr.DataTree, store: Path) -> None:
    other = open_dumps(store)
    assert set(tree.children) == set(other.children)
    xr.testing.assert_equal(tree.to_dataset(), other.to_dataset())
    for name, child in tree.children.items():
        mine, theirs = child.to_dataset().load(), other[name].to_dataset().load()
        xr.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)


def unmark(store: Path, group: str, images: list[int]) -> None:
    """As if the process had been killed before it marked them."""
    zarr.open_group(store / group, mode="r+")["captured"][images] = False
