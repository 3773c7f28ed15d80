"""Pruning of visual tokens beside the prompt (Mllama), against the stock model and against hiding them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel, StaticCache

from analysis.models import adapter_for
from analysis.pruning import PRUNERS, AbstractPruner, VisualTokens, prune
from analysis.pruning.inside import AbstractInnerPruner
from analysis.pruning.pruners import CDPruner, FoPruRows, Pooling, Random

from . import beside
from .beside import CROSS, PROMPTS, ROOM, SELF, STATES, batch, tiles_of
from .families import Arguments
from .left_alone import state_of

GREEDY: Arguments = {"max_new_tokens": 4, "do_sample": False}
LOGITS: Arguments = GREEDY | {"output_logits": True, "return_dict_in_generate": True}
CLOSE: dict[str, float] = {"atol": 1e-4, "rtol": 1e-4}
KEEP = 5
ALL = 0.9999

every_attention = pytest.mark.parametrize("attention", ["sdpa", "eager"])
every_separator = pytest.mark.parametrize("separators", ["drop", "keep"])


class Drawn(AbstractPruner):
    """Tokens drawn by the content of the features."""

    name: ClassVar[str] = "drawn"
    needs: ClassVar[frozenset[str]] = frozenset({"features"})
    cite: ClassVar[str] = "test"

    def _select(self, tokens: VisualTokens, keep: int) -> np.ndarray:
        return np.sort(np.argsort(np.cos(1e3 * tokens.features[:, 0]), kind="stable")[:keep])


@contextmanager
def hidden(model: PreTrainedModel, kept: list[np.ndarray]) -> Iterator[None]:
    """All states stay in their place, but nobody sees those that are not kept."""

    def hide(_: nn.Module, args: tuple[Any, ...], options: Arguments) -> tuple[tuple[Any, ...], Arguments]:
        mask: Tensor = options["cross_attention_mask"]
        gone = torch.ones(len(kept), mask.shape[-1], dtype=torch.bool)
        for row, places in enumerate(kept):
            gone[row, places] = False
        lowest = torch.finfo(mask.dtype).min
        return args, options | {"cross_attention_mask": mask.masked_fill(gone[:, None, None], lowest)}

    hook = adapter_for(model).language_model(model).register_forward_pre_hook(hide, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()


@torch.no_grad()
@every_attention
@pytest.mark.parametrize("prompts", [(1,), (0, 1)], ids=["one", "batch"])
def test_keeping_all_is_the_stock_computation_to_the_bit(attention: str, prompts: tuple[int, ...]) -> None:
    model, given = beside.model(attention), batch(*prompts)
    logits, stock = model(**given).logits, model.generate(**given, **LOGITS)
    with prune(model, Drawn(), ALL) as log:
        assert torch.equal(model(**given).logits, logits)
        pruned = model.generate(**given, **LOGITS)
        assert [len(kept) for kept in log.kept] == [ROOM * STATES * len(PROMPTS[row]) for row in prompts]
    assert torch.equal(pruned.sequences, stock.sequences)
    assert all(torch.equal(a, b) for a, b in zip(pruned.logits, stock.logits, strict=True))


@torch.no_grad()
@every_attention
@every_separator
@pytest.mark.parametrize("prompts", [(0,), (0, 1)], ids=["one", "batch"])
def test_pruning_equals_hiding_the_other_tokens(attention: str, separators: str, prompts: tuple[int, ...]) -> None:
    model, given = beside.model(attention), batch(*prompts)
    stock = model(**given).logits
    with prune(model, Drawn(), KEEP, separators=separators) as log:
        logits, pruned = model(**given).logits, model.generate(**given, **LOGITS)
    with hidden(model, log.kept):
        torch.testing.assert_close(logits, model(**given).logits, **CLOSE)
        expected = model.generate(**given, **LOGITS)
    assert (logits - stock).abs().max() > 0.01
    assert torch.equal(pruned.sequences, expected.sequences)
    for a, b in zip(pruned.logits, expected.logits, strict=True):
        torch.testing.assert_close(a, b, **CLOSE)


@torch.no_grad()
@every_separator
def test_what_stays_of_an_image(separators: str) -> None:
    model = beside.model()
    with prune(model, Drawn(), KEEP, separators=separators) as log:
        model(**batch(0, 1))
    for row, kept in zip((0, 1), log.kept, strict=True):
        for number, image in enumerate(PROMPTS[row]):
            own = kept[(kept >= ROOM * STATES * number) & (kept < ROOM * STATES * (number + 1))] % (ROOM * STATES)
            shown = (own % STATES > 0) & (own // STATES < tiles_of(image))
            assert shown.sum() == KEEP
            rest = ROOM * STATES - tiles_of(image) * (STATES - 1)
            assert (~shown).sum() == (rest if separators == "keep" else 0)


@torch.no_grad()
def test_layers_that_attend_to_images_hold_what_is_left_and_text_keeps_its_length() -> None:
    model, given = beside.model(), batch(0, 1)
    with prune(model, Drawn(), KEEP) as log:
        out = model(**given, use_cache=True)
    length = given["input_ids"].shape[1]
    assert out.logits.shape[1] == length
    held = [layer.keys.shape[2] for layer in out.past_key_values.layers]
    assert [held[layer] for layer in CROSS] == [2 * KEEP] * 2
    assert [held[layer] for layer in SELF] == [length] * 3
    expected = np.zeros((2, 5), dtype=np.int64)
    expected[:, CROSS] = [[2 * KEEP], [KEEP]]
    np.testing.assert_array_equal(log.visual_tokens, expected)
    assert log.position_ids == "keep"


@torch.no_grad()
def test_cached_decoding_equals_no_cache() -> None:
    model, given = beside.model(), batch(0)
    with prune(model, CDPruner(), KEEP) as log:
        cached = model.generate(**given, **LOGITS)
        kept = log.kept[0]
        uncached = model.generate(**given, **LOGITS, use_cache=False)
        np.testing.assert_array_equal(log.kept[0], kept)
    assert torch.equal(cached.sequences, uncached.sequences)
    for a, b in zip(cached.logits, uncached.logits, strict=True):
        torch.testing.assert_close(a, b, **CLOSE)


def test_ragged_batch_equals_its_prompts_alone() -> None:
    model = beside.model()
    with prune(model, Drawn(), KEEP):
        together = model.generate(**batch(0, 1), **LOGITS)
        for row in (0, 1):
            alone = model.generate(**batch(row), **LOGITS)
            for a, b in zip(together.logits, alone.logits, strict=True):
                torch.testing.assert_close(a[row], b[0], **CLOSE)


def test_beams_and_several_samples_per_prompt() -> None:
    model, given = beside.model(), batch(0, 1)
    with prune(model, Drawn(), KEEP):
        together = model.generate(**given, **GREEDY, num_beams=3)
        for row in (0, 1):
            assert together[row, -4:].tolist() == model.generate(**batch(row), **GREEDY, num_beams=3)[0, -4:].tolist()
        greedy = model.generate(**given, **GREEDY)
        cold = {"do_sample": True, "temperature": 1e-4, "num_return_sequences": 2, "max_new_tokens": 4}
        assert torch.equal(model.generate(**given, **cold), greedy.repeat_interleave(2, 0))


@torch.no_grad()
def test_text_only_prompts_pass_through() -> None:
    model, given = beside.model(), batch(2)
    logits, generated = model(**given).logits, model.generate(**given, **GREEDY)
    with prune(model, Drawn(), KEEP):
        assert torch.equal(model(**given).logits, logits)
        assert torch.equal(model.generate(**given, **GREEDY), generated)


@torch.no_grad()
def test_labels_and_base_model() -> None:
    model, given = beside.model(), batch(0)
    with prune(model, Drawn(), KEEP):
        out = model(**given, labels=given["input_ids"])
    with prune(model.base_model, Drawn(), KEEP):
        states = model.base_model(**given).last_hidden_state
    assert torch.equal(model.lm_head(states), out.logits)
    assert out.loss.isfinite()


@torch.no_grad()
def test_a_longer_prompt_is_asked_anew() -> None:
    model, longer = beside.model(), batch(0, words=(7, 9))
    with prune(model, CDPruner(), KEEP) as log:
        model(**longer)
        expected = log.kept[0]
        model(**batch(0))
        model(**longer)
    np.testing.assert_array_equal(log.kept[0], expected)


@torch.no_grad()
@pytest.mark.parametrize("entry", PRUNERS, ids=lambda entry: entry.name)
def test_every_pruner_runs(entry: AbstractPruner) -> None:
    model, given = beside.model(), batch(0)
    if isinstance(entry, AbstractInnerPruner):
        with pytest.raises(ValueError, match="'mllama' family keeps beside it"), prune(model, entry, KEEP):
            model(**given)
        return
    if entry.in_encoder:
        with pytest.raises(ValueError, match="needs pictures of one size"), prune(model, entry, KEEP):
            model(**given)
        return
    with prune(model, entry, KEEP, needed=[[0]]) as log:
        logits = model(**given).logits
    assert logits.isfinite().all()
    if not isinstance(entry, FoPruRows | Pooling):  # whole rows, a whole grid
        assert len(log.kept[0]) == 2 * KEEP


class Broken(Drawn):
    """Raises, in the second image."""

    def _select(self, tokens: VisualTokens, keep: int) -> np.ndarray:
        if tokens.at is None:
            raise ZeroDivisionError("inside the pruner")
        return super()._select(tokens, keep)


def test_model_is_as_it_was_afterwards() -> None:
    model, given = beside.model(), batch(0, 1)
    before, expected = state_of(model), model.generate(**given, **LOGITS)
    with prune(model, Drawn(), KEEP):
        assert not torch.equal(model.generate(**given, **LOGITS).logits[0], expected.logits[0])
    with prune(model, Broken(), KEEP), pytest.raises(ZeroDivisionError, match="inside the pruner"):
        model.generate(**given, **LOGITS)
    assert state_of(model) == before
    again = model.generate(**given, **LOGITS)
    assert all(torch.equal(a, b) for a, b in zip(again.logits, expected.logits, strict=True))


def test_refusals() -> None:
    model, given = beside.model(), batch(0)
    embeds = model.get_input_embeddings()(given["input_ids"])
    rest = {name: value for name, value in given.items() if name != "input_ids"}
    long = {name: torch.cat([given[name]] * 2, 1) for name in ("input_ids", "attention_mask", "cross_attention_mask")}
    with prune(model, Drawn(), KEEP), torch.no_grad():
        with pytest.raises(ValueError, match=r"every prompt of a batch with images must hold one .* none in prompt 1"):
            model(**batch(0, 2))
        with pytest.raises(ValueError, match="got `inputs_embeds`: nothing tells the question"):
            model(**rest, inputs_embeds=embeds)
        with pytest.raises(ValueError, match=r"`attention_mask` must be \[prompt, column\] while pruning"):
            model(**given | {"attention_mask": given["attention_mask"][:, None, None]})
        with pytest.raises(ValueError, match="`cross_attention_states` must be left to the model"):
            model(input_ids=given["input_ids"], cross_attention_states=torch.zeros(8, STATES, 64))
        with pytest.raises(ValueError, match="`cross_attention_mask` must be given while pruning"):
            model(**given | {"cross_attention_mask": None})
        with pytest.raises(ValueError, match="`aspect_ratio_ids` must have its padding last"):
            model(**given | {"aspect_ratio_ids": torch.tensor([[0, 1]])})
        with pytest.raises(ValueError, match="`features` must be finite"):
            model(**given | {"pixel_values": torch.full_like(given["pixel_values"], torch.nan)})
        with pytest.raises(ValueError, match="static caches are not supported"):
            model(**given, past_key_values=StaticCache(config=model.config.get_text_config(), max_cache_len=64))
        cache = DynamicCache(config=model.config.get_text_config())
        model(**given, past_key_values=cache)
        with pytest.raises(ValueError, match="images must come with the first tokens"):
            model(**given | long, past_key_values=cache)
    with pytest.raises(ValueError, match="`position_ids` must be 'keep' for a family whose tokens have no ids"):
        prune(model, Random(), KEEP, position_ids="compact").__enter__()
    with prune(model, Drawn(), 17), pytest.raises(ValueError, match=r"image 0: `keep` must be in \[1, 16\], got 17"):
        model(**batch(1))
