"""The PaliGemma adapter against the stock model's own outputs; masks that come from outside the language model."""

from __future__ import annotations

import pytest
import torch

from analysis.capture import LastRow, MeanReceived, record
from analysis.models import PaliGemmaAdapter, adapter_for
from analysis.pruning import prune

from ..pruning.families import FAMILIES, IMAGE, Arguments, Family
from .encoded import features_of

BY_NAME = {family.name: family for family in FAMILIES}
KINDS = ["paligemma", "paligemma2"]


@pytest.mark.parametrize("name", KINDS)
def test_parts(name: str) -> None:
    model = BY_NAME[name].model()
    adapter = adapter_for(model)
    assert isinstance(adapter, PaliGemmaAdapter)
    assert adapter.grid(model) == adapter.grid(model.base_model) == (4, 4)
    assert (len(adapter.vision_layers(model)), len(adapter.text_layers(model))) == (4, 4)
    assert adapter.image_token_id(model) == IMAGE
    assert adapter.embedding(model) is model.get_input_embeddings()


@torch.no_grad()
@pytest.mark.parametrize("name", KINDS)
def test_features_are_those_of_the_stock_forward(name: str) -> None:
    model, inputs = BY_NAME[name].model(), BY_NAME[name].images([[0, 1]])
    adapter = adapter_for(model)
    features = features_of(model, inputs)
    assert torch.equal(features, model.model.vision_tower(inputs["pixel_values"]).last_hidden_state)
    assert adapter.feature_layer(model) == 3
    stock = model.model.get_image_features(**inputs, return_dict=True).pooler_output
    assert torch.equal(adapter.project(model, features), stock)
    assert [layout.tokens for layout in adapter.layouts(model, inputs)] == [16, 16]


def test_other_towers_are_refused() -> None:
    reason = PaliGemmaAdapter().refusal({"vision_config": {"model_type": "clip_vision_model"}})
    assert reason == "its vision tower must be 'siglip_vision_model', got 'clip_vision_model'"


def test_attention_is_recorded() -> None:
    model, batch = BY_NAME["paligemma"].model(), BY_NAME["paligemma"].batch(2)
    with record(model, received=MeanReceived(), last=LastRow()) as log, torch.no_grad():
        model(**batch)
    assert log.received.shape == (1, 4, 16)
    assert log.last.shape == (1, 4, 4, 16)


def without_types(family: Family, *prompts: int) -> Arguments:
    """Arguments that leave it to the model who sees whom."""
    return {name: value for name, value in family.batch(*prompts).items() if name != "token_type_ids"}


@torch.no_grad()
@pytest.mark.parametrize("policy", ["keep", "compact"])
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("name", [*KINDS, "gemma3"])
def test_without_token_types_a_cache_changes_nothing(name: str, masked: bool, policy: str) -> None:
    """Ids with gaps and no cache must not be taken for packed sequences."""
    family = BY_NAME[name]
    given = without_types(family, 2) if masked else without_types(family, 2) | {"attention_mask": None}
    with prune(family.model(), "uniform_grid", 3, position_ids=policy):
        cached = family.model()(**given, use_cache=True).logits
        torch.testing.assert_close(family.model()(**given, use_cache=False).logits, cached)


@torch.no_grad()
@pytest.mark.parametrize("name", [*KINDS, "gemma3"])
def test_prompts_of_one_length_with_and_without_image(name: str) -> None:
    """Nothing is padding before pruning, so the stock model needs no mask; afterwards it does."""
    family, given = BY_NAME[name], without_types(BY_NAME[name], 2)
    words = torch.randint(5, 290, given["input_ids"].shape, generator=torch.Generator().manual_seed(0))
    both = {"input_ids": torch.cat([given["input_ids"], words]), "pixel_values": given["pixel_values"]}
    alone = family.model()(words).logits
    with prune(family.model(), "uniform_grid", 3):
        logits = family.model()(**both).logits
        pruned = family.model()(**given | {"attention_mask": None}).logits
    torch.testing.assert_close(logits[1:], alone, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(logits[:1, -pruned.shape[1] :], pruned, atol=1e-4, rtol=1e-4)
