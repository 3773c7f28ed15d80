"""The language model run layer by layer, written out apart from the hooks, and pruners whose choices are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from analysis.models import adapter_for
from analysis.pruning.inside import AbstractInnerPruner, Stage, StageEvidence
from solvers.arrays import IntArray

from ..families import IMAGE, Arguments


@dataclass(frozen=True)
class Drawn(AbstractInnerPruner):
    """Two stages, ahead of layers 1 and 3; tokens drawn by stage and by how many there are, not by what they hold."""

    name: ClassVar[str] = "drawn_inside"
    needs: ClassVar[frozenset[str]] = frozenset()
    cite: ClassVar[str] = "test"

    def _stages(self, tokens: int, layers: int, keep: int) -> tuple[Stage, ...]:
        return Stage(1, (tokens + keep) // 2), Stage(3, keep)

    def _choose(self, evidence: StageEvidence, stage: Stage) -> IntArray:
        return drawn(evidence.tokens, stage)


def drawn(tokens: int, stage: Stage) -> IntArray:
    return np.sort(np.random.default_rng([tokens, stage.layer]).choice(tokens, stage.keep, replace=False))


def places_left(tokens: int, keep: int) -> dict[int, IntArray]:
    """By layer of a stage, which visual tokens of a prompt `Drawn` leaves."""
    left = np.arange(tokens)
    after = {}
    for stage in Drawn().stages(tokens, 4, keep):
        if stage.keep < len(left):
            left = left[drawn(len(left), stage)]
        after[stage.layer] = left
    return after


@dataclass(frozen=True)
class Noting(AbstractInnerPruner):
    """Takes the first tokens, and keeps the evidence in `seen`."""

    wanted: frozenset[str] = frozenset()
    layers: tuple[int, ...] = (2,)
    seen: ClassVar[list[tuple[int, StageEvidence, dict[str, Any]]]] = []
    name: ClassVar[str] = "noting"
    cite: ClassVar[str] = "test"

    @property
    def needs(self) -> frozenset[str]:
        return self.wanted

    def _stages(self, tokens: int, layers: int, keep: int) -> tuple[Stage, ...]:
        return tuple(Stage(layer, keep + len(self.layers) - number) for number, layer in enumerate(self.layers, 1))

    def _choose(self, evidence: StageEvidence, stage: Stage) -> IntArray:
        self.seen.append((stage.layer, evidence, {name: getattr(evidence, name) for name in self.wanted}))
        return np.arange(evidence.tokens - stage.keep, evidence.tokens)


def layer_arguments(model: PreTrainedModel, batch: Arguments) -> tuple[Tensor, list[Arguments], Arguments]:
    """What the stock model gives its first layer, the other arguments of each layer, and those of the whole decoder."""
    adapter = adapter_for(model)
    first: list[Tensor] = []
    options: list[Arguments] = []
    whole: Arguments = {}

    def of_layer(_: Any, args: Any, given: Arguments) -> None:
        first.append(args[0] if args else given["hidden_states"])
        options.append({name: value for name, value in given.items() if name != "hidden_states"})

    hooks = [layer.register_forward_pre_hook(of_layer, with_kwargs=True) for layer in adapter.text_layers(model)]
    hooks.append(
        adapter.language_model(model).register_forward_pre_hook(
            lambda _, args, given: whole.update(given), with_kwargs=True
        )
    )
    try:
        with torch.no_grad():
            model(**batch, use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    return first[0], options, whole


@torch.no_grad()
def by_hand(
    model: PreTrainedModel,
    batch: Arguments,
    after: Mapping[int, IntArray],
    policy: str,
    image: Tensor | None = None,
    window: int | None = None,
) -> Tensor:
    """Logits [word, vocabulary] of one prompt without padding; from layer l on only `after[l]` of its visual tokens.

    `image` is where they are in the input of the first layer, bool [column]; None takes all placeholders.
    `window` is how many columns a layer with a sliding window sees, itself among them, of those it has.
    """
    adapter = adapter_for(model)
    language: Any = adapter.language_model(model)
    states, options, whole = layer_arguments(model, batch)
    image = batch["input_ids"][0] == IMAGE if image is None else image
    columns = torch.arange(len(image))
    for index, (layer, given) in enumerate(zip(adapter.text_layers(model), options, strict=True)):
        if index in after:
            gone = torch.ones(int(image.sum()), dtype=torch.bool)
            gone[torch.as_tensor(after[index])] = False
            stay = ~torch.isin(columns, image.nonzero()[:, 0][gone])
            states, columns = states[:, stay], columns[stay]
        mask, ids, turns = given["attention_mask"], given["position_ids"], given["position_embeddings"]
        if window is not None and layer.self_attn.sliding_window is not None:
            full = next(index for index, other in enumerate(language.layers) if not other.self_attn.sliding_window)
            mask = options[full]["attention_mask"]
        if mask is not None:
            mask = mask[:, :, columns][..., columns]
        if window is not None and layer.self_attn.sliding_window is not None:
            place = torch.arange(len(columns))
            mask = mask & (place[:, None] - place < window)
        if policy == "compact" and len(columns) < len(image):
            ids = ids[:, :1] + torch.arange(len(columns))
            kind = {"layer_type": layer.self_attn.layer_type} if isinstance_of_gemma3(language) else {}
            turns = language.rotary_emb(states, ids, **kind)
        else:
            ids = ids if ids is None else ids[..., columns]
            turns = tuple(part[:, columns] for part in turns)
        changed = {"attention_mask": mask, "position_ids": ids, "position_embeddings": turns}
        states = layer(states, **given | changed)
        levels = whole.get("deepstack_visual_embeds") or []
        if index < len(levels):
            visual = image[columns]
            left = torch.isin(image.nonzero()[:, 0], columns)
            states[0, visual] += levels[index][left]
    return model.get_output_embeddings()(language.norm(states))[0]


def isinstance_of_gemma3(language: Any) -> bool:
    return "Gemma3" in type(language).__name__


@torch.no_grad()
def hidden_instead(model: PreTrainedModel, batch: Arguments, after: Mapping[int, IntArray]) -> Tensor:
    """Logits [word, vocabulary] if from layer l on all but `after[l]` stay in their place, but nobody sees them."""
    adapter = adapter_for(model)
    image = batch["input_ids"][0] == IMAGE
    length = len(image)
    causal = torch.zeros(1, 1, length, length).masked_fill(torch.ones(length, length).triu(1).bool(), -torch.inf)
    gone = torch.zeros(length, dtype=torch.bool)
    hooks = []
    for index, layer in enumerate(adapter.text_layers(model)):
        if index in after:
            places = torch.ones(int(image.sum()), dtype=torch.bool)
            places[torch.as_tensor(after[index])] = False
            gone = gone.clone()
            gone[image.nonzero()[:, 0][places]] = True

        def hide(_: Any, args: Any, given: Arguments, gone: Tensor = gone) -> tuple[Any, Arguments]:
            mask = given["attention_mask"]
            if mask is None:
                mask = causal
            elif mask.dtype == torch.bool:
                mask = torch.zeros(mask.shape).masked_fill(~mask, -torch.inf)
            mask = mask.masked_fill(gone, torch.finfo(mask.dtype).min)
            return args, given | {"attention_mask": mask}

        hooks.append(layer.register_forward_pre_hook(hide, with_kwargs=True))
    try:
        logits: Tensor = model(**batch).logits[0]
    finally:
        for hook in hooks:
            hook.remove()
    return logits[~gone]
