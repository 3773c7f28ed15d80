"""What `prune` refuses in every family of models, in a sentence each; the model is as it was afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from transformers import DynamicCache, StaticCache

from analysis.models import adapter_for
from analysis.pruning import prune
from analysis.pruning.pruners import UniformGrid

from .families import FAMILIES, Arguments, Family
from .left_alone import family_left_as_it_was

GREEDY: Arguments = {"max_new_tokens": 4, "do_sample": False}
KEEP = 3

pytestmark = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)


@pytest.fixture(autouse=True)
def models_are_left_as_they_were(family: Family) -> Iterator[None]:
    with family_left_as_it_was(family):
        yield


@pytest.mark.parametrize("keep", [0, 10_000])
def test_wrong_budget(family: Family, keep: int) -> None:
    model = family.model()
    with (
        pytest.raises(ValueError, match=r"`keep` must be in \[1, "),
        prune(model, UniformGrid(), keep),
    ):
        model(**family.batch(2))


def test_compact_ids_only_where_they_are_defined(family: Family) -> None:
    model = family.model()
    refused = pytest.raises(ValueError, match="must be 'keep' for a family whose tokens have ids of time, row and")
    outcome: Any = nullcontext() if adapter_for(model).position_axes == 1 else refused
    with outcome, prune(model, UniformGrid(), KEEP, position_ids="compact") as log:
        assert log.position_ids == "compact"


def test_features_that_are_not_finite(family: Family) -> None:
    model, batch = family.model(), family.batch(2)
    broken = batch | {"pixel_values": torch.full_like(batch["pixel_values"], torch.nan)}
    with prune(model, UniformGrid(), KEEP):
        expected = model.generate(**batch, **GREEDY)
        with pytest.raises(ValueError, match="`features` must be finite, got"):
            model.generate(**broken, **GREEDY)
        assert torch.equal(model.generate(**batch, **GREEDY), expected)


def test_static_caches(family: Family) -> None:
    model, batch = family.model(), family.batch(2)
    cache = StaticCache(config=model.config.get_text_config(), max_cache_len=256)
    with prune(model, UniformGrid(), KEEP):
        with pytest.raises(ValueError, match="static caches are not supported"):
            model(**batch, past_key_values=cache)
        with pytest.raises(ValueError, match="static caches are not supported"):
            model.generate(**batch, **GREEDY, cache_implementation="static", disable_compile=True)
        vars(model).pop("_previous_max_cache_length", None)  # the stock `generate` leaves it there


def test_packed_sequences(family: Family) -> None:
    model, batch = family.model(), family.batch(2)
    length = batch["input_ids"].shape[1]
    packed = batch | {"attention_mask": None, "position_ids": torch.arange(length)[None] % (length - 3)}
    refused = pytest.raises(ValueError, match="packed sequences are not supported")
    with prune(model, UniformGrid(), KEEP), refused:
        model(**packed)


def test_window_shorter_than_the_prompt(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    model, text = family.model(), family.model().config.get_text_config()
    monkeypatch.setattr(text, "sliding_window", 8, raising=False)
    monkeypatch.setattr(text, "layer_types", ["sliding_attention"] * 4, raising=False)
    refused = pytest.raises(ValueError, match="must fit into the sliding window of 8 while pruning")
    with prune(model, UniformGrid(), KEEP), refused:
        model(**family.batch(2))


@torch.no_grad()
def test_prompt_in_chunks(family: Family) -> None:
    model, batch = family.model(), family.batch(2)
    cache = DynamicCache(config=model.config.get_text_config())
    first = {name: value[:, :6] for name, value in batch.items() if value.shape == batch["input_ids"].shape}
    rest = batch | {name: batch[name][:, 6:] for name in first if name != "attention_mask"}
    with prune(model, UniformGrid(), KEEP):
        model(**first, past_key_values=cache)
        with pytest.raises(ValueError, match="images must come with the first tokens of a prompt"):
            model(**rest, past_key_values=cache)


@torch.no_grad()
def test_prompt_in_chunks_of_generate(family: Family) -> None:
    model, batch = family.model(), family.batch(2)
    length = batch["input_ids"].shape[1]
    refused = pytest.raises(ValueError, match=f"`prefill_chunk_size` must be None or at least {length}, .*, got 7")
    with prune(model, UniformGrid(), KEEP):
        with refused:
            model.generate(**batch, **GREEDY, prefill_chunk_size=7)
        whole = model.generate(**batch, **GREEDY)
        assert torch.equal(model.generate(**batch, **GREEDY, prefill_chunk_size=length), whole)


def test_labels(family: Family) -> None:
    model, batch = family.model(), family.batch(2)
    refused = pytest.raises(ValueError, match="`labels` cannot be aligned")
    with prune(model, UniformGrid(), KEEP), refused:
        model(**batch, labels=batch["input_ids"])
