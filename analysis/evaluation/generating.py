"""Greedy answers by the model's own `generate`, for what packed answering cannot do."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from PIL.Image import Image

from analysis.models import Vlm
from analysis.pruning import prune

from .settings import Setting
from .tasks import Question

PROMPTS_PER_BATCH = 16


@torch.no_grad()
def generate_answers(
    vlm: Vlm, asked: Sequence[tuple[Image, Question]], setting: Setting, max_new_tokens: int
) -> list[tuple[str, tuple[int, ...]]]:
    """For each image and question the answer under a setting, and how many visual tokens reached each layer."""
    found: list[tuple[str, tuple[int, ...]]] = []
    model: Any = vlm.model
    for start in range(0, len(asked), PROMPTS_PER_BATCH):
        members = asked[start : start + PROMPTS_PER_BATCH]
        inputs = vlm.prepare([image for image, _ in members], [question.question for _, question in members])
        with _pruned(vlm, setting, [question for _, question in members]) as log:
            ids = model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
        texts = vlm.decode(ids[:, inputs["input_ids"].shape[1] :])
        if log is None:
            placeholders = (inputs["input_ids"] == vlm.adapter.image_token_id(model)).sum(1).tolist()
            layers = len(vlm.adapter.text_layers(model))
            counts = [(count,) * layers for count in placeholders]
        else:
            counts = [tuple(row) for row in log.visual_tokens.tolist()]
        found += zip(texts, counts, strict=True)
    return found


def _pruned(vlm: Vlm, setting: Setting, questions: Sequence[Question]) -> Any:
    if setting.pruner is None:
        return nullcontext()
    truth = [question.needed for question in questions] if "needed" in setting.pruner.needs else None
    return prune(vlm, setting.pruner, setting.keep, position_ids=setting.policy, seed=setting.seed, needed=truth)
