"""The LLaVA adapter against the stock model's own outputs."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from transformers import BertConfig, BertModel

from analysis.models import LlavaAdapter, Vlm, adapter_for
from analysis.pruning import encode_images


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.randn(2, 3, 24, 24, generator=torch.Generator().manual_seed(3))


def test_parts(tiny_vlm: Vlm) -> None:
    adapter, model = tiny_vlm.adapter, tiny_vlm.model
    assert isinstance(adapter, LlavaAdapter)
    assert adapter.grid(model) == (6, 6)
    assert adapter.tokens(model) == 36
    assert adapter.has_cls
    assert (len(adapter.vision_layers(model)), len(adapter.text_layers(model))) == (3, 3)
    assert adapter.image_token_id(model) == 3
    assert adapter.embedding(model) is model.get_input_embeddings()


@torch.no_grad()
def test_features_are_those_of_the_stock_forward(tiny_vlm: Vlm, pixels: torch.Tensor) -> None:
    model, adapter = tiny_vlm.model, tiny_vlm.adapter
    states = model.model.vision_tower(pixels, output_hidden_states=True).hidden_states
    features = torch.stack(encode_images(tiny_vlm, pixels, ()).features)
    assert torch.equal(features, states[-2][:, 1:])
    stock = torch.stack(list(model.get_image_features(pixel_values=pixels).pooler_output))
    assert torch.equal(adapter.project(model, features), stock)


@torch.no_grad()
@pytest.mark.parametrize(("layer", "block"), [(-1, 2), (-2, 1), (-3, 0), (1, 0), (3, 2)])
def test_feature_layer_is_the_block_whose_output_the_features_are(
    tiny_vlm: Vlm, pixels: torch.Tensor, layer: int, block: int
) -> None:
    model = copy.deepcopy(tiny_vlm.model)
    model.config.vision_feature_layer = layer
    outputs: list[torch.Tensor] = []
    for part in tiny_vlm.adapter.vision_layers(model):
        part.register_forward_hook(lambda *call: outputs.append(call[2]))
    features = torch.stack(encode_images(replace(tiny_vlm, model=model), pixels, ()).features)
    assert tiny_vlm.adapter.feature_layer(model) == block
    assert torch.equal(features, outputs[block][:, 1:])


@pytest.mark.parametrize("layer", [0, 4, -4])
def test_feature_layer_that_no_block_puts_out(tiny_vlm: Vlm, layer: int) -> None:
    model = copy.deepcopy(tiny_vlm.model)
    model.config.vision_feature_layer = layer
    with pytest.raises(ValueError, match=rf"must name the output of one of 3 blocks, got {layer}"):
        tiny_vlm.adapter.feature_layer(model)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            {"vision_config": {"model_type": "siglip_vision_model"}},
            r"`vision_feature_select_strategy` must be 'full' \(there is no CLS to drop\), got 'default'",
        ),
        ({"vision_feature_select_strategy": "full"}, r"must be 'default' \(CLS dropped\), got 'full'"),
        ({"vision_feature_layer": [-2, -5]}, r"must be one layer, got \[-2, -5\]"),
    ],
)
def test_variants_that_are_refused(tiny_vlm: Vlm, change: dict, text: str) -> None:
    model = copy.deepcopy(tiny_vlm.model)
    if "vision_config" in change:
        from transformers import SiglipVisionConfig

        model.config.vision_config = SiglipVisionConfig()
    else:
        for name, value in change.items():
            setattr(model.config, name, value)
    with pytest.raises(ValueError, match=text):
        adapter_for(model)


def test_other_families_are_refused_with_what_is_supported() -> None:
    config = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=8)
    with pytest.raises(ValueError, match=r"unknown model type 'bert'.*known: .*llava"):
        adapter_for(BertModel(config))
