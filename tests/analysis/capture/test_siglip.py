"""A LLaVA whose encoder has no CLS: the stock classes with a SigLIP tower."""

from __future__ import annotations

import copy

import pytest
import torch

from analysis.models import SiglipLlavaAdapter, Vlm, adapter_for
from analysis.pruning import encode_images


def test_parts(siglip_vlm: Vlm) -> None:
    adapter, model = siglip_vlm.adapter, siglip_vlm.model
    assert isinstance(adapter, SiglipLlavaAdapter)
    assert not adapter.has_cls
    assert adapter.grid(model) == (4, 4)
    assert (len(adapter.vision_layers(model)), len(adapter.text_layers(model))) == (3, 2)
    assert adapter.feature_layer(model) == 2


@torch.no_grad()
def test_features_are_all_states_of_the_encoder(siglip_vlm: Vlm, tiny_image) -> None:
    inputs = siglip_vlm.prepare(tiny_image(0), "what color is the circle ?")
    states = siglip_vlm.model.model.vision_tower(inputs["pixel_values"], output_hidden_states=True).hidden_states
    features = torch.stack(encode_images(siglip_vlm, inputs["pixel_values"], ()).features)
    assert features.shape == (1, 16, 32)
    assert torch.equal(features, states[-1])
    assert int((inputs["input_ids"] == siglip_vlm.model.config.image_token_id).sum()) == 16


def test_dropping_a_first_token_that_is_no_cls_is_refused(siglip_vlm: Vlm) -> None:
    model = copy.deepcopy(siglip_vlm.model)
    model.config.vision_feature_select_strategy = "default"
    with pytest.raises(ValueError, match=r"must be 'full' \(there is no CLS to drop\), got 'default'"):
        adapter_for(model)
