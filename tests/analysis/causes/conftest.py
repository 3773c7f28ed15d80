"""A tiny benchmark for a tiny model, and its attention written out by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import BatchFeature
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb, repeat_kv

from analysis.causes import Exam
from analysis.evaluation import AbstractTask, Question
from analysis.evaluation.tasks import Sample
from analysis.models import Vlm

IMAGE = 3  # id of the placeholder in the tiny vocabulary
CAUSES_QUESTIONS = (
    "is there a red square ?",
    "what color is the circle ?",
    "what color is the green sign ?",  # begins as the one before it
)


class TinyTask(AbstractTask):
    """Two images with three questions; the model's own answers to half of the questions count as right."""

    name = "tiny"

    def __init__(self, samples: list[Sample]) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[Sample]:
        return iter(self.samples)

    @property
    def checksum(self) -> str:
        return "tiny"


@pytest.fixture(params=["tiny_vlm", "tiny_gqa_vlm"])
def causes_vlm(request: pytest.FixtureRequest) -> Vlm:
    """As many key heads as heads, and half as many."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def exam(causes_vlm: Vlm, tiny_image: Callable[[int], Image.Image]) -> Exam:
    samples, number = [], 0
    for image_id in range(2):
        picture = tiny_image(image_id)
        own = causes_vlm.answer([picture] * 3, list(CAUSES_QUESTIONS))
        questions = []
        for text, answer in zip(CAUSES_QUESTIONS, own, strict=True):
            needed = np.array([1, 4, 9]) if number % 2 else np.array([], dtype=np.int64)
            questions.append(Question(number, text, answer if number % 2 else "never", f"task {number % 2}", needed))
            number += 1
        samples.append(Sample(image_id, picture, tuple(questions)))
    return Exam(causes_vlm, TinyTask(samples), samples)


@pytest.fixture
def prompts(causes_vlm: Vlm, tiny_image: Callable[[int], Image.Image]) -> BatchFeature:
    """Three prompts of different length: left padding."""
    return causes_vlm.prepare([tiny_image(seed) for seed in range(3)], list(CAUSES_QUESTIONS))


@pytest.fixture
def eager_layer() -> Callable[..., tuple[torch.Tensor, torch.Tensor]]:
    """One attention layer on one prompt, written out: weights [head, query, key], outputs [query, head, dim]."""

    @torch.no_grad()
    def run(
        vlm: Vlm, layer: int, hidden: torch.Tensor, ids: torch.Tensor, without: list[int] | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        language: Any = vlm.adapter.language_model(vlm.model)
        block = language.layers[layer]
        attention, normed = block.self_attn, block.input_layernorm(hidden[None])
        config = attention.config
        shape = (1, hidden.shape[0], -1, attention.head_dim)
        q, k, v = (
            part(normed).view(shape).transpose(1, 2) for part in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        cos, sin = LlamaRotaryEmbedding(config)(normed, ids[None])
        q, k = apply_rotary_pos_emb(q, k, cos, sin)
        groups = config.num_attention_heads // config.num_key_value_heads
        k, v = repeat_kv(k, groups), repeat_kv(v, groups)
        scores = q @ k.transpose(2, 3) / attention.head_dim**0.5
        order = torch.arange(hidden.shape[0])
        scores = scores.masked_fill(order[:, None] < order, -torch.inf)
        if without:
            scores[..., without] = -torch.inf
        weights = scores.softmax(-1)
        return weights[0], (weights @ v)[0].transpose(0, 1)

    return run


@pytest.fixture
def layer_states() -> Callable[..., list[torch.Tensor]]:
    """What each layer of the language model receives for one prompt [column, width], ids as counted by default."""

    @torch.no_grad()
    def run(vlm: Vlm, inputs: BatchFeature) -> list[torch.Tensor]:
        states = vlm.model(**inputs, output_hidden_states=True, use_cache=False).hidden_states
        return [state[0] for state in states]

    return run
