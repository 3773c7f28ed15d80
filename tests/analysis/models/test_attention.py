"""Recomputed attention rows against the eager implementation of the model files."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from analysis.models import Vlm, attention_rows, mean_attention_map


@pytest.fixture(params=["tiny_vlm", "tiny_gqa_vlm"])
def vlm(request: pytest.FixtureRequest) -> Vlm:
    return request.getfixturevalue(request.param)


def eager_and_inputs(vlm: Vlm, attention: nn.Module, run: Any) -> tuple[torch.Tensor, dict[str, Any]]:
    """Weights that the eager implementation returns from one module, and what the fused run hands to that module."""
    caught: dict[str, Any] = {}

    def before(_: nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        assert not args
        caught["options"] = options

    def after(_: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        caught["weights"] = output[1]

    hooks = [
        attention.register_forward_pre_hook(before, with_kwargs=True),
        attention.register_forward_hook(after),
    ]
    try:
        vlm.model.set_attn_implementation("eager")
        run()
        weights = caught["weights"]
        vlm.model.set_attn_implementation("sdpa")
        run()
        assert caught["weights"] is None  # the fused kernel keeps them to itself
    finally:
        vlm.model.set_attn_implementation("sdpa")
        for hook in hooks:
            hook.remove()
    return weights, caught["options"]


@torch.no_grad()
def test_clip_rows_equal_the_eager_ones(vlm: Vlm) -> None:
    side = vlm.model.config.vision_config.image_size
    pixels = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    attention = vlm.adapter.vision_layers(vlm.model)[1].self_attn
    weights, options = eager_and_inputs(vlm, attention, lambda: vlm.adapter.encode(vlm.model, pixels))
    hidden = options["hidden_states"]
    torch.testing.assert_close(attention_rows(attention, hidden, slice(None)), weights, atol=2e-5, rtol=0)
    torch.testing.assert_close(attention_rows(attention, hidden, 0), weights[:, :, :1], atol=2e-5, rtol=0)
    torch.testing.assert_close(mean_attention_map(attention, hidden), weights.mean(1), atol=2e-5, rtol=0)


@torch.no_grad()
def test_llama_rows_equal_the_eager_ones_with_rotation_padding_and_grouped_keys(vlm: Vlm) -> None:
    ids = torch.tensor([[0, 0, 1, 4, 9, 12], [1, 4, 20, 21, 22, 5]])
    mask = (ids != 0).long()
    attention = vlm.adapter.text_layers(vlm.model)[1].self_attn
    language_model = vlm.adapter.language_model(vlm.model)
    weights, options = eager_and_inputs(
        vlm, attention, lambda: language_model(input_ids=ids, attention_mask=mask, use_cache=False)
    )
    at = torch.tensor([5, 3])
    rows = attention_rows(
        attention,
        options["hidden_states"],
        at,
        position_embeddings=options["position_embeddings"],
        attention_mask=options["attention_mask"],
    )
    torch.testing.assert_close(rows, weights[:, :, at], atol=2e-5, rtol=0)
    torch.testing.assert_close(rows.sum(-1), torch.ones(rows.shape[:-1]))
    assert (rows[0, :, :, :2] == 0).all()  # padding gets nothing
    assert (rows[:, :, 1, 4:] == 0).all()  # nor does the future


@torch.no_grad()
def test_causal_without_a_mask(vlm: Vlm) -> None:
    ids = torch.tensor([[1, 4, 20, 21, 22, 5]])
    attention = vlm.adapter.text_layers(vlm.model)[2].self_attn
    language_model = vlm.adapter.language_model(vlm.model)
    weights, options = eager_and_inputs(vlm, attention, lambda: language_model(input_ids=ids, use_cache=False))
    assert options["attention_mask"] is None
    whole = mean_attention_map(attention, options["hidden_states"], position_embeddings=options["position_embeddings"])
    torch.testing.assert_close(whole, weights.mean(1), atol=2e-5, rtol=0)


def test_module_without_plain_projections_is_refused() -> None:
    with pytest.raises(TypeError, match=r"`attention` must have plain `q_proj` and `k_proj` projections, got Linear"):
        attention_rows(nn.Linear(2, 2), torch.zeros(1, 3, 2), 0)
