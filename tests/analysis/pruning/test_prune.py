"""`prune` against the stock model, against the language model run by hand, and against itself."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BatchFeature

from analysis.models import Vlm
from analysis.pruning import PRUNERS, AbstractPruner, VisualTokens, encode_images, inputs, prune
from analysis.pruning.merger import AbstractMerger
from analysis.pruning.pruners import FasterVLM, Oracle, Random, VisPruner

ByHand = Callable[..., torch.Tensor]
policies = pytest.mark.parametrize("policy", ["keep", "compact"])
GREEDY: dict[str, Any] = {"max_new_tokens": 6, "do_sample": False}


def hooks_of(model: torch.nn.Module) -> int:
    return sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks) + len(module._forward_pre_hooks_with_kwargs)
        for module in model.modules()
    )


def selected(vlm: Vlm, batch: BatchFeature, pruner: AbstractPruner, keep: int, needed: Any = None) -> list[list[int]]:
    """Kept tokens per prompt, chosen outside `prune`."""
    kept = []
    for row, tokens in enumerate(encode_images(vlm, batch["pixel_values"], pruner.needs)):
        ids = batch["input_ids"][row : row + 1]
        words = inputs.question_mask(ids, 3, batch["attention_mask"][row : row + 1].bool())
        with torch.no_grad():
            asked = tokens.asked(vlm.adapter.embedding(vlm.model)(ids[words]).numpy())
        if needed is not None:
            asked = asked.with_needed(needed[row])
        kept.append(pruner.select(asked, keep).tolist())
    return kept


# keeping everything ------------------------------------------------------------


@torch.no_grad()
@policies
def test_keeping_all_is_the_stock_computation_to_the_bit(any_vlm: Vlm, left_padded: BatchFeature, policy: str) -> None:
    model, n = any_vlm.model, any_vlm.adapter.tokens(any_vlm.model)
    options = GREEDY | {"output_logits": True, "return_dict_in_generate": True}
    logits, stock = model(**left_padded).logits, model.generate(**left_padded, **options)
    with prune(any_vlm, VisPruner(), n, position_ids=policy):
        assert torch.equal(model(**left_padded).logits, logits)
        pruned = model.generate(**left_padded, **options)
    assert torch.equal(pruned.sequences, stock.sequences)
    assert all(torch.equal(a, b) for a, b in zip(pruned.logits, stock.logits, strict=True))


# against the language model run by hand ------------------------------------------------------------


@torch.no_grad()
@policies
@pytest.mark.parametrize(
    "entry", [entry for entry in PRUNERS if not (entry.inside or entry.merges)], ids=lambda entry: entry.name
)
def test_forward_equals_the_run_by_hand(
    any_vlm: Vlm, single_prompts: list[BatchFeature], by_hand: ByHand, entry: AbstractPruner, policy: str
) -> None:
    single, needed = single_prompts[1], [[1, 5]]
    kept = selected(any_vlm, single, entry, 7, needed)[0]
    with prune(any_vlm, entry, 7, position_ids=policy, needed=needed):
        logits = any_vlm.model(**single).logits[0]
    expected = by_hand(any_vlm, single, kept, policy)
    n = any_vlm.adapter.tokens(any_vlm.model)
    assert logits.shape[0] == single["input_ids"].shape[1] - n + len(kept)
    assert torch.equal(logits, expected)


@torch.no_grad()
@policies
@pytest.mark.parametrize(
    "entry", [entry for entry in PRUNERS if isinstance(entry, AbstractMerger)], ids=lambda entry: entry.name
)
def test_merged_forward_equals_the_run_by_hand(
    any_vlm: Vlm, single_prompts: list[BatchFeature], by_hand: ByHand, entry: AbstractMerger, policy: str
) -> None:
    single, base = single_prompts[1], any_vlm.model.model
    (tokens,) = encode_images(any_vlm, single["pixel_values"], entry.needs)
    words = inputs.question_mask(single["input_ids"], 3)
    asked = tokens.asked(any_vlm.adapter.embedding(any_vlm.model)(single["input_ids"][words]).numpy())
    made = entry.assign(asked, 9)
    made = made if policy == "compact" else made.in_index_order()
    merged = base.multi_modal_projector(torch.tensor(made.weights.toarray() @ tokens.features, dtype=torch.float32))
    with prune(any_vlm, entry, 9, position_ids=policy) as log:
        logits = any_vlm.model(**single).logits[0]
    assert log.kept[0].tolist() == made.indices.tolist()
    expected = by_hand(any_vlm, single, made.indices.tolist(), policy, visual=merged)
    torch.testing.assert_close(logits, expected, atol=2e-4, rtol=1e-4)


@torch.no_grad()
@policies
def test_generation_equals_decoding_by_hand_without_a_cache(
    any_vlm: Vlm, single_prompts: list[BatchFeature], by_hand: ByHand, policy: str
) -> None:
    single = single_prompts[0]
    kept = selected(any_vlm, single, VisPruner(), 9)[0]
    with prune(any_vlm, VisPruner(), 9, position_ids=policy):
        out = any_vlm.model.generate(**single, **GREEDY, output_logits=True, return_dict_in_generate=True)
    new = out.sequences[0, single["input_ids"].shape[1] :].tolist()
    for step in range(len(new)):
        expected = by_hand(any_vlm, single, kept, policy, new[:step])[-1]
        torch.testing.assert_close(out.logits[step][0], expected, atol=2e-4, rtol=1e-4)
        assert int(expected.argmax()) == new[step]


@torch.no_grad()
@policies
def test_assembled_inputs_are_those_of_prune(any_vlm: Vlm, single_prompts: list[BatchFeature], policy: str) -> None:
    single, adapter = single_prompts[2], any_vlm.adapter
    seen: dict[str, Any] = {}
    with prune(any_vlm, FasterVLM(), 5, position_ids=policy):
        hook = adapter.language_model(any_vlm.model).register_forward_pre_hook(
            lambda _, args, options: seen.update(options), with_kwargs=True
        )
        any_vlm.model(**single)
        hook.remove()
    encoded = encode_images(any_vlm, single["pixel_values"])
    before, after = inputs.split_prompt(single["input_ids"][0], 3, adapter.tokens(any_vlm.model))
    short = inputs.assemble(
        adapter.embedding(any_vlm.model),
        before,
        encoded.projected[0],
        after,
        FasterVLM().select(encoded[0], 5),
        inputs.checked_policy(policy),
    )
    assert torch.equal(seen["inputs_embeds"], short.embeds)
    assert torch.equal(seen["position_ids"], short.position_ids)
    assert seen["attention_mask"].all()


@torch.no_grad()
def test_policies_differ(any_vlm: Vlm, single_prompts: list[BatchFeature]) -> None:
    logits = []
    for policy in ("keep", "compact"):
        with prune(any_vlm, VisPruner(), 5, position_ids=policy):
            logits.append(any_vlm.model(**single_prompts[0]).logits)
    assert (logits[0] - logits[1]).abs().max() > 1e-2


# batches, beams, samples, caches ------------------------------------------------------------


@policies
@pytest.mark.parametrize("name", ["vispruner", "greedyprune", "random", "fopru_rows"])
def test_left_padded_batch_equals_single_prompts(
    any_vlm: Vlm, left_padded: BatchFeature, single_prompts: list[BatchFeature], name: str, policy: str
) -> None:
    model, length = any_vlm.model, left_padded["input_ids"].shape[1]
    with prune(any_vlm, name, 6, position_ids=policy):
        together = model.generate(**left_padded, **GREEDY, output_logits=True, return_dict_in_generate=True)
        for row, single in enumerate(single_prompts):
            alone = model.generate(**single, **GREEDY, output_logits=True, return_dict_in_generate=True)
            assert together.sequences[row, length:].tolist() == alone.sequences[0, -6:].tolist()
            for a, b in zip(together.logits, alone.logits, strict=True):
                torch.testing.assert_close(a[row], b[0], atol=2e-4, rtol=1e-4)


@policies
@pytest.mark.parametrize("name", ["vispruner", "cdpruner"])
def test_no_cache_equals_cache(any_vlm: Vlm, left_padded: BatchFeature, name: str, policy: str) -> None:
    with prune(any_vlm, name, 6, position_ids=policy):
        cached = any_vlm.model.generate(**left_padded, **GREEDY)
        assert torch.equal(any_vlm.model.generate(**left_padded, **GREEDY, use_cache=False), cached)


@policies
def test_prompt_lookup_equals_plain_decoding(any_vlm: Vlm, single_prompts: list[BatchFeature], policy: str) -> None:
    options = {"max_new_tokens": 12, "do_sample": False}
    with prune(any_vlm, VisPruner(), 6, position_ids=policy):
        plain = any_vlm.model.generate(**single_prompts[0], **options)
        looked_up = any_vlm.model.generate(**single_prompts[0], **options, prompt_lookup_num_tokens=3)
    assert torch.equal(plain, looked_up)


@pytest.mark.parametrize("name", ["vispruner", "greedyprune", "oracle"])
def test_beams_of_a_batch_equal_beams_of_single_prompts(
    any_vlm: Vlm, left_padded: BatchFeature, single_prompts: list[BatchFeature], name: str
) -> None:
    length, needed = left_padded["input_ids"].shape[1], [[1], [2, 3], [4]]
    with prune(any_vlm, name, 6, needed=needed):
        together = any_vlm.model.generate(**left_padded, **GREEDY, num_beams=3)
    for row, single in enumerate(single_prompts):
        with prune(any_vlm, name, 6, needed=[needed[row]]):
            alone = any_vlm.model.generate(**single, **GREEDY, num_beams=3)
        assert together[row, length:].tolist() == alone[0, single["input_ids"].shape[1] :].tolist()


def test_several_samples_per_prompt(any_vlm: Vlm, left_padded: BatchFeature) -> None:
    with prune(any_vlm, VisPruner(), 6):
        greedy = any_vlm.model.generate(**left_padded, **GREEDY)
        torch.manual_seed(0)
        cold = any_vlm.model.generate(
            **left_padded, max_new_tokens=6, do_sample=True, temperature=1e-4, num_return_sequences=2
        )
    assert torch.equal(cold[0::2], greedy)
    assert torch.equal(cold[1::2], greedy)


@torch.no_grad()
@policies
@pytest.mark.parametrize("with_ids", [True, False])
def test_decoding_step_by_step(
    any_vlm: Vlm, single_prompts: list[BatchFeature], by_hand: ByHand, policy: str, with_ids: bool
) -> None:
    single, model = single_prompts[1], any_vlm.model
    kept = selected(any_vlm, single, FasterVLM(), 4)[0]
    length = single["input_ids"].shape[1]
    with prune(any_vlm, FasterVLM(), 4, position_ids=policy):
        cache = model(**single, use_cache=True).past_key_values
        assert cache.get_seq_length() == length - any_vlm.adapter.tokens(model) + 4
        for step, word in enumerate([12, 9]):
            ids = {"position_ids": torch.tensor([[length + step]])} if with_ids else {}
            logits = model(input_ids=torch.tensor([[word]]), past_key_values=cache, **ids).logits
    expected = by_hand(any_vlm, single, kept, policy, [12, 9])[-1]
    torch.testing.assert_close(logits[0, -1], expected, atol=2e-4, rtol=1e-4)


@torch.no_grad()
def test_tuple_outputs_decode_too(any_vlm: Vlm, left_padded: BatchFeature) -> None:
    model = any_vlm.model
    mask = torch.cat([left_padded["attention_mask"], torch.ones(3, 1, dtype=torch.long)], 1)
    words = torch.full((3, 1), 9)
    with prune(any_vlm, FasterVLM(), 4):
        named = model(**left_padded, use_cache=True)
        plain = model(**left_padded, use_cache=True, return_dict=False)
        expected = model(input_ids=words, attention_mask=mask, past_key_values=named.past_key_values).logits
        logits = model(input_ids=words, attention_mask=mask, past_key_values=plain[1], return_dict=False)[0]
    assert torch.equal(logits, expected)


# the oracle, drawing pruners, other ways in ------------------------------------------------------------


def test_seed_reaches_the_pruner(any_vlm: Vlm, left_padded: BatchFeature) -> None:
    def run(seed: int) -> torch.Tensor:
        with torch.no_grad(), prune(any_vlm, Random(), 5, seed=seed):
            return any_vlm.model(**left_padded).logits

    assert torch.equal(run(0), run(0))
    assert not torch.equal(run(0), run(1))


def test_oracle_follows_its_ground_truth_in_a_batch(any_vlm: Vlm, left_padded: BatchFeature) -> None:
    seen: list[tuple[str, list[int]]] = []

    class Watched(Oracle):
        def _select(self, tokens: VisualTokens, keep: int) -> np.ndarray:
            kept = super()._select(tokens, keep)
            seen.append((tokens.key, kept.tolist()))
            return kept

    needed = [[3, 4], [9], [0, 15]]
    with torch.no_grad(), prune(any_vlm, Watched(), 4, needed=needed):
        any_vlm.model(**left_padded)
    keys = [tokens.key for tokens in encode_images(any_vlm, left_padded["pixel_values"])]
    assert [key for key, _ in seen] == keys
    assert all(set(truth) <= set(kept) for truth, (_, kept) in zip(needed, seen, strict=True))


def test_unaware_pruners_choose_once_per_image_and_aware_ones_once_per_prompt(
    any_vlm: Vlm, left_padded: BatchFeature
) -> None:
    calls: list[str] = []

    class Counted(FasterVLM):
        def _select(self, tokens: VisualTokens, keep: int) -> np.ndarray:
            calls.append(tokens.key)
            return super()._select(tokens, keep)

    with prune(any_vlm, Counted(), 4):
        any_vlm.model.generate(**left_padded, **GREEDY, num_beams=2, use_cache=False)
    assert len(calls) == 3


def test_bare_model_and_pruner_name(any_vlm: Vlm, left_padded: BatchFeature) -> None:
    with prune(any_vlm, VisPruner(), 5):
        expected = any_vlm.model.generate(**left_padded, **GREEDY)
    with prune(any_vlm.model, "vispruner", 5):
        assert torch.equal(any_vlm.model.generate(**left_padded, **GREEDY), expected)


@torch.no_grad()
def test_text_only_prompts_pass_through(any_vlm: Vlm) -> None:
    ids = torch.tensor([[1, 4, 9, 12, 5]])
    logits, generated = any_vlm.model(input_ids=ids).logits, any_vlm.model.generate(ids, **GREEDY)
    with prune(any_vlm, VisPruner(), 5):
        assert torch.equal(any_vlm.model(input_ids=ids).logits, logits)
        assert torch.equal(any_vlm.model.generate(ids, **GREEDY), generated)


def test_selection_keeps_no_graph_but_gradients_flow_through_kept_tokens(
    any_vlm: Vlm, single_prompts: list[BatchFeature]
) -> None:
    model = copy.deepcopy(any_vlm.model)
    with prune(model, VisPruner(), 5):
        model(**single_prompts[0]).logits.sum().backward()
    assert model.model.multi_modal_projector.linear_1.weight.grad.abs().sum() > 0


@torch.no_grad()
def test_half_precision_runs(any_vlm: Vlm, left_padded: BatchFeature) -> None:
    model = copy.deepcopy(any_vlm.model).to(torch.bfloat16)
    batch = {**left_padded, "pixel_values": left_padded["pixel_values"].bfloat16()}
    with prune(model, VisPruner(), 5):
        logits = model(**batch).logits
    assert logits.dtype == torch.bfloat16
    assert logits.isfinite().all()


# leaving the model as it was ------------------------------------------------------------


def test_model_is_as_it_was_afterwards(any_vlm: Vlm, left_padded: BatchFeature) -> None:
    model = any_vlm.model
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    attributes = {name: set(vars(module)) for name, module in model.named_modules()}
    config, hooks = model.config.to_dict(), hooks_of(model)
    expected = model.generate(**left_padded, **GREEDY)
    with prune(any_vlm, VisPruner(), 5):
        assert hooks_of(model) > hooks
        assert not torch.equal(model.generate(**left_padded, **GREEDY), expected)
    assert hooks_of(model) == hooks
    assert {name: set(vars(module)) for name, module in model.named_modules()} == attributes
    assert model.config.to_dict() == config
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert torch.equal(model.generate(**left_padded, **GREEDY), expected)


def test_model_is_as_it_was_after_an_exception_in_a_pruner(any_vlm: Vlm, left_padded: BatchFeature) -> None:
    class Broken(FasterVLM):
        def _select(self, tokens: VisualTokens, keep: int) -> np.ndarray:
            raise ZeroDivisionError("inside the pruner")

    model, hooks = any_vlm.model, hooks_of(any_vlm.model)
    expected = model.generate(**left_padded, **GREEDY)
    with pytest.raises(ZeroDivisionError, match="inside the pruner"), prune(any_vlm, Broken(), 5):
        model.generate(**left_padded, **GREEDY)
    assert hooks_of(model) == hooks
    assert torch.equal(model.generate(**left_padded, **GREEDY), expected)
    with prune(any_vlm, VisPruner(), 5):  # and it can be pruned again
        model.generate(**left_padded, **GREEDY)


def test_a_failed_call_does_not_spoil_the_next(any_vlm: Vlm, left_padded: BatchFeature) -> None:
    model = any_vlm.model
    broken = {**left_padded, "pixel_values": torch.full_like(left_padded["pixel_values"], torch.nan)}
    with prune(any_vlm, VisPruner(), 5):
        expected = model.generate(**left_padded, **GREEDY)
        with pytest.raises(ValueError, match="`features` must be finite, got"):
            model.generate(**broken, **GREEDY)
        assert torch.equal(model.generate(**left_padded, **GREEDY), expected)
