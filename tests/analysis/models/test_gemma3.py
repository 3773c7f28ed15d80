"""The Gemma 3 adapter against the stock model's own outputs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from analysis.capture import LastRow, MeanReceived, record
from analysis.models import Gemma3Adapter, adapter_for
from analysis.pruning import prune

from ..pruning.families import FAMILIES, IMAGE, Family
from .encoded import features_of

FAMILY: Family = next(family for family in FAMILIES if family.name == "gemma3")


def averages(values: Tensor) -> Tensor:
    """Means over two by two of six by six patches [image, 36, dim] -> [image, 9, dim]."""
    return values.reshape(-1, 3, 2, 3, 2, values.shape[-1]).mean((2, 4)).flatten(1, 2)


def test_parts() -> None:
    model = FAMILY.model()
    adapter = adapter_for(model)
    assert isinstance(adapter, Gemma3Adapter)
    assert adapter.grid(model) == adapter.grid(model.base_model) == (3, 3)
    assert (len(adapter.vision_layers(model)), len(adapter.text_layers(model))) == (4, 4)
    assert adapter.image_token_id(model) == IMAGE
    assert adapter.embedding(model) is model.get_input_embeddings()


@torch.no_grad()
def test_features_are_averages_over_the_patches_of_a_token() -> None:
    model, inputs = FAMILY.model(), FAMILY.images([[0, 1]])
    adapter = adapter_for(model)
    patches = model.model.vision_tower(inputs["pixel_values"]).last_hidden_state
    features = features_of(model, inputs)
    torch.testing.assert_close(features, averages(patches))
    stock = model.model.get_image_features(**inputs, return_dict=True).pooler_output
    assert stock.abs().max() > 0.01
    torch.testing.assert_close(adapter.project(model, features), stock, atol=1e-5, rtol=1e-4)
    assert [layout.tokens for layout in adapter.layouts(model, inputs)] == [len(image) for image in stock] == [9, 9]


def test_values_of_patches_are_averaged_by_token() -> None:
    model = FAMILY.model()
    values = torch.randn(2, 36, 5, generator=torch.Generator().manual_seed(0))
    tokens = adapter_for(model).tokens_of_patches(model, list(values), {})
    torch.testing.assert_close(torch.stack(tokens), averages(values))


def test_patches_that_no_square_of_tokens_covers_are_refused() -> None:
    adapter = Gemma3Adapter()
    vision = {"image_size": 84, "patch_size": 14}
    assert adapter.refusal({"vision_config": vision, "mm_tokens_per_image": 9}) is None
    reason = adapter.refusal({"vision_config": vision, "mm_tokens_per_image": 16})
    assert reason == "the patches along a side must be a multiple of the 4 tokens, got 6"


def test_prompts_longer_than_the_window_are_refused() -> None:
    model = FAMILY.model()
    words = torch.full((1, 600), 7)
    batch = FAMILY.batch(2)
    longer = torch.cat([words, batch["input_ids"]], 1)
    refused = pytest.raises(ValueError, match="must fit into the sliding window of 512 while pruning")
    with prune(model, "uniform_grid", 3), refused:
        model(input_ids=longer, pixel_values=batch["pixel_values"], token_type_ids=(longer == IMAGE).long())


def test_attention_is_recorded_token_by_token() -> None:
    model, batch = FAMILY.model(), FAMILY.batch(2)
    with record(model, received=MeanReceived(heads=True), last=LastRow()) as log, torch.no_grad():
        model(**batch)
    assert log.last.shape == log.received.shape == (1, 4, 4, 9)
