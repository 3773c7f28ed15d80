"""One vision pass, against the stock forward and the eager attention."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import BatchFeature

from analysis.capture import MeanReceived, record
from analysis.models import Vlm
from analysis.pruning import encode_images, prune, pruners
from analysis.pruning.attention_evidence import BLOCK_OF
from analysis.pruning.encode import watch


@torch.no_grad()
def test_features_are_the_stock_ones(any_vlm: Vlm, left_padded: BatchFeature) -> None:
    pixels = left_padded["pixel_values"]
    encoded = encode_images(any_vlm, pixels)
    states = any_vlm.model.model.vision_tower(pixels, output_hidden_states=True).hidden_states
    stock = any_vlm.model.get_image_features(pixel_values=pixels).pooler_output
    assert len(encoded) == len(encoded.layouts) == 3
    for row, tokens in enumerate(encoded):
        assert torch.equal(encoded.projected[row], stock[row])
        np.testing.assert_array_equal(tokens.projected, stock[row])
        np.testing.assert_array_equal(tokens.features, states[-2][row, 1:])
        assert tokens.grid == any_vlm.adapter.grid(any_vlm.model)
        assert tokens.attention_map is None


@torch.no_grad()
def test_attention_is_that_of_the_block_whose_output_the_features_are(any_vlm: Vlm, left_padded: BatchFeature) -> None:
    pixels = left_padded["pixel_values"]
    eager = copy.deepcopy(any_vlm.model)
    eager.set_attn_implementation("eager")
    maps = eager.model.vision_tower(pixels, output_attentions=True).attentions[-2].mean(1)
    assert any_vlm.model.config.vision_config._attn_implementation == "sdpa"
    with_map = encode_images(any_vlm, pixels, {"cls", "attention_map"})
    without = encode_images(any_vlm, pixels, {"cls"})
    for row in range(3):
        np.testing.assert_allclose(with_map[row].cls, maps[row, 0, 1:], atol=2e-5)
        np.testing.assert_allclose(without[row].cls, maps[row, 0, 1:], atol=2e-5)
        np.testing.assert_allclose(with_map[row].attention_map, maps[row, 1:, 1:], atol=2e-5)


@pytest.mark.parametrize("fixture", ["tiny_vlm", "siglip_vlm"])
def test_evidence_does_not_depend_on_what_else_is_wanted(
    fixture: str, request: pytest.FixtureRequest, tiny_image: Callable[[int], Image.Image]
) -> None:
    """To the last bit, since rules break near ties by it: who else is compared must not change what a rule keeps."""
    vlm: Vlm = request.getfixturevalue(fixture)
    pixels = vlm.prepare([tiny_image(seed) for seed in range(16)], ["what color is it ?"] * 16)["pixel_values"]
    everything = encode_images(vlm, pixels, BLOCK_OF)
    for name in BLOCK_OF:
        for image, alone in enumerate(encode_images(vlm, pixels, {name})):
            np.testing.assert_array_equal(getattr(everything[image], name), getattr(alone, name), err_msg=name)


def test_batch_equals_singles(any_vlm: Vlm, left_padded: BatchFeature) -> None:
    pixels = left_padded["pixel_values"]
    together = encode_images(any_vlm, pixels, {"cls", "attention_map"})
    for row in range(3):
        alone = encode_images(any_vlm, pixels[row : row + 1], {"cls", "attention_map"})[0]
        assert together[row].key == alone.key
        for name in ("features", "projected", "cls", "attention_map"):
            np.testing.assert_allclose(getattr(together[row], name), getattr(alone, name), atol=5e-5)


def test_keys_name_the_pixels(any_vlm: Vlm, left_padded: BatchFeature) -> None:
    pixels = left_padded["pixel_values"]
    keys = [tokens.key for tokens in encode_images(any_vlm, pixels)]
    assert len(set(keys)) == 3
    assert [tokens.key for tokens in encode_images(any_vlm, pixels.flip(0))] == keys[::-1]
    assert [tokens.seed for tokens in encode_images(any_vlm, pixels, seed=7)] == [7, 7, 7]


@torch.no_grad()
def test_without_a_cls_token_the_mean_received_attention_takes_its_place(siglip_vlm: Vlm, tiny_image) -> None:
    inputs = siglip_vlm.prepare([tiny_image(seed) for seed in range(2)], ["what color is the circle ?"] * 2)
    layer = siglip_vlm.adapter.feature_layer(siglip_vlm.model)
    with record(siglip_vlm, received=MeanReceived(layers=(layer,))) as log:
        encoded = encode_images(siglip_vlm, inputs["pixel_values"], ("cls", "attention_map"))
    for row, tokens in enumerate(encoded):
        np.testing.assert_allclose(tokens.cls, log.received[row, 0].numpy(), atol=1e-6)
        assert tokens.attention_map is not None
        np.testing.assert_allclose(tokens.attention_map.mean(0), tokens.cls, atol=1e-6)
    whole = siglip_vlm.model(**inputs).logits
    with prune(siglip_vlm, pruners.VisPruner(), keep=16):
        assert torch.equal(siglip_vlm.model(**inputs).logits, whole)
    with prune(siglip_vlm, pruners.VisPruner(), keep=4):
        assert siglip_vlm.model(**inputs).logits.isfinite().all()


def test_sequence(any_vlm: Vlm, left_padded: BatchFeature) -> None:
    encoded = encode_images(any_vlm, left_padded["pixel_values"])
    assert encoded[-1] is encoded[2]
    assert list(encoded[:2]) == [encoded[0], encoded[1]]


def test_nothing_is_left_on_the_model(any_vlm: Vlm, left_padded: BatchFeature) -> None:
    def hooks() -> int:
        return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in any_vlm.model.modules())

    before = hooks()
    encode_images(any_vlm, left_padded["pixel_values"])
    assert hooks() == before
    broken = left_padded["pixel_values"].clone()
    broken[1, 0, 3, 3] = torch.nan
    with pytest.raises(ValueError, match="`features` must be finite"):
        encode_images(any_vlm, broken)
    assert hooks() == before


def test_several_encodings_in_one_context(any_vlm: Vlm, left_padded: BatchFeature) -> None:
    pixels, seen = left_padded["pixel_values"], []
    with watch(any_vlm.model, any_vlm.adapter, (), seen.append):
        for row in range(3):
            any_vlm.model.get_image_features(pixel_values=pixels[row : row + 1])
    assert [encoded[0].key for encoded in seen] == [tokens.key for tokens in encode_images(any_vlm, pixels)]
