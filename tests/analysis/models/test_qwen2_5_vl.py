"""Qwen2.5-VL: windows."""

from __future__ import annotations

import copy
from typing import ClassVar

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForImageTextToText

from analysis.models import adapter_for
from analysis.pruning import VisualTokens, prune
from analysis.pruning.pruners import FasterVLM

from ..pruning.families import FAMILIES, Family, noise

FAMILY: Family = next(family for family in FAMILIES if family.name == "qwen2_5_vl")


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(1, 9), columns=st.integers(1, 9), side=st.integers(1, 4))
@torch.no_grad()
def test_features_are_in_row_major_order_whatever_the_windows(rows: int, columns: int, side: int) -> None:
    """The stock tower puts its merged tokens back in order itself; features have to agree with them one by one."""
    model = copy.deepcopy(FAMILY.model())
    visual = model.model.visual
    visual.window_size = model.config.vision_config.window_size = 28 * side
    visual.blocks = visual.blocks[:1]
    inputs = {"pixel_values": noise(0, 4 * rows * columns, 1176)}
    inputs["image_grid_thw"] = torch.tensor([[1, 2 * rows, 2 * columns]])
    adapter, stock = adapter_for(model), model.get_image_features(**inputs)
    (features,) = adapter.features(model, stock.last_hidden_state, inputs)
    torch.testing.assert_close(adapter.project(model, features), stock.pooler_output[0])


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
