"""Qwen3-VL: visual features that enter several layers of the language model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from analysis.pruning import prune
from analysis.pruning.pruners import Pooling, UniformGrid
from solvers import rules

from ..pruning.families import FAMILIES, IMAGE, PROMPTS, Family, patches

FAMILY: Family = next(family for family in FAMILIES if family.name == "qwen3_vl")
KEEP = 3


def layer_by_layer(prompt: int, kept: list[int], *, weights: Tensor | None = None, deep: bool = True) -> Tensor:
    """Logits of one prompt: decoder layers called one after the other, features of the kept tokens added by hand.

    `weights` [kept, token] make them of others.
    """
    model: Any = FAMILY.model()
    base, batch = model.model, FAMILY.batch(prompt)
    ids, text = batch["input_ids"], base.language_model
    image = ids[0] == IMAGE
    stay = ~image
    stay[image.nonzero()[:, 0][kept]] = True
    hidden = base.get_input_embeddings()(ids)
    levels: list[Tensor] = []
    if PROMPTS[prompt]:
        output = base.get_image_features(**patches([PROMPTS[prompt]]))
        made = torch.eye(int(image.sum()))[kept] if weights is None else weights
        hidden[0, image & stay] = made @ torch.cat(list(output.pooler_output))
        levels = [made @ torch.cat(list(level)) for level in output.deepstack_features]
    places = base.get_rope_index(ids, **{name: batch.get(name) for name in ("mm_token_type_ids", "image_grid_thw")})[0]
    hidden, places, visual = hidden[:, stay], places[:, :, stay], image[stay]
    length = hidden.shape[1]
    causal = torch.ones(1, 1, length, length, dtype=torch.bool).tril()
    rotation = text.rotary_emb(hidden, places)
    for number, layer in enumerate(text.layers):
        hidden = layer(hidden, attention_mask=causal, position_embeddings=rotation)
        if deep and number < len(levels):
            hidden[0, visual] += levels[number]
    return model.lm_head(text.norm(hidden))[0]


@torch.no_grad()
@pytest.mark.parametrize("prompts", [(2,), (0, 1, 2)], ids=["one", "batch"])
def test_kept_tokens_get_their_own_features_in_every_layer(prompts: tuple[int, ...]) -> None:
    model = FAMILY.model()
    with prune(model, UniformGrid(), KEEP) as log:
        logits = model(**FAMILY.batch(*prompts)).logits
    for row, prompt in enumerate(prompts):
        kept = log.kept[row].tolist()
        assert len(kept) == KEEP * len(PROMPTS[prompt])
        expected = layer_by_layer(prompt, kept)
        torch.testing.assert_close(logits[row, -len(expected) :], expected, atol=1e-4, rtol=1e-4)
        if kept:
            shallow = layer_by_layer(prompt, kept, deep=False)
            assert (shallow[-1] - expected[-1]).abs().max() > 0.1


@torch.no_grad()
@pytest.mark.parametrize("prompts", [(2,), (2, 1, 2)], ids=["one", "batch"])
def test_merged_tokens_get_merged_features_in_every_layer(prompts: tuple[int, ...]) -> None:
    model, made = FAMILY.model(), rules.pooling((5, 4), 4).in_index_order()
    with prune(model, Pooling(), 4) as log:
        logits = model(**FAMILY.batch(*prompts)).logits
    for row, prompt in enumerate(prompts):
        kept = log.kept[row].tolist()
        assert kept == (made.anchors.tolist() if PROMPTS[prompt] else [])
        weights = torch.tensor(made.weights.toarray(), dtype=torch.float32) if kept else None
        expected = layer_by_layer(prompt, kept, weights=weights)
        torch.testing.assert_close(logits[row, -len(expected) :], expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_beams_and_samples_of_encoded_images() -> None:
    """`generate` encodes beforehand and repeats the features of every depth."""
    model, batch = FAMILY.model(), FAMILY.batch(0, 2)
    options = {"max_new_tokens": 1, "output_logits": True, "return_dict_in_generate": True, "do_sample": False}
    with prune(model, UniformGrid(), KEEP) as log:
        out = model.generate(**batch, **options, num_beams=2, num_return_sequences=2)
    for row, logits in enumerate(out.logits[0]):
        expected = layer_by_layer((0, 2)[row // 2], log.kept[row].tolist())[-1]
        torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
