"""`prune` with pruners inside the language model: other pruners around it, ends of prompts, merging, caches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from analysis.models import adapter_for
from analysis.pruning import prune
from analysis.pruning.inside import Stage, StageEvidence
from analysis.pruning.pruners import FastV, PyramidDrop, Random, SparseVLM, UniformGrid
from solvers.arrays import IntArray

from ..families import FAMILIES, IMAGE, Arguments, Family
from ..left_alone import left_as_it_was
from .oracles import Drawn, by_hand, layer_arguments, places_left

GREEDY: Arguments = {"max_new_tokens": 4, "do_sample": False}
LOGITS: Arguments = GREEDY | {"output_logits": True, "return_dict_in_generate": True}
CLOSE: dict[str, float] = {"atol": 1e-4, "rtol": 1e-4}
LLAVA = FAMILIES[0]
SOME = [family for family in FAMILIES if family.name in {"llava", "qwen2_vl", "qwen3_vl", "gemma3"}]
some_families = pytest.mark.parametrize("family", SOME, ids=lambda family: family.name)


# together with a pruner ahead of the language model ------------------------------------------------------------


@torch.no_grad()
@some_families
def test_an_inner_pruner_counts_what_the_outer_one_has_left(family: Family) -> None:
    model, batch = family.model(), family.batch(2)
    length, tokens = batch["input_ids"].shape[1], family.tokens(2)
    with prune(model, UniformGrid(), 8, position_ids="keep") as outer, prune(model, Drawn(), 3) as inner:
        logits = model(**batch).logits[0]
    assert len(logits) == length - tokens + 3
    np.testing.assert_array_equal(inner.kept[0], outer.kept[0])
    assert inner.visual_tokens.tolist() == outer.visual_tokens.tolist() == [[8, 5, 5, 3]]
    left = batch["input_ids"][0] != IMAGE
    left[(~left).nonzero()[:, 0][torch.as_tensor(outer.kept[0])]] = True
    image = batch["input_ids"][0, left] == IMAGE
    with prune(model, UniformGrid(), 8, position_ids="keep"):
        expected = by_hand(model, batch, places_left(8, 3), "keep", image)
    torch.testing.assert_close(logits, expected, **CLOSE)


@pytest.mark.parametrize("policies", [("keep", "keep"), ("compact", "keep"), ("keep", "compact"), ("compact",) * 2])
@pytest.mark.parametrize("name", ["drawn", "pyramiddrop", "sparsevlm"])
def test_two_pruners_in_either_order_in_batches_without_a_cache(policies: tuple[str, str], name: str) -> None:
    model, batch = LLAVA.model(), LLAVA.batch(0, 1, 2)
    inner = Drawn() if name == "drawn" else name

    def run(*, swapped: bool, prompts: Arguments, **options: Any) -> Any:
        contexts = [
            lambda: prune(model, UniformGrid(), 9, position_ids=policies[0]),
            lambda: prune(model, inner, 4, position_ids=policies[1]),
        ]
        first, second = reversed(contexts) if swapped else contexts
        with first(), second():
            return model.generate(**prompts, **LOGITS, **options)

    expected = run(swapped=False, prompts=batch)
    for other in (run(swapped=True, prompts=batch), run(swapped=False, prompts=batch, use_cache=False)):
        for a, b in zip(other.logits, expected.logits, strict=True):
            torch.testing.assert_close(a, b, **CLOSE)
    for row in range(3):
        alone = run(swapped=False, prompts=LLAVA.batch(row))
        for a, b in zip(expected.logits, alone.logits, strict=True):
            torch.testing.assert_close(a[row], b[0], **CLOSE)


def test_one_pruner_of_a_kind() -> None:
    model = LLAVA.model()
    match = "pruned already inside its language model"
    with left_as_it_was(model), prune(model, FastV(), 3):
        with pytest.raises(RuntimeError, match=match), prune(model, PyramidDrop(), 3):
            pass
        with prune(model, Random(), 5), pytest.raises(RuntimeError, match=match), prune(model, FastV(), 3):
            pass


def test_a_budget_that_the_outer_pruner_has_left_too_few_for() -> None:
    model = LLAVA.model()
    with (
        left_as_it_was(model),
        prune(model, Random(), 3),
        prune(model, FastV(), 5),
        pytest.raises(ValueError, match=r"image 0: `keep` must be in \[1, 3\], got 5"),
    ):
        model(**LLAVA.batch(2))


# where a prompt ends ------------------------------------------------------------


@torch.no_grad()
@some_families
@pytest.mark.parametrize("name", ["fastv", "pyramiddrop", "feather", "sparsevlm_plus", "greedyprune_inside"])
def test_an_answer_to_be_scored_is_no_part_of_the_prompt(family: Family, name: str) -> None:
    model, answer = family.model(), [17, 18, 19]
    prompts = [family.batch(row) for row in (0, 2)]
    with prune(model, name, 3):
        written = family.batch(0, 2, words=answer)
        logits = model(**written, logits_to_keep=len(answer) + 1).logits
        for row, prompt in enumerate(prompts):
            out = model(**prompt, use_cache=True)
            cache, length = out.past_key_values, prompt["input_ids"].shape[1]
            expected = [out.logits[0, -1]]
            for step, token in enumerate(answer):
                ids = torch.tensor([[token]])
                positions = torch.tensor([[length + step]])
                if adapter_for(model).position_axes > 1:
                    positions = model.base_model.compute_3d_position_ids(
                        input_ids=ids, inputs_embeds=ids[..., None], past_key_values=cache
                    )
                more = {"token_type_ids": torch.zeros_like(ids)} if family.name == "gemma3" else {}
                expected.append(
                    model(
                        input_ids=ids,
                        past_key_values=cache,
                        position_ids=positions,
                        attention_mask=torch.ones(1, length + step + 1, dtype=torch.long),
                        **more,
                    ).logits[0, -1]
                )
            torch.testing.assert_close(logits[row], torch.stack(expected), atol=1e-3, rtol=1e-3)


@torch.no_grad()
def test_padding_behind_the_answers_goes_first() -> None:
    model = LLAVA.model()
    long, short = LLAVA.batch(2, words=[17, 18, 19]), LLAVA.batch(2, words=[17])
    padded = dict(long)
    padded["input_ids"] = torch.cat([long["input_ids"], torch.nn.functional.pad(short["input_ids"], (0, 2))])
    padded["attention_mask"] = torch.cat(
        [long["attention_mask"], torch.nn.functional.pad(short["attention_mask"], (0, 2))]
    )
    padded["pixel_values"] = torch.cat([long["pixel_values"]] * 2)
    with prune(model, FastV(), 3):
        logits = model(**padded, logits_to_keep=4).logits
        alone = model(**short, logits_to_keep=2).logits
        torch.testing.assert_close(logits[0], model(**long, logits_to_keep=4).logits[0], **CLOSE)
    torch.testing.assert_close(logits[1, -2:], alone[0], **CLOSE)


@torch.no_grad()
def test_all_logits_of_a_prompt_asked_for_by_number() -> None:
    model, batch = LLAVA.model(), LLAVA.batch(2)
    with prune(model, FastV(), 3):
        plain = model(**batch).logits
        assert torch.equal(model(**batch, logits_to_keep=batch["input_ids"].shape[1]).logits, plain)


# merging ------------------------------------------------------------


@torch.no_grad()
def test_merged_tokens_against_layers_run_by_hand() -> None:
    model, batch = LLAVA.model(), LLAVA.batch(2)
    image = batch["input_ids"][0] == IMAGE
    seen: list[tuple[Stage, IntArray, IntArray]] = []

    class Watched(SparseVLM):
        def _clusters(self, evidence: StageEvidence, stage: Stage, kept: IntArray) -> IntArray:
            seen.append((stage, kept, super()._clusters(evidence, stage, kept)))
            return seen[-1][2]

    with prune(model, Watched(), 5) as log:
        logits = model(**batch).logits[0]
    language: Any = adapter_for(model).language_model(model)
    states, options, _ = layer_arguments(model, batch)
    stages = {stage.layer: (kept, labels) for stage, kept, labels in seen}
    assert len(stages) > 1
    for index, (layer, given) in enumerate(zip(language.layers, options, strict=True)):
        if index in stages:
            kept, labels = (torch.as_tensor(part) for part in stages[index])
            visual = states[0, image]
            dropped = torch.ones(len(visual), dtype=torch.bool)
            dropped[kept] = False
            means = [visual[dropped][labels == label].mean(0) for label in range(int(labels.max()) + 1)]
            first = int(image.nonzero()[0, 0])
            before, after = states[0, :first], states[0, first + len(visual) :]
            states = torch.cat([before, visual[kept], torch.stack(means), after])[None]
            image = torch.zeros(states.shape[1], dtype=torch.bool)
            image[first : first + len(kept) + len(means)] = True
        ids = torch.arange(states.shape[1])[None]
        turns = language.rotary_emb(states, ids)
        states = layer(states, **given | {"position_ids": ids, "position_embeddings": turns})
    torch.testing.assert_close(logits, model.get_output_embeddings()(language.norm(states))[0], **CLOSE)
    assert int(image.sum()) == log.visual_tokens[0, -1] == 5


# caches ------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("policy", ["keep", "compact"])
def test_a_cache_can_be_continued_token_by_token(policy: str) -> None:
    model, batch = LLAVA.model(), LLAVA.batch(2)
    words, after = [17, 18, 19, 20], places_left(LLAVA.tokens(2), 3)
    expected = by_hand(model, LLAVA.batch(2, words=words), after, policy)
    with prune(model, Drawn(), 3, position_ids=policy):
        out = model(**batch, use_cache=True)
        logits = [model(torch.tensor([[word]]), past_key_values=out.past_key_values).logits[0, -1] for word in words]
        again = model(**batch, use_cache=True)
        together = model(torch.tensor([words]), past_key_values=again.past_key_values).logits[0]
    torch.testing.assert_close(torch.stack(logits), expected[-4:], **CLOSE)
    torch.testing.assert_close(together, expected[-4:], **CLOSE)


@torch.no_grad()
def test_padding_while_decoding_is_not_seen() -> None:
    model, batch = LLAVA.model(), LLAVA.batch(2)
    length = batch["input_ids"].shape[1]
    ids = torch.tensor([[length - 1, length]])
    with prune(model, Drawn(), 3):
        cache = model(**batch, use_cache=True).past_key_values
        mask = torch.tensor([[1] * length + [0, 1]])
        padded = model(torch.tensor([[0, 17]]), past_key_values=cache, attention_mask=mask, position_ids=ids).logits
        cache = model(**batch, use_cache=True).past_key_values
        plain = model(torch.tensor([[17]]), past_key_values=cache, position_ids=ids[:, 1:]).logits
    torch.testing.assert_close(padded[0, -1], plain[0, -1], **CLOSE)


@torch.no_grad()
def test_a_cache_cropped_to_one_length_for_all_layers() -> None:
    model, batch = LLAVA.model(), LLAVA.batch(2)
    with left_as_it_was(model), prune(model, Drawn(), 3):
        cache = model(**batch, use_cache=True).past_key_values
        model(torch.tensor([[17, 18, 19]]), past_key_values=cache)
        cache.layers[0].keys = cache.layers[0].keys[:, :, :-2]
        cache.layers[0].values = cache.layers[0].values[:, :, :-2]
        with pytest.raises(
            ValueError, match="all layers of the cache must hold the same tokens behind the prompt, got"
        ):
            model(torch.tensor([[17]]), past_key_values=cache)


@torch.no_grad()
def test_windows_that_prompts_fit_into_but_answers_outgrow(monkeypatch: pytest.MonkeyPatch) -> None:
    family = next(f for f in FAMILIES if f.name == "gemma3")
    model, batch = family.model(), family.batch(2)
    length, after = batch["input_ids"].shape[1], places_left(family.tokens(2), 3)
    wide = [layer.self_attn for layer in adapter_for(model).text_layers(model) if layer.self_attn.sliding_window]
    assert len(wide) == 2
    words = 6

    def logits_at(window: int) -> tuple[Tensor, Tensor]:
        monkeypatch.setattr(model.config.get_text_config(), "sliding_window", window)
        for attention in wide:
            monkeypatch.setattr(attention, "sliding_window", window)
        with prune(model, Drawn(), 3, position_ids="keep"):
            out = model.generate(**batch, **LOGITS | {"max_new_tokens": words})
        new = out.sequences[0, length:].tolist()
        expected = by_hand(model, family.batch(2, words=new[:-1]), after, "keep", window=window)
        torch.testing.assert_close(torch.cat(out.logits), expected[-words:], **CLOSE)
        return out.logits[-1], expected

    # Outgrown by the first layer at once, by the shorter ones a little later.
    narrow, full = logits_at(length), logits_at(512)
    assert not torch.allclose(narrow[0], full[0], atol=1e-3)


def test_choices_are_made_anew_for_another_image() -> None:
    model, batch = LLAVA.model(), LLAVA.batch(2)
    other = batch | {"pixel_values": -batch["pixel_values"]}

    def run(arguments: Arguments) -> Any:
        return model.generate(**arguments, **LOGITS, use_cache=False)

    with prune(model, FastV(layer=1), 3):
        results = [run(batch), run(other), run(batch)]
    with prune(model, FastV(layer=1), 3):
        fresh = run(other)
    assert all(torch.equal(a, b) for a, b in zip(results[0].logits, results[2].logits, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(results[1].logits, fresh.logits, strict=True))
