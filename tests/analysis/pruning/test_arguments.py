"""What is refused before anything is pruned."""

from __future__ import annotations

import pytest
import torch

from analysis.models import Vlm
from analysis.pruning.arguments import seen_prompts


def test_a_window_without_layer_types_slides_in_every_layer(tiny_vlm: Vlm, monkeypatch: pytest.MonkeyPatch) -> None:
    text = tiny_vlm.model.config.get_text_config()
    monkeypatch.setattr(text, "sliding_window", 40, raising=False)
    monkeypatch.setattr(text, "layer_types", None, raising=False)
    ids = torch.cat([torch.full((1, 36), 3), torch.full((1, 4), 9)], 1)
    named = {"input_ids": ids, "pixel_values": torch.zeros(1)}
    assert seen_prompts(tiny_vlm.model, tiny_vlm.adapter, named, 0) is not None
    longer = named | {"input_ids": torch.cat([ids, ids[:, -1:]], 1)}
    with pytest.raises(ValueError, match="a prompt of 41 columns must fit into the sliding window of 40 while pruning"):
        seen_prompts(tiny_vlm.model, tiny_vlm.adapter, longer, 0)
