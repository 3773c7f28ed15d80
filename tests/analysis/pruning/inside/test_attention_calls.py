"""Asking an attention module what it attends to, without running it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from analysis.capture.attention_call import AttentionCall, call_of, listening
from analysis.models import adapter_for

from ..families import FAMILIES
from ..left_alone import left_as_it_was

LLAVA = FAMILIES[0]


@torch.no_grad()
def test_call_of_asks_without_being_heard() -> None:
    model, heard = LLAVA.model(), []
    layer: Any = adapter_for(model).text_layers(model)[1]
    states = torch.randn(1, 5, 64, generator=torch.Generator().manual_seed(0))
    turns = adapter_for(model).language_model(model).rotary_emb(states, torch.arange(5)[None])
    options = {"hidden_states": states, "position_embeddings": turns, "attention_mask": None, "past_key_values": None}

    def hear(module: nn.Module, call: AttentionCall) -> None:
        heard.append((module, call))

    with left_as_it_was(model):
        with listening(hear):
            asked = call_of(layer.self_attn, **options)
            assert not heard
            layer.self_attn(**options)
        ((module, call),) = heard
        call_of(layer.self_attn, **options)
    assert module is layer.self_attn
    assert torch.equal(asked.query, call.query)
    assert torch.equal(asked.key, call.key)


def test_call_of_a_module_that_asks_nobody() -> None:
    class Own(nn.Module):
        def forward(self, hidden_states: Tensor) -> Tensor:
            return hidden_states

    before = set(vars(ALL_ATTENTION_FUNCTIONS))
    with pytest.raises(ValueError, match="Own does not ask the library's registry for its attention function"):
        call_of(Own(), hidden_states=torch.zeros(1))
    assert set(vars(ALL_ATTENTION_FUNCTIONS)) == before
