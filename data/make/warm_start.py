"""The SigLIP sibling starts from the embedded model: everything both have is copied, the rest starts neutral."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from .batches import make_batch
from .model import Trainee, pixel_values
from .scene import GRID

PATCHES = "model.vision_tower.embeddings.patch_embedding"
POSITIONS = "model.vision_tower.embeddings.position_embedding.weight"
NORM = "model.vision_tower.pre_layrnorm"
CLS = "model.vision_tower.embeddings.class_embedding"
PICTURES = 8


@torch.no_grad()
def warm_start(trainee: Trainee, folder: Path) -> None:
    """Copy the weights of a LLaVA with a CLIP tower into a trainee whose tower is SigLIP's.

    The CLS token and its position are left behind. CLIP normalises the embedded patches and SigLIP does not: where the
    normalisation divides by each patch's own deviation, the copy divides by the root mean square of them over some
    rendered pictures, which makes it linear and part of patch embedding, bias and positions. The heads that only
    training needs answer nothing yet, so that they do not disturb the tower before they know something.

    Parameters
    ----------
    trainee
        Without CLS; its stock model is overwritten and its heads set to zero.
    folder
        The exported model with the same widths and depths.

    Raises
    ------
    ValueError
        If the trainee has a CLS token, or other widths or depths than the folder.
    """
    if trainee.has_cls:
        raise ValueError("`trainee` must have a tower without CLS, got one with it: resume a checkpoint instead")
    start = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    given: dict[str, Tensor] = dict(start.state_dict())
    deviation = _deviation(start, make_batch(np.random.default_rng(0), PICTURES, GRID, questions=0).images)
    gain, shift = given.pop(f"{NORM}.weight") / deviation, given.pop(f"{NORM}.bias")
    kernel, positions = given[f"{PATCHES}.weight"], given[POSITIONS][1:]
    given[f"{PATCHES}.weight"] = gain[:, None, None, None] * (kernel - kernel.mean(0))
    given[f"{PATCHES}.bias"] = shift
    given[POSITIONS] = gain * (positions - positions.mean(1, keepdim=True))
    del given[CLS]
    wanted = {name: value.shape for name, value in trainee.model.state_dict().items()}
    if differ := [name for name in wanted | given if name not in given or wanted.get(name) != given[name].shape]:
        raise ValueError(f"`folder` must hold a model of the trainee's widths and depths, {differ[0]} differs")
    trainee.model.load_state_dict(given)
    for name, parameter in trainee.named_parameters():
        if not name.startswith("model."):
            parameter.zero_()


def _deviation(start: LlavaForConditionalGeneration, images: Tensor) -> Tensor:
    """Root mean square, over patches, of the deviation by which the first normalisation of a CLIP tower divides."""
    embedded: Tensor = start.model.vision_tower.embeddings(pixel_values(images))[:, 1:]
    return embedded.var(-1, correction=0).mean().sqrt()
