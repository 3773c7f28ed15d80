"""Token merging inside the vision encoder (ToMe), undone at the projector: the stock model counts what it expects.

In each layer up to the one whose output the features are, pairs of similar tokens become one between attention and
MLP. Before the projector every patch gets the state of the token it went into, so that all tokens are there again, many
of them equal. Pruning then keeps one of each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from analysis.models import AbstractAdapter
from solvers.arrays import IntArray
from solvers.rules.tome import Matching, match, merge, tome_schedule, trace

PARTS = ("layer_norm1", "self_attn", "layer_norm2", "mlp")


class EncoderMerging:
    """Merges while it is attached.

    Parameters
    ----------
    model, adapter
        A model whose encoder has blocks like those of CLIP.
    keep
        Tokens of each picture that remain behind the feature layer.
    proportional
        Whether attention counts a merged token as often as it has patches, by log(size).

    Raises
    ------
    ValueError
        If the encoder has other blocks or pictures of several sizes, if several of its patches make a token, or if so
        few layers cannot reach `keep`.
    """

    def __init__(self, model: PreTrainedModel, adapter: AbstractAdapter, keep: int, proportional: bool) -> None:
        layers = adapter.vision_layers(model)
        plain = all(hasattr(layers[0], part) for part in PARTS) and hasattr(layers[0].self_attn, "k_proj")
        if not (adapter.fixed_grid and plain and adapter.patches_of_tokens(model) is None):
            raise ValueError(
                f"merging in the encoder needs blocks like those of CLIP, pictures of one size and a token for each "
                f"patch, got the {model.config.model_type!r} family"
            )
        self._projector = adapter.projector(model)
        self._layers = list(layers)[: adapter.feature_layer(model) + 1]
        self._protected = int(adapter.has_cls)
        self._removed = tome_schedule(adapter.tokens(model), len(self._layers), keep)
        self._proportional = proportional
        self._matchings: list[list[Matching]] = []
        self._sizes: list[np.ndarray] = []
        self.groups: list[IntArray] = []
        """For each picture of the latest encoding, the token that stands for each of its tokens, int64 [token]."""

    @contextmanager
    def attached(self) -> Iterator[None]:
        """The encoder merges inside, and is as it was afterwards whatever happened."""
        with ExitStack() as stack:
            for number, layer in enumerate(self._layers):
                layer.forward = partial(self._forward, layer, int(self._removed[number]), number == 0)
                stack.callback(vars(layer).pop, "forward")
            stack.callback(self._projector.register_forward_pre_hook(self._undo).remove)
            yield

    def _forward(
        self,
        layer: Any,
        removed: int,
        first: bool,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        **options: Any,
    ) -> Tensor:
        """A block of the encoder, with merging between its halves."""
        if first:
            self._matchings = [[] for _ in hidden_states]
            self._sizes = [np.ones(hidden_states.shape[1]) for _ in hidden_states]
        keys: list[Tensor] = []
        hook = layer.self_attn.k_proj.register_forward_hook(lambda *call: keys.append(call[2]))
        try:
            bias = attention_mask if first or not self._proportional else self._bias(hidden_states, attention_mask)
            mixed, _ = layer.self_attn(layer.layer_norm1(hidden_states), attention_mask=bias, **options)
        finally:
            hook.remove()
        merged = self._merged(hidden_states + mixed, keys[0], layer.self_attn.num_heads, removed)
        output: Tensor = merged + layer.mlp(layer.layer_norm2(merged))
        return output

    def _bias(self, states: Tensor, mask: Tensor | None) -> Tensor:
        """log(size) of each key [picture, 1, query, key], on top of what mask there is."""
        sizes = torch.as_tensor(np.stack(self._sizes), device=states.device)
        bias = sizes.log().to(states.dtype)[:, None, None, :].expand(-1, 1, states.shape[1], -1)
        return bias if mask is None else bias + mask

    @torch.no_grad()
    def _merged(self, states: Tensor, keys: Tensor, heads: int, removed: int) -> Tensor:
        """The tokens that remain of each picture [picture, token, dim]."""
        if not removed:
            return states
        metric = keys.unflatten(-1, (heads, -1)).mean(2).float().cpu().numpy()
        rows = []
        for picture, (own, found) in enumerate(zip(metric, self._matchings, strict=True)):
            found.append(match(own, removed, self._protected))
            row, self._sizes[picture] = merge(states[picture], self._sizes[picture], found[-1])
            rows.append(row)
        return torch.stack(rows)

    def _undo(self, _: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Every patch gets the features of the token it went into."""
        states = args[0]
        self.groups, rows = [], []
        for row, found in zip(states, self._matchings, strict=True):
            places, anchors = _traced(found, len(row) + self._protected, self._protected)
            rows.append(row[torch.as_tensor(places, device=row.device)])
            self.groups.append(anchors[places])
        return (torch.stack(rows), *args[1:])


def _traced(matchings: Sequence[Matching], tokens: int, protected: int) -> tuple[IntArray, IntArray]:
    """For each patch the output that it is in [patch], and for each output its anchor [output]; CLS not counted."""
    if not matchings:
        everything = np.arange(tokens - protected, dtype=np.int64)
        return everything, everything
    found = trace(matchings)
    place = found.weights.tocsc().indices.astype(np.int64)  # every source enters one output
    return place[protected:] - protected, found.anchors[protected:] - protected
