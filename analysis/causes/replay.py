"""Run the attention layers of one forward pass again, at other position ids or without some keys."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BatchFeature, DynamicCache

from analysis.capture.attention_call import AttentionCall, listening
from analysis.models import Vlm
from analysis.pruning.inputs import image_columns

from .positions import arranged


@dataclass(eq=False)
class Replay:
    """What every attention layer of the language model received in the prefill of the last forward pass.

    The layers themselves compute everything, so nothing here depends on the family beyond rotary embedding.
    """

    rotary: nn.Module
    layers: list[nn.Module]
    inputs: dict[int, dict[str, Any]] = field(default_factory=dict)

    @property
    def position_ids(self) -> Tensor:
        """Ids of that pass [prompt or 1, column]."""
        ids: Tensor = self._of(0)["position_ids"]
        return ids

    def call(self, layer: int, position_ids: Tensor | None = None) -> AttentionCall:
        """Queries and keys of a layer, from the hidden states it received, at `position_ids` (None: its own).

        Only this layer is recomputed: what the layers before it made of the tokens stays, as in the ranking pass of
        VisPruner's equi attention.

        Raises
        ------
        ValueError
            If no forward pass was seen.
        """
        heard: list[AttentionCall] = []
        module = self.layers[layer]
        with listening(lambda caller, call: heard.append(call) if caller is module else None):
            self._run(layer, position_ids, {})
        return heard[0]

    def values(self, layer: int) -> Tensor:
        """Value vectors of a layer [prompt, head, key, dim]; heads that share a key head share their values.

        Raises
        ------
        ValueError
            If no forward pass was seen.
        """
        cache, module = DynamicCache(), self.layers[layer]
        self._run(layer, None, {"past_key_values": cache})
        filled: Any = cache.layers[layer]
        values: Tensor = filled.values
        return values.repeat_interleave(getattr(module, "num_key_value_groups", 1), dim=1)

    def outputs(self, layer: int, hidden: Tensor | None = None) -> Tensor:
        """Attention outputs of a layer before its output projection, [prompt, query, head, dim].

        Parameters
        ----------
        layer
            Index from 0.
        hidden
            Keys that no query sees, bool [prompt or 1, key]; None hides none.

        Raises
        ------
        ValueError
            If no forward pass was seen, or the layer has no output projection `o_proj`.
        """
        module: Any = self.layers[layer]
        if not isinstance(getattr(module, "o_proj", None), nn.Module):
            raise ValueError("outputs per head need an attention layer with the output projection `o_proj`")
        seen = self._of(layer)
        changed: dict[str, Any] = {}
        if hidden is not None:
            changed["attention_mask"] = without_keys(seen.get("attention_mask"), seen["hidden_states"], hidden)
        caught: list[Tensor] = []
        hook = module.o_proj.register_forward_pre_hook(lambda _, args: caught.append(args[0]))
        try:
            self._run(layer, None, changed)
        finally:
            hook.remove()
        result: Tensor = caught[0].unflatten(-1, (-1, module.head_dim))
        return result

    @torch.no_grad()
    def _run(self, layer: int, position_ids: Tensor | None, changed: dict[str, Any]) -> None:
        given = self._of(layer) | {"past_key_values": None} | changed
        if position_ids is not None:
            angles = self.rotary(given["hidden_states"], position_ids=position_ids)
            given |= {"position_ids": position_ids, "position_embeddings": angles}
        self.layers[layer](**given)

    def _of(self, layer: int) -> dict[str, Any]:
        if layer not in self.inputs:
            raise ValueError("no forward pass of the language model was seen: run the model inside `replayable`")
        return self.inputs[layer]


@contextmanager
def replayable(vlm: Vlm) -> Iterator[Replay]:
    """Keep the inputs of every attention layer of the language model; the replay works after exit too.

    Memory: one hidden state per layer. The model is as before on exit.

    Raises
    ------
    ValueError
        If the language model has no rotary position embedding.
    """
    language: Any = vlm.adapter.language_model(vlm.model)
    if not isinstance(getattr(language, "rotary_emb", None), nn.Module):
        raise ValueError("the language model must have a rotary position embedding (`rotary_emb`), it has none")
    blocks: Any = vlm.adapter.text_layers(vlm.model)
    replay = Replay(language.rotary_emb, [block.self_attn for block in blocks])

    def keep(layer: int, options: dict[str, Any]) -> None:
        cache = options.get("past_key_values")
        if cache is None or cache.get_seq_length(layer) == 0:
            kept = {name: _detached(entry) for name, entry in options.items() if name != "past_key_values"}
            replay.inputs[layer] = kept

    with ExitStack() as stack:
        for number, module in enumerate(replay.layers):
            hook = module.register_forward_pre_hook(
                lambda _, args, options, layer=number: keep(layer, options), with_kwargs=True
            )
            stack.callback(hook.remove)
        yield replay


@torch.no_grad()
def last_attention(vlm: Vlm, inputs: BatchFeature, arrangement: str = "equi", *, seed: int = 0) -> Tensor:
    """Attention of the last prompt token to the visual tokens at other position ids, float32 [prompt, layer, head,
    token].

    Each layer is recomputed alone, from the hidden states of an untouched pass; softmax weights over all keys, not
    renormalised. "true" gives what `record` does with `LastRow`.

    Parameters
    ----------
    vlm
        The model.
    inputs
        What `vlm.prepare` made.
    arrangement, seed
        See `analysis.causes.arranged`.

    Raises
    ------
    KeyError
        For an unknown arrangement.
    ValueError
        For prompts without exactly one image.
    """
    columns = image_columns(inputs["input_ids"] == vlm.adapter.image_token_id(vlm.model), vlm.adapter.tokens(vlm.model))
    with replayable(vlm) as replay:
        vlm.model(**inputs, use_cache=False, logits_to_keep=1)
    ids = replay.position_ids.expand(len(columns), -1)
    ids = arranged(ids, ids.gather(1, columns[:, :1]), columns.shape[1], arrangement, seed=seed)
    last = torch.tensor([[ids.shape[1] - 1]], device=ids.device)  # prompts are padded on the left
    rows = [replay.call(layer, ids).rows(last)[:, :, 0] for layer in range(len(replay.layers))]
    found = torch.stack(rows, 1)
    return found.gather(-1, columns.to(found.device)[:, None, None].expand(*found.shape[:3], -1))


def without_keys(mask: Tensor | None, states: Tensor, hidden: Tensor, *, past: int = 0) -> Tensor:
    """Additive mask [prompt or 1, 1, query, key] of a call of an attention layer, without the `hidden` keys.

    Parameters
    ----------
    mask
        The mask of the call [prompt or 1, 1, query, key], boolean or additive; None is causal.
    states
        Hidden states of the queries [prompt, query, width].
    hidden
        bool [prompt or 1, column]; later keys (decoded since) stay visible.
    past
        Keys in the cache before the call.

    Raises
    ------
    ValueError
        If the attention takes a two-dimensional mask (flash attention), which cannot say this.
    """
    if mask is not None and mask.ndim != 4:
        raise ValueError("keys can be hidden under sdpa or eager attention only: the mask must have four dimensions")
    if mask is None:
        order = torch.arange(past + states.shape[1], device=states.device)
        mask = (order[past:, None] >= order)[None, None]
    lowest = torch.finfo(states.dtype).min
    if mask.dtype == torch.bool:
        mask = torch.zeros(mask.shape, dtype=states.dtype, device=mask.device).masked_fill(~mask, lowest)
    later = mask.shape[-1] - hidden.shape[1]
    return mask.masked_fill(torch.nn.functional.pad(hidden, (0, later))[:, None, None].to(mask.device), lowest)


def _detached(entry: Any) -> Any:
    return entry.detach() if isinstance(entry, Tensor) else entry
