"""Evidence for a stage, out of the layers of a running model: attention calls, states, embeddings."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from analysis.capture.attention_call import AttentionCall, call_of

from .evidence import StageEvidence
from .packing import Packing

FROM_PREVIOUS = frozenset({"attention", "text_attention", "keys", "text_keys"})
"""What the attention call of layer K - 1 tells as it passes."""
ASKED_AHEAD = frozenset({"unrotated", "rotary"})
"""What needs the input of layer K - 1."""


@dataclass(frozen=True, eq=False)
class LayerInput:
    """What a decoder layer got.

    Attributes
    ----------
    layer
        The layer; it has an `input_layernorm` and a `self_attn`.
    states
        [prompt, position, dim].
    options
        Its other arguments by name.
    """

    layer: nn.Module
    states: Tensor
    options: dict[str, Any]

    def attention_call(self, *, rotated: bool = True) -> AttentionCall:
        """What the layer's attention asks for, with or without rotary position embedding; nothing is computed twice."""
        layer: Any = self.layer
        turns = self.options["position_embeddings"]
        if not rotated:
            turns = (torch.ones_like(turns[0]), torch.zeros_like(turns[1]))
        with torch.no_grad():
            return call_of(
                layer.self_attn,
                hidden_states=layer.input_layernorm(self.states),
                attention_mask=self.options.get("attention_mask"),
                position_ids=self.options.get("position_ids"),
                position_embeddings=turns,
                past_key_values=None,
            )


@dataclass(frozen=True, eq=False)
class Heard:
    """All that is known ahead of a stage about a batch of prompts.

    Attributes
    ----------
    packing
        Where the visual tokens are.
    words
        bool [prompt, position], True at the words of the question.
    last
        int64 [prompt], position of the last token of each prompt.
    upcoming
        The layer whose input is about to be shortened, and that input.
    previous
        The layer before it with its input, or None if nobody asks.
    call
        The attention call of the layer before it, or None if nobody asks.
    embeddings
        What entered the first layer [prompt, column, dim].
    entered
        Where the visual tokens were there.
    norm
        The final norm of the language model.
    first
        Whether nothing was dropped before.
    """

    packing: Packing
    words: Tensor
    last: Tensor
    upcoming: LayerInput
    previous: LayerInput | None
    call: AttentionCall | None
    embeddings: Tensor
    entered: Packing
    norm: nn.Module
    first: bool

    def of_prompts(
        self, rows: Iterable[int], needs: frozenset[str], grid: Callable[[int], tuple[int, int] | None]
    ) -> dict[int, StageEvidence]:
        """Evidence of some prompts; calls that several of them need are asked for once."""
        upcoming = self.upcoming.attention_call() if "upcoming" in needs else None
        unrotated = None if self.previous is None else self.previous.attention_call(rotated=False)
        return {row: self._of_prompt(row, needs, upcoming, unrotated, grid(row)) for row in rows}

    def _of_prompt(
        self,
        row: int,
        needs: frozenset[str],
        upcoming: AttentionCall | None,
        unrotated: AttentionCall | None,
        grid: tuple[int, int] | None,
    ) -> StageEvidence:
        tokens, words = self.packing.places(row), self.words[row].nonzero()[:, 0]
        last = self.last[row : row + 1]
        states, embeddings = self.upcoming.states[row], self.embeddings[row]

        def mean_row(call: AttentionCall | None) -> Tensor:
            return _own(call, row).rows(last[None])[0, :, 0].mean(0)[tokens]

        def keys(at: Tensor) -> Tensor:
            return _own(self.call, row).key[0][:, at].transpose(0, 1).flatten(1)

        def alone() -> Tensor:
            scores = _own(unrotated, row).scores(last[None])[0, :, 0]
            return scores[:, tokens].softmax(-1).mean(0)

        makers: dict[str, Callable[[], Tensor]] = {
            "attention": lambda: mean_row(self.call),
            "text_attention": lambda: _own(self.call, row).rows(words[None])[0, :, :, tokens],
            "upcoming": lambda: mean_row(upcoming),
            "unrotated": alone,
            "rotary": lambda: self._rotary(row, words, tokens),
            "hidden": lambda: states[tokens],
            "text_hidden": lambda: states[words],
            "normed": lambda: self.norm(states[tokens]),
            "text_normed": lambda: self.norm(states[words]),
            "keys": lambda: keys(tokens),
            "text_keys": lambda: keys(words),
            "embeddings": lambda: embeddings[self.entered.places(row)],
            "text_embeddings": lambda: embeddings[self.packing.sources[row, words]],
        }
        asked = {name: _on_cpu(makers[name]) for name in needs}
        return StageEvidence(len(tokens), len(words), asked, grid, self.first)

    def _rotary(self, row: int, words: Tensor, tokens: Tensor) -> Tensor:
        """Product of rotated ones: every pair of dimensions gives twice the cosine of the angle between them."""
        assert self.previous is not None
        turns = [part[min(row, len(part) - 1)].float() for part in self.previous.options["position_embeddings"]]
        products = [part[words] @ part[tokens].T for part in turns]
        result: Tensor = (products[0] + products[1]) * turns[0].shape[-1] ** -0.5
        return result


def _own(call: AttentionCall | None, row: int) -> AttentionCall:
    """The part of a call that belongs to one prompt."""
    assert call is not None
    mask = call.mask
    if mask is not None:
        mask = mask[min(row, len(mask) - 1)][None]
    return replace(call, query=call.query[row][None], key=call.key[row][None], mask=mask)


def _on_cpu(make: Callable[[], Tensor]) -> Callable[[], Any]:
    @torch.no_grad()
    def made() -> Any:
        return make().detach().float().cpu().numpy()

    return made
