"""Answers to a batch of chats by the model's own `generate`, pruned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch

from analysis.models import Vlm
from solvers.arrays import IntArray

from ..answering import end_tokens
from .arguments import Arguments
from .requests import Chat, Generation


@dataclass(frozen=True)
class Reply:
    """An answer, and what it took.

    Attributes
    ----------
    text
        The answer.
    input_tokens
        Tokens of the prompt that the language model got: text, and the visual tokens that were left.
    output_tokens
        Tokens of the answer, its end token included.
    visual_tokens
        Visual tokens, mean over layers.
    """

    text: str
    input_tokens: int
    output_tokens: int
    visual_tokens: float


@torch.no_grad()
def replies_to(vlm: Vlm, chats: Sequence[Chat], generation: Generation, arguments: Arguments) -> list[Reply]:
    """A reply per chat, all in one batch; either all of them hold pictures or none does."""
    model: Any = vlm.model
    inputs = _inputs(vlm, chats)
    with arguments.pruning(vlm) as log:
        ids = model.generate(**inputs, **generation.options)
    prompts = inputs["input_ids"]
    answers = ids[:, prompts.shape[1] :]
    placeholders = (prompts == vlm.adapter.image_token_id(model)).sum(1).cpu().numpy()
    if log is not None and chats[0].pictures:
        # a prompt is repeated for each of its beams
        layers = log.visual_tokens[:: len(log.visual_tokens) // len(chats)]
    elif vlm.adapter.cross_attention:
        layers = _beside(vlm, chats, inputs)
    else:
        layers = np.repeat(placeholders[:, None], len(vlm.adapter.text_layers(model)), axis=1)
    # what stands for a picture beside the prompt is a word of it
    within = 0 if vlm.adapter.cross_attention else placeholders
    text_tokens = inputs["attention_mask"].sum(1).cpu().numpy() - within
    processor: Any = vlm.processor
    texts = processor.batch_decode(answers, skip_special_tokens=True)
    ends = end_tokens(model)
    return [
        Reply(generation.cut(text), int(n_text + row.max(initial=0)), _length(tokens, ends), float(row.mean()))
        for text, n_text, row, tokens in zip(texts, text_tokens, layers, answers.tolist(), strict=True)
    ]


def _beside(vlm: Vlm, chats: Sequence[Chat], inputs: Any) -> IntArray:
    """Visual tokens that each layer attends to [prompt, layer], where they stand beside the prompt."""
    model: Any = vlm.model
    layers = np.zeros((len(chats), len(vlm.adapter.text_layers(model))), dtype=np.int64)
    sizes = iter(vlm.adapter.layouts(model, inputs) if chats[0].pictures else ())
    for prompt, chat in enumerate(chats):
        tokens = sum(layout.tokens for layout in islice(sizes, len(chat.pictures)))
        layers[prompt, model.config.get_text_config().cross_attention_layers] = tokens
    return layers


def _inputs(vlm: Vlm, chats: Sequence[Chat]) -> Any:
    """Inputs of the model on its device, padded on the left; `Vlm.prepare` for any number of pictures per prompt."""
    processor: Any = vlm.processor
    pictures = [list(chat.pictures) for chat in chats]
    batch = processor(
        images=pictures if any(pictures) else None,
        text=[chat.prompt for chat in chats],
        padding=True,
        padding_side="left",
        return_tensors="pt",
    )
    batch.pop("labels", None)  # that of PaliGemma prepares for training
    if "pixel_values" in batch:
        batch["pixel_values"] = batch["pixel_values"].to(vlm.model.dtype)
    return batch.to(vlm.device)


def _length(tokens: Sequence[int], ends: frozenset[int]) -> int:
    """Tokens up to the first end token; padding follows it."""
    return next((number for number, token in enumerate(tokens, 1) if token in ends), len(tokens))
