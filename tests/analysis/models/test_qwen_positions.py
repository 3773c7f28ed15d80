"""Qwen2-VL, Qwen2.5-VL and Qwen3-VL: ids of time, row and column while pruning."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from analysis.models import adapter_for
from analysis.pruning import prune
from analysis.pruning.pruners import UniformGrid

from ..pruning.families import FAMILIES, IMAGE, Family

QWEN = {family.name: family for family in FAMILIES if family.name in {"qwen2_vl", "qwen2_5_vl", "qwen3_vl"}}
GREEDY: dict[str, Any] = {"max_new_tokens": 3, "do_sample": False}


@pytest.fixture(params=QWEN)
def family(request: pytest.FixtureRequest) -> Family:
    return QWEN[request.param]


@pytest.fixture
def model(family: Family) -> PreTrainedModel:
    return family.model()


@contextmanager
def positions(model: PreTrainedModel) -> Iterator[list[Tensor]]:
    seen: list[Tensor] = []
    language: Any = adapter_for(model).language_model(model)
    hook = language.register_forward_pre_hook(
        lambda _, args, options: seen.append(options["position_ids"]), with_kwargs=True
    )
    try:
        yield seen
    finally:
        hook.remove()


def test_kept_tokens_and_written_ones_keep_their_ids(family: Family, model: PreTrainedModel) -> None:
    batch = family.batch(2)
    with positions(model) as stock:
        model.generate(**batch, **GREEDY)
    with prune(model, UniformGrid(), 3) as log, positions(model) as pruned:
        model.generate(**batch, **GREEDY)
    image = batch["input_ids"][0] == IMAGE
    stay = ~image
    stay[image.nonzero()[:, 0][log.kept[0]]] = True
    assert stock[0].shape[0] == pruned[0].shape[0] == 4  # text, time, row, column
    assert torch.equal(pruned[0], stock[0][:, :, stay])
    assert len(stock) == len(pruned) == 3
    assert all(torch.equal(a, b) for a, b in zip(stock[1:], pruned[1:], strict=True))


@torch.no_grad()
def test_decoding_by_hand_with_ids(family: Family, model: PreTrainedModel) -> None:
    """After a plain forward pass the ids of a step have three axes: time, row and column."""
    batch = family.batch(2)
    with positions(model) as seen:
        model(**batch)
    following = seen[0][:, :, -1:] + 1
    with prune(model, UniformGrid(), 3):
        out = model.generate(**batch, **GREEDY, output_logits=True, return_dict_in_generate=True)
        first = model(**batch, use_cache=True)
        counted = following - (family.tokens(2) - 3)  # from the length of the pruned prompt
        with pytest.raises(ValueError, match="cannot be continued by counting them"):
            model(input_ids=out.sequences[:, -3:-2], past_key_values=first.past_key_values, position_ids=counted)
        step = model(input_ids=out.sequences[:, -3:-2], past_key_values=first.past_key_values, position_ids=following)
    torch.testing.assert_close(first.logits[:, -1], out.logits[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(step.logits[:, -1], out.logits[1], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_decoding_by_hand_without_ids_is_refused(family: Family, model: PreTrainedModel) -> None:
    with prune(model, UniformGrid(), 3):
        out = model(**family.batch(2), use_cache=True)
        with pytest.raises(ValueError, match="`position_ids` must be given to continue a pruned prompt"):
            model(input_ids=torch.tensor([[7]]), past_key_values=out.past_key_values)


@pytest.mark.parametrize("again", [(), ("image_grid_thw",)])
def test_a_pruned_cache_cannot_be_generated_on(family: Family, model: PreTrainedModel, again: tuple[str, ...]) -> None:
    batch = family.batch(2)
    with prune(model, UniformGrid(), 3):
        out = model.generate(**batch, **GREEDY, return_dict_in_generate=True)
        ids = torch.cat([out.sequences, torch.tensor([[7, 8]])], 1)
        more = {name: batch[name] for name in again} | {"mm_token_type_ids": (ids == IMAGE).int()}
        with pytest.raises(ValueError, match="that was filled while pruning cannot be continued by counting them"):
            model.generate(
                ids, attention_mask=torch.ones_like(ids), past_key_values=out.past_key_values, **more, **GREEDY
            )


def test_packed_prompts(family: Family, model: PreTrainedModel) -> None:
    """Ids of four axes, of which the first counts the text."""
    batch = family.batch(2)
    with positions(model) as seen:
        model.generate(**batch, max_new_tokens=1, do_sample=False)
    packed = seen[0].clone()
    packed[0, :, -4:] -= packed[0, :, -4:].min()
    given = batch | {"attention_mask": None, "position_ids": packed}
    with prune(model, UniformGrid(), 3), pytest.raises(ValueError, match="packed sequences are not supported"):
        model(**given)
