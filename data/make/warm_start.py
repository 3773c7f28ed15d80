"""Siblings start from the embedded model: everything both have is copied, the rest starts neutral."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from .batches import make_batch
from .model import PREFIX, Trainee, pixel_values
from .scene import GRID
from .tiled import TiledTrainee

PATCHES = "model.vision_tower.embeddings.patch_embedding"
POSITIONS = "model.vision_tower.embeddings.position_embedding.weight"
NORM = "model.vision_tower.pre_layrnorm"
CLS = "model.vision_tower.embeddings.class_embedding"
NEWLINE = "model.image_newline"
WORD_EMBEDDINGS = "model.language_model.embed_tokens.weight"
PICTURES = 8


@torch.no_grad()
def warm_start(trainee: Trainee, folder: Path) -> None:
    """Copy the weights of a LLaVA with a CLIP tower into a sibling: one without CLS, or one that sees crops.

    The heads that only training needs answer nothing yet, so that they do not disturb the tower before they know
    something.

    Parameters
    ----------
    trainee
        Its stock model is overwritten and its heads set to zero.
    folder
        The exported model with the same widths and depths.

    Raises
    ------
    ValueError
        If the trainee is no sibling, or has other widths or depths than the folder.
    """
    start = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    if isinstance(trainee, TiledTrainee):
        given = _for_crops(start, trainee)
    elif not trainee.has_cls:
        given = _without_cls(start)
    else:
        raise ValueError(
            "`trainee` must have a tower without CLS or see crops, got one like that of the folder: resume a checkpoint"
        )
    wanted = {name: value.shape for name, value in trainee.model.state_dict().items()}
    if differ := [name for name in wanted | given if name not in given or wanted.get(name) != given[name].shape]:
        raise ValueError(f"`folder` must hold a model of the trainee's widths and depths, {differ[0]} differs")
    trainee.model.load_state_dict(given)
    for name, parameter in trainee.named_parameters():
        if not name.startswith("model."):
            parameter.zero_()


def _without_cls(start: LlavaForConditionalGeneration) -> dict[str, Tensor]:
    """For a tower of SigLIP's: CLS and its position are left behind.

    CLIP normalises the embedded patches and SigLIP does not: where the normalisation divides by each patch's own
    deviation, the copy divides by the root mean square of them over some rendered pictures, which makes it linear and
    part of patch embedding, bias and positions.
    """
    given: dict[str, Tensor] = dict(start.state_dict())
    deviation = _deviation(start, make_batch(np.random.default_rng(0), PICTURES, GRID, questions=0).images)
    gain, shift = given.pop(f"{NORM}.weight") / deviation, given.pop(f"{NORM}.bias")
    kernel, positions = given[f"{PATCHES}.weight"], given[POSITIONS][1:]
    given[f"{PATCHES}.weight"] = gain[:, None, None, None] * (kernel - kernel.mean(0))
    given[f"{PATCHES}.bias"] = shift
    given[POSITIONS] = gain * (positions - positions.mean(1, keepdim=True))
    del given[CLS]
    return given


def _for_crops(start: LlavaForConditionalGeneration, trainee: TiledTrainee) -> dict[str, Tensor]:
    """For a tower that sees crops: the position of a token is the mean over the square of positions that it covers when
    the crop is the whole picture, so that the whole picture is where it was. The newline is the word before the image.
    """
    given: dict[str, Tensor] = dict(start.state_dict())
    cls, grid = given[POSITIONS][:1], given[POSITIONS][None, 1:]
    given[POSITIONS] = torch.cat([cls, trainee.packing.squares(grid)[0].mean(1)])
    given[NEWLINE] = given[WORD_EMBEDDINGS][PREFIX[-1]].clone()
    return given


def _deviation(start: LlavaForConditionalGeneration, images: Tensor) -> Tensor:
    """Root mean square, over patches, of the deviation by which the first normalisation of a CLIP tower divides."""
    embedded: Tensor = start.model.vision_tower.embeddings(pixel_values(images))[:, 1:]
    return embedded.var(-1, correction=0).mean().sqrt()
