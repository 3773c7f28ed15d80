"""Pruning inside the language model on every family: against layers run by hand, against hiding, against itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from analysis.models import adapter_for
from analysis.pruning import PRUNERS, prune
from analysis.pruning.inside import AbstractInnerPruner

from ..families import FAMILIES, IMAGE, PROMPTS, Arguments, Family
from .oracles import Drawn, by_hand, hidden_instead, places_left

GREEDY: Arguments = {"max_new_tokens": 4, "do_sample": False}
LOGITS: Arguments = GREEDY | {"output_logits": True, "return_dict_in_generate": True}
CLOSE: dict[str, float] = {"atol": 1e-4, "rtol": 1e-4}
BATCH = (0, 1, 2)
KEEP = 3
ALL = 0.9999
INSIDE = [entry for entry in PRUNERS if entry.inside]

pytestmark = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
every_attention = pytest.mark.parametrize("attention", ["sdpa", "eager"])
every_policy = pytest.mark.parametrize("policy", ["keep", "compact"])


def skip_if_not_defined(family: Family, policy: str) -> None:
    if policy == "compact" and adapter_for(family.model()).position_axes > 1:
        pytest.skip("tokens have ids of time, row and column")


@torch.no_grad()
@every_attention
@pytest.mark.parametrize("prompts", [(2,), BATCH], ids=["one", "batch"])
def test_keeping_all_is_the_stock_computation_to_the_bit(
    family: Family, attention: str, prompts: tuple[int, ...]
) -> None:
    model, batch = family.model(attention), family.batch(*prompts)
    logits, stock = model(**batch).logits, model.generate(**batch, **LOGITS)
    for name in ("fastv", "pyramiddrop", "feather"):
        with prune(model, name, ALL) as log:
            assert torch.equal(model(**batch).logits, logits)
            pruned = model.generate(**batch, **LOGITS)
        assert log.visual_tokens.tolist() == [[n] * 4 for n in (batch["input_ids"] == IMAGE).sum(1).tolist()]
        assert torch.equal(pruned.sequences, stock.sequences)
        assert all(torch.equal(a, b) for a, b in zip(pruned.logits, stock.logits, strict=True))


@torch.no_grad()
@every_attention
@every_policy
def test_two_stages_equal_layers_run_by_hand(family: Family, attention: str, policy: str) -> None:
    skip_if_not_defined(family, policy)
    model, batch, tokens = family.model(attention), family.batch(2), family.tokens(2)
    with prune(model, Drawn(), KEEP, position_ids=policy) as log:
        logits = model(**batch).logits[0]
    assert log.visual_tokens.tolist() == [[tokens, *[(tokens + KEEP) // 2] * 2, KEEP]]
    assert torch.equal(logits, by_hand(model, batch, places_left(tokens, KEEP), policy))


@torch.no_grad()
def test_pruning_equals_hiding_what_is_gone(family: Family) -> None:
    model, batch = family.model(), family.batch(2)
    with prune(model, Drawn(), KEEP, position_ids="keep"):
        logits = model(**batch).logits[0]
    expected = hidden_instead(model, batch, places_left(family.tokens(2), KEEP))
    torch.testing.assert_close(logits, expected, **CLOSE)


@torch.no_grad()
@every_policy
def test_cached_decoding_equals_no_cache(family: Family, policy: str) -> None:
    skip_if_not_defined(family, policy)
    model, batch = family.model(), family.batch(2)
    with prune(model, Drawn(), KEEP, position_ids=policy):
        out = model.generate(**batch, **LOGITS)
    new = out.sequences[0, batch["input_ids"].shape[1] :].tolist()
    after = places_left(family.tokens(2), KEEP)
    for step, logits in enumerate(out.logits):
        expected = by_hand(model, family.batch(2, words=new[:step]), after, policy)[-1]
        torch.testing.assert_close(logits[0], expected, **CLOSE)


@every_policy
def test_ragged_batch_equals_its_prompts_alone(family: Family, policy: str) -> None:
    skip_if_not_defined(family, policy)
    model, batch = family.model(), family.batch(*BATCH)
    with prune(model, Drawn(), KEEP, position_ids=policy):
        together = model.generate(**batch, **LOGITS)
        for row, prompt in enumerate(BATCH):
            alone = model.generate(**family.batch(prompt), **LOGITS)
            for a, b in zip(together.logits, alone.logits, strict=True):
                torch.testing.assert_close(a[row], b[0], **CLOSE)


@torch.no_grad()
def test_every_layer_holds_what_is_left(family: Family) -> None:
    model, batch = family.model(), family.batch(*BATCH)
    with prune(model, Drawn(), KEEP) as log:
        cache = model(**batch, use_cache=True).past_key_values
    tokens = [sum(map(family.tokens, PROMPTS[prompt])) for prompt in BATCH]
    words = [len(family.prompt(prompt)) - count for prompt, count in zip(BATCH, tokens, strict=True)]
    keeps = [KEEP * len(PROMPTS[prompt]) for prompt in BATCH]
    left = [[n, *[(n + keep) // 2] * 2, keep] for n, keep in zip(tokens, keeps, strict=True)]
    assert log.visual_tokens.tolist() == left
    np.testing.assert_allclose(log.average, np.mean(left, axis=1))
    longest = (np.array(left) + np.array(words)[:, None]).max(0)
    assert [layer.keys.shape[2] for layer in cache.layers] == longest.tolist()


def test_ways_to_decode(family: Family) -> None:
    model, batch = family.model(), family.batch(*BATCH)
    cold = {"do_sample": True, "temperature": 1e-4, "num_return_sequences": 2, "max_new_tokens": 4}
    with prune(model, "fastv", KEEP):
        plain = model.generate(**batch, **GREEDY)
        assert torch.equal(model.generate(**batch, **cold), plain.repeat_interleave(2, 0))
        beams = model.generate(**batch, **GREEDY, num_beams=3)
        for row, prompt in enumerate(BATCH):
            alone = family.batch(prompt)
            assert beams[row, -4:].tolist() == model.generate(**alone, **GREEDY, num_beams=3)[0, -4:].tolist()
            looked_up = model.generate(**alone, **GREEDY, prompt_lookup_num_tokens=3)
            assert looked_up[0, -4:].tolist() == plain[row, -4:].tolist()
        if family.cacheless:
            assert torch.equal(model.generate(**batch, **GREEDY, use_cache=False), plain)


@torch.no_grad()
@pytest.mark.parametrize("entry", INSIDE, ids=lambda entry: entry.name)
def test_every_inner_pruner_runs_in_a_batch_as_alone(family: Family, entry: AbstractInnerPruner) -> None:
    model, batch = family.model(), family.batch(*BATCH)
    once = LOGITS | {"max_new_tokens": 1}
    with prune(model, entry, KEEP) as log:
        together = model.generate(**batch, **once)
        assert log.visual_tokens[:, -1].tolist() == [KEEP * len(PROMPTS[prompt]) for prompt in BATCH]
        assert log.position_ids == (entry.position_ids if adapter_for(model).position_axes == 1 else "keep")
        for row, prompt in enumerate(BATCH):
            alone = model.generate(**family.batch(prompt), **once)
            for a, b in zip(together.logits, alone.logits, strict=True):
                torch.testing.assert_close(a[row], b[0], **CLOSE)
