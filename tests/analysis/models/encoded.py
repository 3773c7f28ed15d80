"""What pruners see of images, without a processor."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from analysis.models import adapter_for
from analysis.pruning.encode import Encoded, watch


@torch.no_grad()
def features_of(model: PreTrainedModel, images: dict[str, Any]) -> Tensor:
    """Features of images of one size [image, token, dim]."""
    adapter, caught = adapter_for(model), list[Encoded]()
    with watch(model, adapter, (), caught.append):
        adapter.run_encoder(model, images)
    return torch.stack(caught[0].features)
