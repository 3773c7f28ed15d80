"""A batch of prompts on its way through the layers of the language model, shortened at every stage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from analysis.capture.attention_call import AttentionCall, listening
from solvers.arrays import IntArray
from solvers.rules import Stage

from ..arguments import Options
from ..inputs import take
from .batch import Batch
from .heard import ASKED_AHEAD, FROM_PREVIOUS, Heard, LayerInput
from .packing import Choice, Packing, prefill_mask
from .side import Shorter, Side
from .stage import AbstractInnerPruner

Choices = dict[int, list[Choice | None]]
"""By layer, what each prompt keeps of the visual tokens that are still there; None is everything."""


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
