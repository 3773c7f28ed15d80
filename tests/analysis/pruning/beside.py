"""A tiny Mllama with random weights, and batches of prompts whose images come in one to four tiles."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor
from transformers import MllamaConfig, MllamaForConditionalGeneration
from transformers.models.mllama.processing_mllama import (
    convert_sparse_cross_attention_mask_to_dense,
    get_cross_attention_token_mask,
)

from .families import Arguments, noise, text_sizes

WORD = 290
"""Id of the word that stands for an image."""
CROSS, SELF = (1, 3), (0, 2, 4)
"""Layers that attend to images, and those that do not."""
RATIOS = ((1, 1), (1, 2), (1, 3), (1, 4), (2, 1), (2, 2), (3, 1), (4, 1))
"""Rows and columns of tiles; the id of a ratio is its place, counted from 1."""
SHAPES = (6, 2, 1)
"""Id of the ratio of each image."""
ROOM, STATES = 4, 17
"""Tiles that an image has room for, and states of a tile: CLS and 4 x 4 patches."""
PROMPTS = ((0, 1), (2,), ())
"""Per prompt the numbers of its images."""


@functools.cache
def model(attention: str = "sdpa") -> MllamaForConditionalGeneration:
    """Shared: leave it as it was."""
    torch.manual_seed(0)
    vision = {"hidden_size": 32, "attention_heads": 4, "num_hidden_layers": 2, "num_global_layers": 1}
    vision |= {"intermediate_size": 64, "vision_output_dim": 96, "image_size": 56, "patch_size": 14}
    tiles = {"max_num_tiles": ROOM, "intermediate_layers_indices": [0, 1]}
    tiles["supported_aspect_ratios"] = [list(ratio) for ratio in RATIOS]
    text = text_sizes(num_hidden_layers=5, cross_attention_layers=list(CROSS), vocab_size=300)
    config = MllamaConfig(vision_config=vision | tiles, text_config=text, image_token_index=WORD)
    built: Any = MllamaForConditionalGeneration._from_config(config, attn_implementation=attention)
    with torch.no_grad():
        for name, weight in built.named_parameters():
            if "gate" in name:
                weight.fill_(0.7)  # fresh gates hide the image
            elif weight.ndim >= 2:
                weight.mul_(4)
    generation = built.generation_config
    generation.eos_token_id, generation.pad_token_id, generation.suppress_tokens = None, 0, [WORD]
    return built.eval()


@functools.cache
def prompt(number: int) -> list[int]:
    words = torch.Generator().manual_seed(number)

    def some(count: int) -> list[int]:
        return torch.randint(5, 280, (count,), generator=words).tolist()

    ids = [1, *some(3 + number)]
    for _ in PROMPTS[number]:
        ids += [WORD, *some(3)]
    return ids + some((6, 8, 7)[number])


def batch(*prompts: int, words: tuple[int, ...] = ()) -> Arguments:
    """Arguments of the model for these prompts, padded on the left, `words` appended to each."""
    rows = [[*prompt(number), *words] for number in prompts]
    longest = max(map(len, rows))
    ids = torch.tensor([[0] * (longest - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    images = [PROMPTS[number] for number in prompts]
    made: Arguments = {"input_ids": ids, "attention_mask": mask}
    return made | pixels(images) | {"cross_attention_mask": who_sees_what(ids, images)} if any(images) else made


def pixels(images: list[tuple[int, ...]]) -> Arguments:
    """Arguments of the vision encoder: [prompt, image, tile, channel, y, x], zeros where there is nothing."""
    most = max(map(len, images))
    values = torch.zeros(len(images), most, ROOM, 3, 56, 56)
    ratios, tiles = torch.zeros(len(images), most, dtype=torch.long), torch.zeros(len(images), most, ROOM).long()
    tiles[:, :, 0] = 1  # as the processor has it, in padding too
    for row, own in enumerate(images):
        for place, image in enumerate(own):
            count = tiles_of(image)
            values[row, place, :count] = noise(image, count, 3, 56, 56)
            ratios[row, place] = SHAPES[image]
            tiles[row, place, :count] = 1
    return {"pixel_values": values, "aspect_ratio_ids": ratios, "aspect_ratio_mask": tiles}


def tiles_of(image: int) -> int:
    high, wide = RATIOS[SHAPES[image] - 1]
    return high * wide


def who_sees_what(ids: Tensor, images: list[tuple[int, ...]]) -> Tensor:
    """As the processor makes it: words see the tiles of the latest image."""
    return torch.as_tensor(
        convert_sparse_cross_attention_mask_to_dense(
            [get_cross_attention_token_mask(row, WORD) for row in ids.tolist()],
            num_tiles=[[tiles_of(image) for image in own] for own in images],
            max_num_tiles=ROOM,
            length=ids.shape[1],
        )
    )
