"""Qwen2.5-VL: windows."""

from __future__ import annotations

import copy
from typing import ClassVar

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForImageTextToText
from transformers.vision_utils import get_vision_window_index

from analysis.models import adapter_for
from analysis.pruning import VisualTokens, prune
from analysis.pruning.pruners import FasterVLM

from ..pruning.families import FAMILIES, Family

FAMILY: Family = next(family for family in FAMILIES if family.name == "qwen2_5_vl")


@given(rows=st.integers(1, 12), columns=st.integers(1, 12), side=st.integers(1, 5))
def test_order_is_that_of_the_stock_windows(rows: int, columns: int, side: int) -> None:
    config = copy.deepcopy(FAMILY.model().config)
    config.vision_config.window_size = 28 * side
    stock, _ = get_vision_window_index(torch.tensor([[1, 2 * rows, 2 * columns]]), 2, 28 * side, 14)
    adapter = adapter_for(FAMILY.model())
    values = torch.arange(4 * rows * columns, dtype=torch.float32).unflatten(0, (-1, 4))[stock].flatten()
    inputs = {"image_grid_thw": torch.tensor([[1, 2 * rows, 2 * columns]])}
    model = type("Model", (), {"config": config})()
    (features,) = adapter.features(model, values[:, None], inputs)
    assert features.flatten().tolist() == list(range(4 * rows * columns))


class Looking(FasterVLM):
    """Remembers what it saw."""

    seen: ClassVar[list[np.ndarray]] = []

    def _select(self, tokens: VisualTokens, keep: int) -> np.ndarray:
        self.seen.append(tokens.evidence("first_cls"))
        return super()._select(tokens, keep)

    needs: ClassVar[frozenset[str]] = frozenset({"cls", "first_cls"})


@torch.no_grad()
def test_small_windows_have_no_advantage() -> None:
    """With even attention every token of a picture receives the same, whatever the size of its window."""
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(FAMILY.config()).eval()
    for block in model.model.visual.blocks:
        block.attn.qkv.weight.zero_()
        block.attn.qkv.bias.zero_()
    with prune(model, Looking(), 3):
        model(**FAMILY.batch(2))
    np.testing.assert_allclose(Looking.seen.pop(), np.full(20, 1 / 80), rtol=1e-5)
