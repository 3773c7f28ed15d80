"""What a part of the image is worth at a depth: other visual tokens are hidden from one layer on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor, nn

from analysis.models import Vlm
from analysis.pruning.tokens import token_indices
from solvers.arrays import IntArray

from .exam import Exam
from .positions import VisualStart
from .replay import without_keys

QUARTILES = 4


def quartile(number: int, tokens: int) -> IntArray:
    """Indices of the visual tokens in index quartile `number` (1 to 4): a contiguous run of raster order.

    Raises
    ------
    ValueError
        If `number` is not in [1, 4], or there are fewer than four tokens.
    """
    if not 1 <= number <= QUARTILES:
        raise ValueError(f"`number` must be in [1, {QUARTILES}], got {number}")
    if tokens < QUARTILES:
        raise ValueError(f"`tokens` must be at least {QUARTILES}, got {tokens}")
    return np.asarray(np.array_split(np.arange(tokens), QUARTILES)[number - 1])


@contextmanager
def keep_from_layer(vlm: Vlm, kept: npt.ArrayLike, layer: int, *, start: int | None = None) -> Iterator[None]:
    """Inside, no token sees the visual tokens outside of `kept` in the layers from `layer` on; nothing is removed.

    The result equals that of removing them before that layer while the others keep their position ids, as FastV does
    (Chen et al. 2024, arXiv:2403.06764): a hidden token still runs through the layers, but nobody hears of it. Layer 0
    is pruning before the language model; the number of layers changes nothing.

    Parameters
    ----------
    vlm
        The model, under sdpa or eager attention.
    kept
        Visual tokens that stay visible, indices into the image; the same for all prompts.
    layer
        First layer K that misses the others, from 0 to the number of layers.
    start
        Number of tokens before the image, for those who run the language model itself (`answer_tokens`); None for the
        whole model.

    Raises
    ------
    ValueError
        For a layer or tokens out of range, nothing kept; on a call inside for prompts without exactly one image, and
        under flash attention.
    """
    blocks: Any = vlm.adapter.text_layers(vlm.model)
    if not 0 <= layer <= len(blocks):
        raise ValueError(f"`layer` must be in [0, {len(blocks)}], got {layer}")
    place = VisualStart(vlm, start)
    stays = token_indices(kept, place.tokens)
    if not stays.size:
        raise ValueError("`kept` must name at least one visual token, got none")
    dropped = torch.ones(place.tokens, dtype=torch.bool)
    dropped[torch.from_numpy(stays)] = False

    def before(module: nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        if place.columns is None:
            return args, options
        cache, states = options.get("past_key_values"), options["hidden_states"]
        past = 0 if cache is None else int(cache.get_seq_length(module.layer_idx))
        hidden = _columns(place.columns, dropped.to(states.device))
        return args, options | {
            "attention_mask": without_keys(options.get("attention_mask"), states, hidden, past=past)
        }

    with ExitStack() as stack:
        stack.enter_context(place.attached())
        for block in list(blocks)[layer:]:
            stack.callback(block.self_attn.register_forward_pre_hook(before, with_kwargs=True).remove)
        yield


def quartile_answers(exam: Exam, layers: tuple[int, ...] | None = None) -> pd.DataFrame:
    """Answers with one index quartile kept from layer K on, for every K and quartile: rows of `Exam.answered`.

    Columns layer (K) and quartile in front. Where K is the number of layers nothing is hidden, whatever the quartile:
    these rows have quartile 0.
    """
    count = len(exam.vlm.adapter.text_layers(exam.vlm.model))
    frames = []
    for layer in range(count + 1) if layers is None else layers:
        if layer == count:
            frames.append(exam.answered(layer=layer, quartile=0))
            continue
        for number in range(1, QUARTILES + 1):
            with keep_from_layer(exam.vlm, quartile(number, exam.tokens), layer, start=exam.start):
                frames.append(exam.answered(layer=layer, quartile=number))
    return pd.concat(frames, ignore_index=True)


def _columns(start: Tensor, dropped: Tensor) -> Tensor:
    """Hidden columns [prompt or 1, column] from the column of the first visual token [prompt or 1, 1]."""
    index = torch.arange(int(start.max()) + len(dropped), device=dropped.device) - start.to(dropped.device)
    inside = (index >= 0) & (index < len(dropped))
    return inside & dropped[index.clamp(0, len(dropped) - 1)]
