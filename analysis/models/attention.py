"""Attention rows recomputed from what an attention module receives, so that the fused kernels stay in use."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers.models.llama.modeling_llama import rotate_half

CHUNK = 128  # query rows of a full map held per head at a time


@torch.no_grad()
def attention_rows(
    attention: nn.Module,
    hidden_states: Tensor,
    queries: Tensor | slice | int,
    *,
    position_embeddings: tuple[Tensor, Tensor] | None = None,
    attention_mask: Tensor | None = None,
) -> Tensor:
    """Softmax weights of the query positions `queries` over all keys, float32 [image, head, query, key].

    The arguments are those of the module's own `forward`, so a pre-hook (``with_kwargs=True``) on `self_attn` can pass
    them on. Covers modules with separate `q_proj` and `k_proj`: CLIP (bidirectional) and the Llama line (rotary
    embedding, grouped keys, causal). The keys are those of `hidden_states`: prefill only, no cache.

    Parameters
    ----------
    attention
        The self-attention module of a layer.
    hidden_states
        Its input, after the layer's norm [image, token, dim].
    queries
        Query positions: an index, a slice, or a tensor of indices. A single index keeps the query axis.
    position_embeddings
        Cosine and sine of the rotary embedding [image or 1, token, head_dim], or None where the model has none.
    attention_mask
        None, or [image or 1, 1, query, key]: boolean (True is visible) or additive. None means causal if the module
        says `is_causal`, else everything is visible.

    Raises
    ------
    TypeError
        If the module has no separate query and key projections, or normalises them before use.
    """
    at = torch.arange(hidden_states.shape[1], device=hidden_states.device)[queries].reshape(-1)
    _check(attention)
    query = _heads(attention, "q_proj", hidden_states[:, at])
    key = _heads(attention, "k_proj", hidden_states)
    if position_embeddings is not None:
        query = _rotated(query, [part[:, at] for part in position_embeddings])
        key = _rotated(key, position_embeddings)
    return _softmax_rows(attention, query, key, at, attention_mask)


@torch.no_grad()
def mean_attention_map(
    attention: nn.Module,
    hidden_states: Tensor,
    *,
    position_embeddings: tuple[Tensor, Tensor] | None = None,
    attention_mask: Tensor | None = None,
) -> Tensor:
    """Head mean of the whole map, float32 [image, query, key]; computed in chunks of query rows.

    The parameters are those of `attention_rows`.
    """
    _check(attention)
    query, key = _heads(attention, "q_proj", hidden_states), _heads(attention, "k_proj", hidden_states)
    if position_embeddings is not None:
        query, key = _rotated(query, position_embeddings), _rotated(key, position_embeddings)
    positions = torch.arange(hidden_states.shape[1], device=hidden_states.device)
    chunks = [
        _softmax_rows(attention, query[:, :, at], key, at, attention_mask).mean(1) for at in positions.split(CHUNK)
    ]
    return torch.cat(chunks, 1)


def _check(attention: nn.Module) -> None:
    if not (hasattr(attention, "q_proj") and hasattr(attention, "k_proj")) or hasattr(attention, "q_norm"):
        raise TypeError(
            f"`attention` must have plain `q_proj` and `k_proj` projections, got {type(attention).__name__}: "
            "its weights cannot be recomputed"
        )


def _heads(attention: Any, projection: str, hidden_states: Tensor) -> Tensor:
    """Queries or keys by head [image, head, token, head_dim], before any rotation."""
    projected: Tensor = getattr(attention, projection)(hidden_states)
    return projected.unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)


def _rotated(heads: Tensor, position_embeddings: Sequence[Tensor]) -> Tensor:
    cos, sin = (part[:, None] for part in position_embeddings)
    return heads * cos + rotate_half(heads) * sin


def _softmax_rows(attention: nn.Module, query: Tensor, key: Tensor, at: Tensor, mask: Tensor | None) -> Tensor:
    images, heads, rows, width = query.shape
    grouped = query.reshape(images, key.shape[1], -1, width)  # the heads that share a key head lie side by side
    scores = (grouped @ key.transpose(-1, -2)).reshape(images, heads, rows, -1).float() / math.sqrt(width)
    lowest = torch.finfo(scores.dtype).min
    if mask is not None:
        shown = mask[:, :, at, : scores.shape[-1]]
        scores = scores.masked_fill(~shown, lowest) if shown.dtype == torch.bool else scores + shown
    elif getattr(attention, "is_causal", False):
        later = torch.arange(scores.shape[-1], device=at.device) > at[:, None]
        scores = scores.masked_fill(later, lowest)
    return scores.softmax(-1)
