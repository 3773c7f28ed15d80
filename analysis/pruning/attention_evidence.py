"""What the attention of a vision tower says about its tokens, recomputed beside the pass from a few of its calls."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from analysis.capture.attention_call import AttentionCall
from analysis.models import AbstractAdapter
from analysis.models.layout import Tile

from .tokens import FloatArray

BLOCK_OF = {"cls": "feature", "attention_map": "feature", "keys": "feature", "first_cls": "first", "last_cls": "last",
            "last_keys": "last"}  # fmt: skip
"""Fields of `VisualTokens` that attention gives, and the block of the tower whose attention it is."""


class AttentionEvidence:
    """Listens to the attention calls of one encoding; a listener for `capture.attention_call.listening`.

    Parameters
    ----------
    model, adapter
        The model and its family.
    needs
        Which fields of `VisualTokens` are wanted; those that attention does not give are ignored.
    """

    def __init__(self, model: PreTrainedModel, adapter: AbstractAdapter, needs: frozenset[str]) -> None:
        self._model, self._adapter = model, adapter
        self._wanted = needs & BLOCK_OF.keys()
        layers = adapter.vision_layers(model)
        at = {"feature": adapter.feature_layer(model), "first": 0, "last": len(layers) - 1}
        self.modules: dict[nn.Module, set[str]] = defaultdict(set)
        for name in self._wanted:
            self.modules[adapter.vision_attention(layers[at[BLOCK_OF[name]]])].add(name)
        self._heard: dict[str, list[Tensor]] = defaultdict(list)

    def hear(self, module: nn.Module, call: AttentionCall) -> None:
        """Keep what is wanted of one call: an entry per picture."""
        wanted = self.modules.get(module, set())
        first = int(self._adapter.has_cls)
        rows = wanted & {"cls", "first_cls"}
        if "attention_map" in wanted or (rows and not first):
            whole = call.mean_rows(None)
            if "attention_map" in wanted:
                self._heard["attention_map"] += list(whole[:, first:, first:])
        if rows:
            # Not read off the map where there is one: it is summed in another order, and a pruner must not keep other
            # tokens because another one, which wants the map, is compared with it.
            received = call.mean_rows(torch.zeros(1, dtype=torch.int64))[:, 0, 1:] if first else whole.mean(1)
            for name in rows:
                self._heard[name] += list(received)
        if "keys" in wanted:
            self._heard["keys"] += list(call.key.float().mean(1)[:, first:])
        if wanted & {"last_cls", "last_keys"}:
            call.refuse_altered()
            query, key = (part.transpose(1, 2).flatten(2).float() for part in (call.query, call.key))
            scores = query[:, : 1 if first else None] @ key.transpose(1, 2) * key.shape[-1] ** -0.5
            self._heard["last_cls"] += list(scores.softmax(-1).mean(1)[:, first:])
            self._heard["last_keys"] += list(key[:, first:])

    def arrays(self, inputs: Mapping[str, Any]) -> dict[str, list[Tensor]]:
        """By field, what was heard of each picture, token by token and in row-major order."""
        found = {}
        for name in self._wanted:
            by_token = self._adapter.maps_of_patches if name == "attention_map" else self._adapter.tokens_of_patches
            found[name] = by_token(self._model, self._heard[name], inputs)
        return found


def of_tile(name: str, values: Tensor, tile: Tile) -> FloatArray:
    """The rows, and for a map the columns, of the tokens of `tile`."""
    sources = torch.as_tensor(tile.sources, device=values.device)
    chosen = values[sources][:, sources] if name == "attention_map" else values[sources]
    array: FloatArray = chosen.float().cpu().numpy()
    return array
