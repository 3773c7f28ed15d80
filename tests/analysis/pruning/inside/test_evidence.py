"""What a pruner sees at a stage, against the model's own eager attention and its layers run apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from analysis.models import adapter_for
from analysis.pruning import prune
from analysis.pruning.inside import StageEvidence
from analysis.pruning.inside.evidence import AXES
from solvers import rules

from ..families import FAMILIES, IMAGE, Arguments, Family
from .oracles import Noting, layer_arguments

NEAR: dict[str, float] = {"atol": 2e-5, "rtol": 1e-4}
ATTENTION = frozenset({"attention", "text_attention", "upcoming"})
some_families = pytest.mark.parametrize(
    "family", [f for f in FAMILIES if f.name in {"llava", "qwen2_vl", "qwen3_vl", "gemma3"}], ids=lambda f: f.name
)


@pytest.fixture
def seen() -> Any:
    """What `Noting` has noted: per stage of a prompt its layer, its evidence, and the arrays asked for."""
    Noting.seen.clear()
    yield Noting.seen
    Noting.seen.clear()


@torch.no_grad()
def eager_weights(family: Family, run: Callable[[PreTrainedModel], Any]) -> list[Tensor]:
    """Attention weights of every layer [head, query, key] while `run` uses the eager model on one prompt."""
    model = family.model("eager")
    weights: list[Tensor] = []

    def after_attention(_: nn.Module, args: Any, output: Any) -> None:
        weights.append(output[1][0])

    hooks = [layer.self_attn.register_forward_hook(after_attention) for layer in adapter_for(model).text_layers(model)]
    try:
        run(model)
    finally:
        for hook in hooks:
            hook.remove()
    return weights


def columns_of(batch: Arguments) -> tuple[Tensor, Tensor]:
    """Columns of the visual tokens of the only prompt, and of the words behind its last image."""
    image = (batch["input_ids"][0] == IMAGE).nonzero()[:, 0]
    return image, torch.arange(int(image[-1]) + 1, batch["input_ids"].shape[1])


@some_families
@pytest.mark.parametrize("prompt", [2, 0])
def test_attention_is_that_of_eager_layers(family: Family, prompt: int, seen: Any) -> None:
    batch = family.batch(prompt)
    tokens, words = columns_of(batch)
    with torch.no_grad(), prune(family.model(), Noting(ATTENTION), 2):
        family.model()(**batch)
    ((layer, evidence, arrays),) = seen
    weights = eager_weights(family, lambda model: model(**batch))
    assert (layer, evidence.tokens, evidence.words, evidence.first) == (2, len(tokens), len(words), True)
    expected = {
        "attention": weights[1][:, -1].mean(0)[tokens],
        "text_attention": weights[1][:, words][..., tokens],
        "upcoming": weights[2][:, -1].mean(0)[tokens],
    }
    for name, value in expected.items():
        np.testing.assert_allclose(arrays[name], value, err_msg=name, **NEAR)


@some_families
def test_attention_at_a_second_stage_is_that_of_the_shorter_sequence(family: Family, seen: Any) -> None:
    batch, stages = family.batch(2), Noting(ATTENTION - {"upcoming"}, layers=(1, 3))
    with torch.no_grad(), prune(family.model(), stages, 2):
        family.model()(**batch)
    first, second = seen
    assert [entry[1].first for entry in (first, second)] == [True, False]

    def run(model: PreTrainedModel) -> None:
        with prune(model, stages, 2):
            model(**batch)

    weights = eager_weights(family, run)[2]
    words = second[1].words
    assert second[1].tokens == 3
    places = torch.arange(len(weights[0]) - words - 3, len(weights[0]) - words)  # `Noting` leaves the last three
    np.testing.assert_allclose(second[2]["attention"], weights[:, -1].mean(0)[places], **NEAR)
    np.testing.assert_allclose(second[2]["text_attention"], weights[:, -words:][..., places], **NEAR)


@torch.no_grad()
@some_families
def test_states_keys_and_embeddings(family: Family, seen: Any) -> None:
    model, batch = family.model(), family.batch(0)
    language: Any = adapter_for(model).language_model(model)
    tokens, words = columns_of(batch)
    wanted = frozenset(name for name in AXES if name.split("_")[-1] in ("hidden", "normed", "keys", "embeddings"))
    with prune(model, Noting(wanted), 2):
        model(**batch)
    ((_, _, arrays),) = seen
    inputs: list[Tensor] = []
    hooks = [
        layer.register_forward_pre_hook(lambda _, args: inputs.append(args[0][0]))
        for layer in adapter_for(model).text_layers(model)
    ]
    cache = model(**batch, use_cache=True).past_key_values
    for hook in hooks:
        hook.remove()
    of = {
        "hidden": inputs[2],
        "normed": language.norm(inputs[2]),
        "keys": cache.layers[1].keys[0].transpose(0, 1).flatten(1),
        "embeddings": inputs[0],
    }
    for name, states in of.items():
        np.testing.assert_allclose(arrays[name], states[tokens], err_msg=name, **NEAR)
        np.testing.assert_allclose(arrays[f"text_{name}"], states[words], err_msg=name, **NEAR)


@torch.no_grad()
def test_attention_without_rotary_embedding(seen: Any) -> None:
    family = FAMILIES[0]
    model, batch = family.model(), family.batch(2)
    tokens, words = columns_of(batch)
    with prune(model, Noting(frozenset({"unrotated", "rotary"})), 2):
        model(**batch)
    ((_, _, arrays),) = seen
    embeds, options, _ = layer_arguments(model, batch)
    layer: Any = adapter_for(model).text_layers(model)[1]
    states = adapter_for(model).text_layers(model)[0](embeds, **options[0])
    normed = layer.input_layernorm(states)[0]
    query = layer.self_attn.q_proj(normed[-1]).reshape(4, 16)
    key = layer.self_attn.k_proj(normed[tokens]).reshape(-1, 2, 16).repeat_interleave(2, 1)
    scores = torch.einsum("hd,thd->ht", query, key) / 4.0
    np.testing.assert_allclose(arrays["unrotated"], scores.softmax(-1).mean(0), **NEAR)
    frequencies = adapter_for(model).language_model(model).rotary_emb.inv_freq
    response = rules.rope_response(words.numpy(), tokens.numpy(), frequencies.numpy())
    np.testing.assert_allclose(arrays["rotary"], response, **NEAR)


@torch.no_grad()
def test_a_padded_batch_shows_what_its_prompts_show_alone(seen: Any) -> None:
    family = FAMILIES[0]
    wanted = frozenset(AXES)
    batch = family.batch(0, 1, 2)
    ids = (batch["attention_mask"].cumsum(1) - 1).clamp(min=0)  # keys hold absolute positions
    with prune(family.model(), Noting(wanted, layers=(1, 3)), 2):
        family.model()(**batch, position_ids=ids)
        together = list(seen)
        seen.clear()
        for prompt in (0, 2):
            family.model()(**family.batch(prompt))
    alone = sorted(seen, key=lambda entry: entry[0])
    assert [entry[0] for entry in together] == [entry[0] for entry in alone] == [1, 1, 3, 3]
    for (_, a, arrays), (_, b, expected) in zip(together, alone, strict=True):
        assert (a.tokens, a.words, a.grid, a.first) == (b.tokens, b.words, b.grid, b.first)
        for name in wanted - {"rotary"}:
            np.testing.assert_allclose(arrays[name], expected[name], err_msg=name, atol=1e-4, rtol=1e-3)
        np.testing.assert_allclose(arrays["rotary"], expected["rotary"], atol=1e-3)


@torch.no_grad()
def test_prompts_that_end_with_an_image(seen: Any) -> None:
    family = FAMILIES[0]
    own = torch.tensor([[1, 17, 18, *[IMAGE] * family.tokens(2)]])
    text = family.batch(1)["input_ids"]  # longer than the other once that is shortened
    ids = torch.cat([own, torch.nn.functional.pad(text, (own.shape[1] - text.shape[1], 0))])
    pixels = family.batch(2)["pixel_values"]
    batch = {"input_ids": ids, "attention_mask": (ids != 0).long(), "pixel_values": pixels}
    with prune(family.model(), Noting(frozenset({"attention", "text_hidden"}), layers=(1, 3)), 2):
        family.model()(**batch)
        together = list(seen)
        seen.clear()
        family.model()(input_ids=own, pixel_values=pixels)
    assert [(entry[0], entry[1].words) for entry in together] == [
        (1, 3),
        (3, 3),
    ]  # the words ahead of the image stand in for those behind it
    for (_, _, arrays), (_, _, expected) in zip(together, seen, strict=True):
        for name in ("attention", "text_hidden"):
            np.testing.assert_allclose(arrays[name], expected[name], err_msg=name, atol=1e-4, rtol=1e-3)


@torch.no_grad()
def test_only_what_is_needed_is_computed(seen: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    family = FAMILIES[0]
    calls: list[str] = []
    module: Any = __import__("analysis.pruning.inside.heard", fromlist=["call_of"])
    stock = module.call_of
    monkeypatch.setattr(module, "call_of", lambda *args, **options: (calls.append("asked"), stock(*args, **options))[1])
    for wanted, expected in ((set(), 0), ({"hidden"}, 0), ({"attention"}, 0), ({"upcoming"}, 1), ({"unrotated"}, 1)):
        calls.clear()
        with prune(family.model(), Noting(frozenset(wanted)), 2):
            family.model()(**family.batch(0, 1, 2))
        assert len(calls) == expected, wanted


# the container ------------------------------------------------------------


def test_grids() -> None:
    assert StageEvidence(6, 1, {}, (2, 3)).grid == (2, 3)
    with pytest.raises(ValueError, match=r"`grid` must hold 6 tokens, got \(2, 2\)"):
        StageEvidence(6, 1, {}, (2, 2))


def test_whole_pictures_have_a_grid(seen: Any) -> None:
    grids = {}
    for family in (FAMILIES[0], next(f for f in FAMILIES if f.name == "qwen2_vl"), FAMILIES[2]):
        for prompt in (0, 2):
            seen.clear()
            with torch.no_grad(), prune(family.model(), Noting(layers=(1, 3)), 2):
                family.model()(**family.batch(prompt))
            grids[family.name, prompt] = [entry[1].grid for entry in seen]
    assert grids["llava", 0] == [(8, 4), None]  # two pictures of four rows
    assert grids["llava", 2] == [(4, 4), None]
    assert grids["qwen2_vl", 0] == [(5, 3), None]
    assert grids["qwen2_vl", 2] == [(5, 4), None]
    assert grids["llava_next", 2] == [None, None]  # tiles and newlines


@pytest.mark.parametrize(
    ("makers", "match"),
    [
        ({}, "this stage has no `attention`: put it into the `needs` of the pruner"),
        ({"attention": lambda: [0.5, np.nan]}, "`attention` must be finite, got 1 NaN or infinite of 2 values"),
        ({"attention": lambda: [0.5, 0.5, 0.0]}, r"`attention` must have shape \[token\] with 2 tokens and 1 words"),
        ({"attention": lambda: [[0.5, 0.5]]}, r"`attention` must have shape \[token\] with 2 tokens .* got \(1, 2\)"),
    ],
)
def test_evidence_that_is_not_right(makers: Any, match: str) -> None:
    evidence = StageEvidence(2, 1, makers)
    with pytest.raises(ValueError, match=match):
        _ = evidence.attention


def test_evidence_is_computed_once() -> None:
    calls: list[int] = []
    evidence = StageEvidence(2, 1, {"attention": lambda: (calls.append(1), np.ones(2))[1]})
    assert not calls
    assert evidence.attention is evidence.attention
    assert len(calls) == 1


def test_containers_that_are_not_right() -> None:
    with pytest.raises(ValueError, match="`tokens` must be at least 1 and `words` 0, got 0 and 3"):
        StageEvidence(0, 3, {})
    with pytest.raises(KeyError, match="unknown evidence 'atention'; did you mean 'attention'"):
        StageEvidence(1, 3, {"atention": lambda: 1})
