"""The InternVL adapter against the stock model's own outputs."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoModelForImageTextToText

from analysis.capture import ClsRow, LastRow, record
from analysis.models import InternVLAdapter, adapter_for
from analysis.pruning import prune

from ..pruning.families import FAMILIES, IMAGE, Family
from .encoded import features_of

FAMILY: Family = next(family for family in FAMILIES if family.name == "internvl")


def squares(values: Tensor) -> Tensor:
    """Values [image, 36, dim] of six by six patches as [image, token, patch of the token, dim]."""
    return values.reshape(-1, 3, 2, 3, 2, values.shape[-1]).transpose(2, 3).reshape(-1, 9, 4, values.shape[-1])


def test_parts() -> None:
    model = FAMILY.model()
    adapter = adapter_for(model)
    assert isinstance(adapter, InternVLAdapter)
    assert adapter.grid(model) == adapter.grid(model.base_model) == (3, 3)
    assert (len(adapter.vision_layers(model)), len(adapter.text_layers(model))) == (3, 4)
    assert adapter.image_token_id(model) == IMAGE
    assert adapter.embedding(model) is model.get_input_embeddings()


def test_every_tile_is_an_image() -> None:
    model, inputs = FAMILY.model(), FAMILY.images([[0, 1], [], [2]])
    layouts = adapter_for(model).layouts(model, inputs)
    with torch.no_grad():
        pooled = model.base_model.get_image_features(**inputs, return_dict=True).pooler_output
    assert [layout.tokens for layout in layouts] == [len(tile) for tile in pooled] == [9, 9, 9]
    assert [layout.tiles[0].view for layout in layouts] == [0, 1, 2]


@torch.no_grad()
@pytest.mark.parametrize(("layer", "block"), [(-1, 2), (-2, 1), (1, 0)])
def test_features_are_the_patches_of_a_token_side_by_side(layer: int, block: int) -> None:
    model, pixels = copy.deepcopy(FAMILY.model()), FAMILY.images([[0, 1]])["pixel_values"]
    model.config.vision_feature_layer = layer
    adapter = adapter_for(model)
    states = model.model.vision_tower(pixels, output_hidden_states=True).hidden_states
    features = features_of(model, {"pixel_values": pixels})
    assert adapter.feature_layer(model) == block
    assert torch.equal(features, squares(states[block + 1][:, 1:]).flatten(2))
    stock = model.model.get_image_features(pixel_values=pixels, return_dict=True).pooler_output
    assert torch.equal(adapter.project(model, features), stock)


def test_values_of_patches_are_averaged_by_token() -> None:
    model = FAMILY.model()
    values = torch.randn(2, 36, 5, generator=torch.Generator().manual_seed(0))
    adapter = adapter_for(model)
    torch.testing.assert_close(torch.stack(adapter.tokens_of_patches(model, values, {})), squares(values).mean(2))
    maps = torch.rand(1, 36, 36, generator=torch.Generator().manual_seed(1))
    cells = squares(torch.arange(36.0)[None, :, None])[0, :, :, 0].long().numpy()
    expected = [[float(maps[0][np.ix_(a, b)].mean()) for b in cells] for a in cells]
    torch.testing.assert_close(adapter.maps_of_patches(model, list(maps), {})[0], torch.tensor(expected))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"vision_feature_select_strategy": "full"}, r"must be 'default' \(CLS dropped\), got 'full'"),
        ({"vision_feature_layer": [-1, -2]}, r"must be one layer, got \[-1, -2\]"),
        ({"vision_config": {"image_size": [84, 56]}}, r"`image_size` must be that of a square, got \(84, 56\)"),
        ({"vision_config": {"model_type": "clip_vision_model"}}, "its vision tower must be 'internvl_vision'"),
    ],
)
def test_variants_that_are_refused(change: dict[str, Any], text: str) -> None:
    adapter = InternVLAdapter()
    assert adapter.refusal({}) is None
    reason = adapter.refusal(change)
    with pytest.raises(ValueError, match=text):
        raise ValueError(reason)


def test_attention_is_recorded_token_by_token() -> None:
    model, batch = FAMILY.model(), FAMILY.batch(2)
    with record(model, cls=ClsRow(), last=LastRow()) as log, torch.no_grad():
        model(**batch)
    assert log.last.shape[-1] == log.cls.shape[-1] == 9


def test_round_trip(tmp_path: Path) -> None:
    model, batch = FAMILY.model(), FAMILY.batch(2)
    model.save_pretrained(tmp_path)
    again = AutoModelForImageTextToText.from_pretrained(tmp_path).eval()
    with torch.no_grad(), prune(model, "fastervlm", 4) as log:
        model(**batch)
    with torch.no_grad(), prune(again, "fastervlm", 4) as other:
        again(**batch)
    np.testing.assert_array_equal(log.kept[0], other.kept[0])
