"""Prompts and answers."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from PIL import Image

from analysis.models import Vlm, fingerprint

QUESTIONS = ["is there a red square ?", "how many star is there on the green sign ?"]


def test_prepare_pads_on_the_left(tiny_vlm: Vlm, tiny_image: Callable[[int], Image.Image]) -> None:
    batch = tiny_vlm.prepare([tiny_image(0), tiny_image(1)], QUESTIONS)
    ids, mask = batch["input_ids"], batch["attention_mask"]
    assert ids.shape == mask.shape
    assert mask.sum(1).tolist() == [1 + 1 + 36 + 6 + 1, 1 + 1 + 36 + 10 + 1]
    assert mask[:, -1].tolist() == [1, 1]
    assert ((ids == 3).sum(1) == 36).all()
    assert batch["pixel_values"].shape == (2, 3, 24, 24)
    assert batch["pixel_values"].dtype == tiny_vlm.model.dtype


def test_answers_do_not_depend_on_the_batch(tiny_vlm: Vlm, tiny_image: Callable[[int], Image.Image]) -> None:
    images = [tiny_image(0), tiny_image(1)]
    together = tiny_vlm.answer(images, QUESTIONS, max_new_tokens=5)
    assert together == [tiny_vlm.answer(i, q, max_new_tokens=5) for i, q in zip(images, QUESTIONS, strict=True)]
    assert len(set(together)) == 2


def test_answer_is_the_stock_generation(tiny_vlm: Vlm, tiny_image: Callable[[int], Image.Image]) -> None:
    inputs = tiny_vlm.prepare(tiny_image(2), QUESTIONS[0])
    ids = tiny_vlm.model.generate(**inputs, max_new_tokens=4, do_sample=False)[0, -4:]
    words = tiny_vlm.processor.tokenizer.convert_ids_to_tokens(ids)
    answer = tiny_vlm.answer(tiny_image(2), QUESTIONS[0], max_new_tokens=4)
    assert answer == " ".join(word for word in words if not word.startswith("<"))
    assert isinstance(answer, str)


def test_no_gradients_are_kept(tiny_vlm: Vlm, tiny_image: Callable[[int], Image.Image]) -> None:
    tiny_vlm.answer(tiny_image(0), QUESTIONS[0], max_new_tokens=1)
    assert all(weight.grad is None for weight in tiny_vlm.model.parameters())
    assert torch.is_grad_enabled()


def test_repr_is_short(tiny_vlm: Vlm) -> None:
    assert repr(tiny_vlm) == f"Vlm('tiny', llava, 6 x 6 visual tokens, {tiny_vlm.config_hash})"


@pytest.mark.parametrize(
    ("images", "questions", "text"),
    [
        (2, ["is there a circle ?"], "must pair up and not be empty, got 2 images and 1 questions"),
        (0, [], "must pair up and not be empty, got 0 images and 0 questions"),
        (1, [" "], "must be texts that are not empty, got ' '"),
    ],
)
def test_wrong_questions(
    tiny_vlm: Vlm, tiny_image: Callable[[int], Image.Image], images: int, questions: list[str], text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        tiny_vlm.answer([tiny_image(seed) for seed in range(images)], questions)


def test_wrong_answer_length(tiny_vlm: Vlm, tiny_image: Callable[[int], Image.Image]) -> None:
    with pytest.raises(ValueError, match="`max_new_tokens` must be at least 1, got 0"):
        tiny_vlm.answer(tiny_image(0), "is there a circle ?", max_new_tokens=0)


def test_fingerprints_tell_weights_apart(tiny_vlm: Vlm) -> None:
    again = copy.deepcopy(tiny_vlm.model)
    assert fingerprint(again) == fingerprint(tiny_vlm.model)
    with torch.no_grad():
        again.base_model.multi_modal_projector.linear_1.bias[0] += 1e-3
    assert fingerprint(again) != fingerprint(tiny_vlm.model)
