"""Attention of one batch of images with the same layout, area by area."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from solvers.arrays import IntArray

from ..models import Vlm
from ..models.layout import ImageLayout
from .areas import Area, areas_of, layout_name, of_encoder, of_prompt
from .dump import POSITION
from .encoder_pass import QUERY, TOKEN
from .plan import Plan
from .record import record
from .reducers import AbstractReducer
from .samples import Item


@torch.no_grad()
def area_rows(plan: Plan, batch: Sequence[Item], layout: str) -> list[tuple[Area, dict[str, npt.NDArray[Any]]]]:
    """Of each area of a layout, what the reducers keep of a batch [image, layer, ...], and the positions of its tokens.

    The area is that of the first image.

    Raises
    ------
    ValueError
        If an image has another layout.
    """
    vlm = plan.vlm
    inputs = vlm.prepare([item.image for item in batch], [item.question for item in batch])
    layouts = vlm.adapter.layouts(vlm.model, inputs)
    areas = _areas(batch, layouts, layout)
    # What a reducer such as `TopK` picks of the tokens, it must pick of those of an area.
    with record(vlm, **{name: reducer.source for name, reducer in plan.reducers.items()}) as log:
        vlm.model(**inputs, use_cache=False, logits_to_keep=1)
    found: list[dict[str, npt.NDArray[Any]]] = [{} for _ in areas[0]]
    for name, reducer in plan.reducers.items():
        source = reducer.source
        if source.tower == "text":
            by_image = _of_prompts(source, log[name], areas)
        else:
            interpolated = any(tile.resampled for own in layouts for tile in own.tiles)
            views = _interpolated(vlm, source, log.each(name), inputs) if interpolated else log.each(name)
            by_image = [[of_encoder(area, source.dims, views) for area in own] for own in areas]
        for rows, images in zip(found, zip(*by_image, strict=True), strict=True):
            layers = [reducer.finish(layer) for layer in torch.stack(images, 1)]  # [layer][suffix] [image, ...]
            for suffix, values in zip(reducer.suffixes, zip(*layers, strict=True), strict=True):
                rows[name + suffix] = torch.stack(values, 1).numpy()
    positions = prompt_positions(vlm, inputs)
    for number, rows in enumerate(found if not vlm.adapter.cross_attention else ()):  # else beside the prompt
        rows[POSITION] = np.stack([columns[own[number].places] for columns, own in zip(positions, areas, strict=True)])
    return list(zip(areas[0], found, strict=True))


def area_labels(plan: Plan, area: Area) -> dict[str, str]:
    """What each variable about an area holds, in words."""
    how = ", crop by crop" if len(area.pieces) > 1 and not plan.vlm.adapter.tiles_attend else ""
    how += ", interpolated as the tokens are" if area.interpolated else ""
    towers = {name: reducer.tower for name, reducer in plan.reducers.items()}
    return {name: label + how if towers[name] == "vision" else label for name, label in plan.labels().items()}


def prompt_positions(vlm: Vlm, inputs: Mapping[str, Any]) -> list[IntArray]:
    """Where the visual tokens of each prompt stand, counted without padding, int64 [token]."""
    ids = inputs["input_ids"]
    mask = inputs.get("attention_mask")
    places = (torch.ones_like(ids) if mask is None else mask).cumsum(1) - 1
    visual = ids == vlm.adapter.image_token_id(vlm.model)
    return [row[own].cpu().numpy().astype(np.int64) for row, own in zip(places, visual, strict=True)]


def _areas(batch: Sequence[Item], layouts: Sequence[ImageLayout], layout: str) -> list[tuple[Area, ...]]:
    """The areas of each image; what the model takes for images of their own may be several to one."""
    each = -(-len(layouts) // len(batch))
    found = [areas_of(layouts[first : first + each]) for first in range(0, len(layouts), each)]
    for item, areas in zip(batch, found, strict=True):
        if layout_name(areas) != layout:
            raise ValueError(
                f"the store was captured from other samples: image {item.image_id} in it has visual tokens "
                f"{layout}, in `samples` {layout_name(areas)}; choose another store"
            )
    return found


def _of_prompts(source: AbstractReducer, prompts: Tensor, areas: Sequence[tuple[Area, ...]]) -> list[list[Tensor]]:
    return [[of_prompt(area, source.dims, rows) for area in own] for rows, own in zip(prompts, areas, strict=True)]


def _interpolated(
    vlm: Vlm, source: AbstractReducer, pictures: Sequence[Tensor], inputs: Mapping[str, Any]
) -> Sequence[Tensor]:
    """What was recorded of pictures whose tokens the model interpolates together: interpolated likewise."""
    if source.dims not in (TOKEN, QUERY):
        raise ValueError(
            f"the model shrinks the crops of an image to a coarser grid: {source.label!r} cannot be told by token "
            "there, so capture numbers per token"
        )
    columns = [picture.movedim(-1, 0) for picture in pictures]
    return [rows.movedim(0, -1) for rows in vlm.adapter.tokens_of_patches(vlm.model, columns, inputs)]
