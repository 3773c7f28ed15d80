"""The two exactness promises of `prune` on the model that the repository ships."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import BatchFeature

from analysis.models import Vlm, load
from analysis.pruning import encode_images, prune
from analysis.pruning.pruners import VisPruner

SHIPPED = Path(__file__).parents[3] / "data" / "mini_llava"
QUESTIONS = ["how many red objects are there ?", "what number is on the blue sign ?"]


@pytest.fixture(scope="module")
def shipped() -> Vlm:
    return load(SHIPPED)


@pytest.fixture(scope="module")
def prompts(shipped: Vlm) -> BatchFeature:
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 256, (192, 192, 3), dtype=np.uint8)) for _ in QUESTIONS]
    return shipped.prepare(images, QUESTIONS)


@torch.no_grad()
def test_keeping_all_is_the_stock_computation_to_the_bit(shipped: Vlm, prompts: BatchFeature) -> None:
    logits = shipped.model(**prompts).logits
    ids = shipped.model.generate(**prompts, max_new_tokens=4, do_sample=False)
    with prune(shipped, VisPruner(), 576):
        assert torch.equal(shipped.model(**prompts).logits, logits)
        assert torch.equal(shipped.model.generate(**prompts, max_new_tokens=4, do_sample=False), ids)


@pytest.mark.parametrize("policy", ["keep", "compact"])
def test_forward_equals_the_run_by_hand(shipped: Vlm, by_hand: Callable[..., torch.Tensor], policy: str) -> None:
    rng = np.random.default_rng(1)
    image = Image.fromarray(rng.integers(0, 256, (192, 192, 3), dtype=np.uint8))
    inputs = shipped.prepare(image, QUESTIONS[1])
    kept = VisPruner().select(encode_images(shipped, inputs["pixel_values"])[0], 64).tolist()
    with torch.no_grad(), prune(shipped, VisPruner(), 64, position_ids=policy):
        logits = shipped.model(**inputs).logits[0]
    assert torch.equal(logits, by_hand(shipped, inputs, kept, policy))
