"""The adapter of Idefics3 and SmolVLM against the stock models' own outputs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from analysis.capture import LastRow, MeanReceived, record
from analysis.models import Idefics3Adapter, adapter_for
from analysis.pruning import prune

from ..pruning.families import FAMILIES, IMAGE, Family
from .encoded import features_of

BY_NAME = {family.name: family for family in FAMILIES}

every_kind = pytest.mark.parametrize(
    "family", [BY_NAME["idefics3"], BY_NAME["smolvlm"]], ids=lambda family: family.name
)


@every_kind
def test_parts(family: Family) -> None:
    model = family.model()
    adapter = adapter_for(model)
    assert isinstance(adapter, Idefics3Adapter)
    assert adapter.grid(model) == adapter.grid(model.base_model) == (3, 3)
    assert (len(adapter.vision_layers(model)), len(adapter.text_layers(model))) == (3, 4)
    assert adapter.vision_tower(model) is model.model.vision_model
    assert adapter.image_token_id(model) == IMAGE
    assert adapter.embedding(model) is model.get_input_embeddings()


@torch.no_grad()
@every_kind
def test_features_are_the_patches_of_a_token_side_by_side(family: Family) -> None:
    model, inputs = family.model(), family.images([[0], [1]])
    adapter = adapter_for(model)
    patches = model.model.vision_model(inputs["pixel_values"].flatten(0, 1)).last_hidden_state
    features = features_of(model, inputs)
    squares = patches.reshape(2, 3, 2, 3, 2, 32).transpose(2, 3).reshape(2, 9, 4 * 32)
    assert torch.equal(features, squares)
    stock = model.model.get_image_features(**inputs, return_dict=True).pooler_output
    assert torch.equal(adapter.project(model, features), torch.stack(list(stock)))
    values = [torch.arange(36.0)]
    expected = torch.arange(36.0).reshape(3, 2, 3, 2).mean((1, 3)).flatten()
    assert torch.equal(adapter.tokens_of_patches(model, values, {})[0], expected)


@torch.no_grad()
@every_kind
def test_pictures_of_zeros_are_no_images(family: Family) -> None:
    model, inputs = family.model(), family.images([[0, 1], [], [2]])
    adapter = adapter_for(model)
    stock = model.model.get_image_features(**inputs, return_dict=True).pooler_output
    # Releases of the library differ in how they group the rows.
    assert sum(part.reshape(-1, part.shape[-1]).shape[0] for part in stock) == 27
    assert [layout.tokens for layout in adapter.layouts(model, inputs)] == [9, 9, 9]
    seen, given = adapter.pictures(model, inputs), inputs["pixel_values"]
    assert all(torch.equal(a, b) for a, b in zip(seen, [given[0, 0], given[0, 1], given[2, 0]], strict=True))


@torch.no_grad()
def test_smolvlm_encodes_one_picture_of_zeros_if_there_is_nothing_else() -> None:
    model = BY_NAME["smolvlm"].model()
    inputs = {"pixel_values": torch.zeros(1, 2, 3, 84, 84)}
    stock = model.model.get_image_features(**inputs, return_dict=True).pooler_output
    layouts = adapter_for(model).layouts(model, inputs)
    assert [len(prompt) for prompt in stock] == [layout.tokens for layout in layouts] == [9]


@torch.no_grad()
@every_kind
def test_padding_within_a_picture_is_masked_as_in_the_stock_model(family: Family) -> None:
    model, batch = family.model(), family.batch(2)
    visible = torch.ones(1, 1, 84, 84, dtype=torch.bool)
    visible[..., 56:] = False
    batch["pixel_attention_mask"] = visible
    stock = model(**batch).logits
    with prune(model, "fastervlm", 0.9999):
        assert torch.equal(model(**batch).logits, stock)
    with prune(model, "fastervlm", 6) as log:
        model(**batch)
    # What is masked receives no attention, so the last column of three tokens goes first.
    np.testing.assert_array_equal(log.kept[0], [0, 1, 3, 4, 6, 7])


@every_kind
def test_attention_is_recorded_token_by_token(family: Family) -> None:
    model, batch = family.model(), family.batch(2)
    with record(model, received=MeanReceived(), last=LastRow()) as log, torch.no_grad():
        model(**batch)
    assert log.last.shape == (1, 4, 4, 9)
    assert log.received.shape == (1, 3, 9)
