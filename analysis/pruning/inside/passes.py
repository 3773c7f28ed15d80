"""One forward of the language model, layer by layer: a batch of prompts that is shortened, or a step of decoding."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from analysis.capture.attention_call import AttentionCall, listening
from solvers.arrays import IntArray
from solvers.rules import Stage

from ..arguments import Options
from ..inputs import PositionPolicy, take
from .batch import Batch
from .heard import ASKED_AHEAD, FROM_PREVIOUS, Heard, LayerInput
from .packing import Choice, Packing, prefill_mask, step_mask
from .stage import AbstractInnerPruner

Choices = dict[int, list[Choice | None]]
"""By layer, what each prompt keeps of the visual tokens that are still there; None is everything."""


@dataclass(frozen=True, eq=False)
class Shorter:
    """The prompts from a layer on: which keys are no padding [prompt, key], and what ids are too large by [prompt]."""

    layer: int
    shown: Tensor
    shift: Tensor | None


@dataclass(frozen=True)
class Side:
    """What both kinds of pass know.

    Attributes
    ----------
    language_model
        The decoder without its head.
    policy
        Position ids after a stage.
    causal
        Whether merged tokens see no later one, as in a language model whose masks are its own.
    """

    language_model: PreTrainedModel
    policy: PositionPolicy
    causal: bool

    @property
    def implementation(self) -> str | None:
        name: str | None = self.language_model.config._attn_implementation
        return name

    def rotary(self, layer: nn.Module, states: Tensor, ids: Tensor) -> Any:
        """Cosines and sines of position ids, as the language model itself computes them."""
        embedding: Any = self.language_model.rotary_emb
        options: Options = {"position_ids": ids}
        if "layer_type" in inspect.signature(embedding.forward).parameters:
            options["layer_type"] = getattr(layer.self_attn, "layer_type", None)
        return embedding(states, **options)


class PrefillPass:
    """A batch of prompts on its way through the layers.

    Parameters
    ----------
    side
        The model.
    pruner
        What chooses.
    batch
        The prompts.
    plan
        Per prompt, its stages.
    known
        Choices made for the same prompts before, or None.
    changed
        Told of the layer of a stage, and of the visual tokens that each prompt has from there on.
    """

    def __init__(
        self,
        side: Side,
        pruner: AbstractInnerPruner,
        batch: Batch,
        plan: Sequence[tuple[Stage, ...]],
        *,
        known: Choices | None,
        changed: Callable[[int, IntArray], None],
    ) -> None:
        self._side, self._pruner, self._batch, self._changed = side, pruner, batch, changed
        self._needs = pruner.checked_needs()
        self._known = known
        self._plan = [{stage.layer: stage for stage in stages} for stages in plan]
        self._left = [len(own) for own in batch.places]
        self._packing = batch.packing
        self._memo = _Memo()
        self._ears = ExitStack()
        self._embeddings: Tensor | None = None
        self._previous: LayerInput | None = None
        self._call: AttentionCall | None = None
        self.choices: Choices = {}
        self.shorter: list[Shorter] = []

    def close(self) -> None:
        """Listen no more."""
        self._ears.close()

    @property
    def packing(self) -> Packing | None:
        """Where the columns are now, or None before the first stage that dropped something."""
        return self._packing if self.shorter else None

    def before_layer(
        self, index: int, layer: nn.Module, args: tuple[Any, ...], options: Options
    ) -> tuple[tuple[Any, ...], Options] | None:
        """Arguments of the layer, or None to leave them."""
        self.close()
        states: Tensor = args[0] if args else options["hidden_states"]
        if self._embeddings is None:
            self._embeddings = states
        here = self._stages_at(index)
        if here:
            entry = LayerInput(layer, states, self._adapted(layer, states, options))
            states = self._shorten(index, here, entry, options.get("position_ids"))
        adapted = self._adapted(layer, states, options)
        if self._known is None and self._stages_at(index + 1):
            self._prepare(LayerInput(layer, states, adapted))
        if not self.shorter:
            return None
        return ((states, *args[1:]), adapted) if args else ((), adapted | {"hidden_states": states})

    def _stages_at(self, index: int) -> dict[int, Stage]:
        """By prompt, the stage at a layer if it drops something."""
        planned = {row: stages[index] for row, stages in enumerate(self._plan) if index in stages}
        return {row: stage for row, stage in planned.items() if stage.keep < self._left[row]}

    def _prepare(self, entry: LayerInput) -> None:
        """Take down of the layer ahead of a stage what the pruner will ask for."""
        if self._needs & ASKED_AHEAD:
            self._previous = entry
        if self._needs & FROM_PREVIOUS:
            attention = entry.layer.self_attn

            def hear(module: nn.Module, call: AttentionCall) -> None:
                if module is attention:
                    self._call = call

            self._ears.enter_context(listening(hear))

    def _shorten(self, index: int, here: dict[int, Stage], entry: LayerInput, ids: Tensor | None) -> Tensor:
        """The states that stay at a stage; `ids` are position ids as the first layer has them."""
        chosen = self._known[index] if self._known is not None else self._chosen(here, entry)
        self.choices[index] = chosen
        states, packing = self._packing.shortened(entry.states, chosen)
        self._packing, self._memo, self._previous, self._call = packing, _Memo(), None, None
        for row, choice in enumerate(chosen):
            if choice is not None:
                merged = 0 if choice.clusters is None else int(choice.clusters.max()) + 1
                self._left[row] = len(choice.kept) + merged
        shift = None
        if self._side.policy == "compact":
            last = take(self._whole_ids(ids), packing.columns[:, -1:], 1)
            shift = (last - self._renumbered(ids)[:, -1:])[:, 0]
        self.shorter.append(Shorter(index, packing.shown, shift))
        self._changed(index, np.array(self._left, dtype=np.int64))
        return states

    @torch.no_grad()
    def _chosen(self, here: dict[int, Stage], entry: LayerInput) -> list[Choice | None]:
        packing, batch = self._packing, self._batch
        assert self._embeddings is not None
        norm: Any = self._side.language_model.norm
        behind = packing.shown & (packing.columns <= batch.last[:, None])
        heard = Heard(
            packing=packing,
            words=take(batch.words, packing.sources, 1) & packing.shown,
            last=behind.shape[1] - 1 - behind.flip(1).to(torch.int8).argmax(1),
            upcoming=entry,
            previous=self._previous,
            call=self._call,
            embeddings=self._embeddings,
            entered=batch.packing,
            norm=norm,
            first=not self.shorter,
        )
        chosen: list[Choice | None] = [None] * len(self._plan)
        for row, evidence in heard.of_prompts(here, self._needs, self._grid).items():
            kept = self._pruner.choose(evidence, here[row])
            merges = here[row].merged and len(kept) < evidence.tokens
            chosen[row] = Choice(kept, self._pruner.clusters(evidence, here[row], kept) if merges else None)
        return chosen

    def _grid(self, row: int) -> tuple[int, int] | None:
        return None if self.shorter else self._batch.grid(row)

    def _adapted(self, layer: nn.Module, states: Tensor, options: Options) -> Options:
        """The arguments of a layer by name, for the sequence as it is now."""
        if not self.shorter:
            return options
        packing, memo = self._packing, self._memo
        mask, ids, turns = options.get("attention_mask"), options.get("position_ids"), options["position_embeddings"]
        changed: Options = {
            "attention_mask": memo.of(
                "mask",
                mask,
                lambda: prefill_mask(mask, packing, states.dtype, self._side.implementation, causal=self._side.causal),
            )
        }
        if self._side.policy == "compact":
            changed["position_ids"] = memo.of("ids", ids, lambda: self._renumbered(ids))
            changed["position_embeddings"] = memo.of(
                "turns", turns, lambda: self._side.rotary(layer, states, changed["position_ids"])
            )
        else:
            if ids is not None:
                changed["position_ids"] = memo.of("ids", ids, lambda: take(ids, packing.sources, ids.ndim - 1))
            changed["position_embeddings"] = memo.of(
                "turns", turns, lambda: tuple(take(part, packing.sources, part.ndim - 2) for part in turns)
            )
        return options | changed

    def _renumbered(self, ids: Tensor | None) -> Tensor:
        """Consecutive position ids, from that of the first token of each prompt on."""
        whole, shown = self._batch.packing.shown, self._packing.shown
        first = take(self._whole_ids(ids), whole.to(torch.int8).argmax(1, keepdim=True), 1)
        return (shown.long().cumsum(1) - 1 + first).masked_fill(~shown, 0)

    def _whole_ids(self, ids: Tensor | None) -> Tensor:
        columns = self._batch.packing.shown
        return torch.arange(columns.shape[1], device=columns.device)[None] if ids is None else ids


class StepPass:
    """Tokens that follow prompts which were shortened.

    Parameters
    ----------
    side
        The model.
    shorter
        What the prefill did.
    length
        Columns of the prompts in the first layer.
    mask
        bool [prompt, column] up to the newest token, False on padding; or None.
    """

    def __init__(self, side: Side, shorter: Sequence[Shorter], length: int, mask: Tensor | None) -> None:
        self._side, self._shorter, self._length, self._mask = side, shorter, length, mask
        self._memo: dict[tuple[Any, ...], Any] = {}

    def before_layer(
        self, index: int, layer: nn.Module, args: tuple[Any, ...], options: Options
    ) -> tuple[tuple[Any, ...], Options] | None:
        """Arguments of the layer, or None to leave them.

        Raises
        ------
        ValueError
            If the layers of the cache have got out of step.
        """
        prompt = next((entry for entry in reversed(self._shorter) if entry.layer <= index), None)
        if prompt is None:
            return None
        states: Tensor = args[0] if args else options["hidden_states"]
        cache, steps = options["past_key_values"], states.shape[1]
        keys = cache.get_seq_length(index) + steps
        new = keys - prompt.shown.shape[1]
        if new != cache.get_seq_length(0) - self._length:  # the first layer has taken the newest tokens in already
            raise ValueError(
                f"all layers of the cache must hold the same tokens behind the prompt, got {new} in layer {index} and "
                f"{cache.get_seq_length(0) - self._length} in the first: it was cropped to one length for all"
            )
        window = getattr(layer.self_attn, "sliding_window", None) or getattr(
            cache.layers[index], "sliding_window", None
        )
        length = int(cache.get_mask_sizes(steps, index)[0])
        key = (prompt.layer, window, length)
        if key not in self._memo:
            shown = torch.cat([prompt.shown, self._tail(prompt.shown, new)], 1)
            self._memo[key] = step_mask(
                shown,
                steps,
                window=window,
                length=length,
                dtype=states.dtype,
                implementation=self._side.implementation,
            )
        changed: Options = {"attention_mask": self._memo[key]}
        if prompt.shift is not None:
            ids = options["position_ids"] - prompt.shift[:, None]
            changed |= {"position_ids": ids, "position_embeddings": self._side.rotary(layer, states, ids)}
        return args, options | changed

    def _tail(self, shown: Tensor, new: int) -> Tensor:
        """Which of the tokens behind the prompt are no padding [prompt, key]."""
        if self._mask is None:
            return shown.new_ones(len(shown), new)
        return self._mask[:, self._mask.shape[1] - new :].bool()


class _Memo:
    """Results by the very object that they were made of: layers share masks and embeddings, some by kind of layer."""

    def __init__(self) -> None:
        self._known: list[tuple[str, Any, Any]] = []

    def of(self, name: str, source: Any, make: Callable[[], Any]) -> Any:
        for known, given, result in self._known:
            if known == name and given is source:
                return result
        result = make()
        self._known.append((name, source, result))
        return result
