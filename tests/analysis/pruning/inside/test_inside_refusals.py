"""Errors of pruners inside the language model and what they refuse; the model is as it was afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from transformers import StaticCache

from analysis.models import adapter_for
from analysis.pruning import prune
from analysis.pruning.inside import AbstractInnerPruner, Stage, StageEvidence
from analysis.pruning.pruners import FastV, Feather, PyramidDrop, SparseVLM
from solvers.arrays import IntArray

from ..families import FAMILIES, Arguments, Family
from ..left_alone import left_as_it_was
from .oracles import Drawn

GREEDY: Arguments = {"max_new_tokens": 4, "do_sample": False}
LOGITS: Arguments = GREEDY | {"output_logits": True, "return_dict_in_generate": True}
LLAVA = FAMILIES[0]
SOME = [family for family in FAMILIES if family.name in {"llava", "qwen2_vl", "qwen3_vl", "gemma3"}]
some_families = pytest.mark.parametrize("family", SOME, ids=lambda family: family.name)


@dataclass(frozen=True)
class Failing(AbstractInnerPruner):
    """Raises at its second stage."""

    name: ClassVar[str] = "failing"
    needs: ClassVar[frozenset[str]] = frozenset({"attention", "unrotated"})
    cite: ClassVar[str] = "test"

    def _stages(self, tokens: int, layers: int, keep: int) -> tuple[Stage, ...]:
        return Stage(1, keep + 1), Stage(3, keep)

    def _choose(self, evidence: StageEvidence, stage: Stage) -> IntArray:
        if stage.layer == 3:
            raise ZeroDivisionError("inside the pruner")
        return np.arange(stage.keep)


@some_families
def test_the_model_is_as_it_was_afterwards(family: Family) -> None:
    model, batch = family.model(), family.batch(0, 1, 2)
    stock = model.generate(**batch, **LOGITS)
    for entry in (PyramidDrop(), SparseVLM(), Feather()):
        with left_as_it_was(model), prune(model, entry, 3):
            assert not torch.equal(model.generate(**batch, **LOGITS).logits[0], stock.logits[0])
    again = model.generate(**batch, **LOGITS)
    assert all(torch.equal(a, b) for a, b in zip(again.logits, stock.logits, strict=True))


@some_families
def test_after_an_exception_everything_goes_on(family: Family) -> None:
    model, batch = family.model(), family.batch(0, 2)
    stock = model.generate(**batch, **LOGITS)
    with left_as_it_was(model), pytest.raises(ZeroDivisionError), prune(model, Failing(), 3):
        model.generate(**batch, **GREEDY)
    with left_as_it_was(model), prune(model, Failing(), 3):
        with pytest.raises(ZeroDivisionError, match="inside the pruner"):
            model(**batch)
        text = family.batch(1)
        model(**text)  # a prompt that is not pruned
    again = model.generate(**batch, **LOGITS)
    assert all(torch.equal(a, b) for a, b in zip(again.logits, stock.logits, strict=True))


@torch.no_grad()
def test_a_layer_that_fails_while_it_is_listened_to() -> None:
    model, batch = LLAVA.model(), LLAVA.batch(2)

    def fail(*_: Any) -> None:
        raise ZeroDivisionError("inside the layer")

    hook = adapter_for(model).text_layers(model)[1].mlp.register_forward_pre_hook(fail)
    try:
        with (
            left_as_it_was(model),
            pytest.raises(ZeroDivisionError, match="inside the layer"),
            prune(model, "fastv", 3),
        ):
            model(**batch)
    finally:
        hook.remove()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"keep": 0}, r"`keep` must be in \[1, 16\], got 0"),
        ({"keep": 17}, r"`keep` must be in \[1, 16\], got 17"),
        ({"keep": 2.5}, "`keep` must be an integer"),
        ({"pruner": FastV(layer=4)}, r"`layer` must be in \[1, 3\], got 4"),
        ({"pruner": FastV(budget="average")}, r"`keep` must be at least 8\.5 on average over 4 layers"),
    ],
)
def test_budgets_and_layers_that_cannot_be(options: Arguments, match: str) -> None:
    model = LLAVA.model()
    given = {"pruner": FastV(), "keep": 3} | options
    with left_as_it_was(model), pytest.raises(ValueError, match=match), prune(model, **given):
        model(**LLAVA.batch(2))


def test_evidence_that_does_not_exist() -> None:
    class Curious(Drawn):
        needs: ClassVar[frozenset[str]] = frozenset({"atention"})

    with pytest.raises(KeyError, match="unknown evidence 'atention'; did you mean 'attention'"):
        prune(LLAVA.model(), Curious(), 3).__enter__()


@torch.no_grad()
def test_states_that_are_not_finite() -> None:
    model, batch = LLAVA.model(), LLAVA.batch(2)
    broken = batch | {"pixel_values": torch.full_like(batch["pixel_values"], torch.nan)}
    with left_as_it_was(model), prune(model, FastV(), 3), pytest.raises(ValueError, match="`attention` must be finite"):
        model(**broken)


def test_what_pruning_cannot_follow() -> None:
    model, batch = LLAVA.model(), LLAVA.batch(2)
    cache = StaticCache(config=model.config.get_text_config(), max_cache_len=64)
    with left_as_it_was(model), prune(model, FastV(), 3):
        with pytest.raises(ValueError, match="`labels` cannot be aligned"):
            model(**batch, labels=batch["input_ids"])
        with pytest.raises(ValueError, match="static caches are not supported"):
            model(**batch, past_key_values=cache)
        with pytest.raises(ValueError, match="`prefill_chunk_size` must be None or at least"):
            model.generate(**batch, max_new_tokens=2, prefill_chunk_size=batch["input_ids"].shape[1] - 1)
        with pytest.raises(ValueError, match="nothing marks the image"):
            model(inputs_embeds=torch.zeros(1, 5, 64))


def test_images_that_were_encoded_elsewhere() -> None:
    model, batch = LLAVA.model(), LLAVA.batch(2)
    pixels = batch.pop("pixel_values")
    with torch.no_grad():
        encoded = model.base_model.get_image_features(pixel_values=pixels, return_dict=True)
    refused = pytest.raises(ValueError, match="must have been encoded inside the pruning context")
    with left_as_it_was(model), prune(model, FastV(), 3), refused:
        model(**batch, mm_encoder_outputs={"image": encoded})
