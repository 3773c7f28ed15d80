"""Batches, and the language model run by hand on shortened inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import BatchFeature

from analysis.models import Vlm
from analysis.pruning import VisualTokens

QUESTIONS = ["is there a red square ?", "how many star is there on the green sign ?", "what color is the circle ?"]


@pytest.fixture(params=["tiny_vlm", "tiny_gqa_vlm"])
def any_vlm(request: pytest.FixtureRequest) -> Vlm:
    """As many key heads as heads, and half as many."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def left_padded(any_vlm: Vlm, tiny_image: Callable[[int], Image.Image]) -> BatchFeature:
    """Three prompts of different length about three images."""
    return any_vlm.prepare([tiny_image(seed) for seed in range(3)], QUESTIONS)


@pytest.fixture
def single_prompts(any_vlm: Vlm, tiny_image: Callable[[int], Image.Image]) -> list[BatchFeature]:
    """The same prompts one by one, without padding."""
    return [any_vlm.prepare(tiny_image(seed), question) for seed, question in enumerate(QUESTIONS)]


@pytest.fixture
def by_hand() -> Callable[..., torch.Tensor]:
    """Logits [word, vocabulary] of one prompt without padding after dropping tokens, written out independently."""

    @torch.no_grad()
    def run(
        vlm: Vlm,
        inputs: BatchFeature,
        kept: list[int],
        policy: str,
        extra: list[int] | None = None,
        visual: torch.Tensor | None = None,
    ) -> torch.Tensor:
        base: Any = vlm.model.model
        ids = inputs["input_ids"][0].tolist()
        start, n = ids.index(3), ids.count(3)
        projected = base.get_image_features(pixel_values=inputs["pixel_values"]).pooler_output[0]
        before, after = torch.tensor(ids[:start]), torch.tensor(ids[start + n :] + (extra or []))
        embed = base.language_model.embed_tokens
        shown = projected[kept] if visual is None else visual
        embeds = torch.cat([embed(before), shown, embed(after)])[None]
        if policy == "keep":
            positions = [*range(start), *(start + token for token in kept), *range(start + n, start + n + len(after))]
        else:
            positions = list(range(embeds.shape[1]))
        hidden = base.language_model(
            inputs_embeds=embeds,
            attention_mask=torch.ones(embeds.shape[:2], dtype=torch.long),
            position_ids=torch.tensor([positions]),
            use_cache=False,
        ).last_hidden_state
        return vlm.model.lm_head(hidden)[0]

    return run


@pytest.fixture
def visual_tokens() -> Callable[..., VisualTokens]:
    """Random tokens by draw, with everything a pruner can ask for."""

    def make(draw: int = 0, grid: tuple[int, int] = (6, 6), **fields: Any) -> VisualTokens:
        rng = np.random.default_rng(draw)
        n = grid[0] * grid[1]
        attention = rng.dirichlet(np.full(n + 1, 0.3), size=n)[:, 1:]
        content: dict[str, Any] = {
            "features": rng.normal(size=(n, 8)).astype(np.float32),
            "projected": rng.normal(size=(n, 10)).astype(np.float32),
            "grid": grid,
            "cls": rng.dirichlet(np.ones(n)).astype(np.float32),
            "attention_map": attention.astype(np.float32),
            "keys": rng.normal(size=(n, 4)).astype(np.float32),
            "first_cls": rng.dirichlet(np.ones(n)).astype(np.float32),
            "last_cls": rng.dirichlet(np.ones(n)).astype(np.float32),
            "last_keys": rng.normal(size=(n, 8)).astype(np.float32),
            "text": rng.normal(size=(5, 10)).astype(np.float32),
            "needed": np.array([n - 1, 3, 8]),
            "key": f"image-{draw}",
        }
        return VisualTokens(**(content | fields))

    return make
