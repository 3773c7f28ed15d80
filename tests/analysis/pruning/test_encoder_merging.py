"""Merging in the encoder: against blocks run by hand, exact counts, and nothing left behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import BatchFeature

from analysis.models import Vlm
from analysis.pruning import encode_images, prune, pruners
from analysis.pruning.encode import Encoded, watch
from analysis.pruning.encoder_merging import EncoderMerging
from solvers.rules.tome import match, merge, tome_schedule, trace


def encoded_with(vlm: Vlm, pixels: torch.Tensor, keep: int, proportional: bool) -> Encoded:
    caught: list[Encoded] = []
    merging = EncoderMerging(vlm.model, vlm.adapter, keep, proportional)
    with torch.no_grad(), watch(vlm.model, vlm.adapter, {"groups"}, caught.append, merging=merging):
        vlm.model.get_image_features(pixel_values=pixels)
    return caught[0]


@torch.no_grad()
@pytest.mark.parametrize("proportional", [True, False])
def test_states_are_those_of_blocks_run_by_hand(
    tiny_vlm: Vlm, tiny_image: Callable[..., Image.Image], proportional: bool
) -> None:
    vlm, keep = tiny_vlm, 13
    pixels = vlm.prepare([tiny_image(seed) for seed in range(2)], ["what color is the circle ?"] * 2)["pixel_values"]
    tower: Any = vlm.model.model.vision_tower
    merged = encoded_with(vlm, pixels, keep, proportional)
    for picture in range(2):
        states = tower.pre_layrnorm(tower.embeddings(pixels[picture : picture + 1]))
        size, found = np.ones(37), []
        blocks = tower.encoder.layers[:2]  # the features come from the last but one of three
        for block, removed in zip(blocks, tome_schedule(36, 2, keep), strict=True):
            normed = block.layer_norm1(states)
            query, key, value = (
                part(normed).unflatten(-1, (4, 8)).transpose(1, 2)
                for part in (block.self_attn.q_proj, block.self_attn.k_proj, block.self_attn.v_proj)
            )
            scores = query @ key.transpose(-1, -2) / 8**0.5
            if proportional:
                scores = scores + torch.as_tensor(np.log(size), dtype=torch.float32)
            mixed = (scores.softmax(-1) @ value).transpose(1, 2).flatten(2)
            states = states + block.self_attn.out_proj(mixed)
            found.append(match(key[0].mean(0).numpy(), int(removed), 1))
            row, size = merge(states[0], size, found[-1])
            states = row[None]
            states = states + block.mlp(block.layer_norm2(states))
        assert states.shape[1] == keep + 1
        traced = trace(found)
        place = traced.weights.toarray().argmax(0)[1:]
        np.testing.assert_allclose(merged.features[picture], states[0][place], atol=2e-5, rtol=1e-4)
        np.testing.assert_array_equal(merged[picture].groups, traced.anchors[place] - 1)


def test_as_many_tokens_as_asked_reach_the_language_model(any_vlm: Vlm, left_padded: BatchFeature) -> None:
    n = any_vlm.adapter.tokens(any_vlm.model)
    for keep in (n // 4 + 1, n // 2, n - 1):
        with prune(any_vlm, "tome", keep) as log, torch.no_grad():
            assert any_vlm.model(**left_padded).logits.isfinite().all()
        assert (log.visual_tokens == keep).all()


def test_keeping_all_is_the_stock_computation(any_vlm: Vlm, left_padded: BatchFeature) -> None:
    with torch.no_grad():
        stock = any_vlm.model(**left_padded).logits
        with prune(any_vlm, pruners.ToMe(), any_vlm.adapter.tokens(any_vlm.model)):
            torch.testing.assert_close(any_vlm.model(**left_padded).logits, stock, atol=1e-4, rtol=1e-4)
        assert torch.equal(any_vlm.model(**left_padded).logits, stock)


def test_the_encoder_is_as_before_also_after_an_error(any_vlm: Vlm, left_padded: BatchFeature) -> None:
    before = [dict(vars(module)) for module in any_vlm.model.modules()]
    broken = left_padded["pixel_values"].clone()
    broken[0, 0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="must be finite"), prune(any_vlm, "tome", 9), torch.no_grad():
        any_vlm.model(**{**left_padded, "pixel_values": broken})
    assert [dict(vars(module)) for module in any_vlm.model.modules()] == before
    assert encode_images(any_vlm, left_padded["pixel_values"])[0].groups is None


def test_a_budget_out_of_reach(tiny_vlm: Vlm) -> None:
    text = r"`keep` must be at least 9, since 2 layers halve 36 tokens at most, got 8"
    with pytest.raises(ValueError, match=text), prune(tiny_vlm, "tome", 8):
        pass
