"""What becomes of an image of a given size, family by family."""

from __future__ import annotations

from itertools import product
from typing import Any

import torch
from transformers.models.llava_next.modeling_llava_next import (
    get_anyres_image_grid_shape,
    image_size_to_num_patches,
    unpad_image,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from .architecture import Encoding

Size = tuple[int, int]
"""Height and width in pixels."""


def llava(config: Any, size: Size, unpad: bool) -> Encoding:
    """LLaVA-1.5: every image is brought to one size, so that neither `size` nor `unpad` matters."""
    return pictures(_patches(config), _blocks(config), has_cls=True)


def llava_next(config: Any, size: Size, unpad: bool) -> Encoding:
    """LLaVA-NeXT: the whole image, and crops of it at the resolution of `config.image_grid_pinpoints` that fits best.

    With `unpad` the tokens are those of the stock Hugging Face forward: what shows padding is cut away, and a newline
    token ends each row of the crops. Without, every crop is whole and there are no newlines, which is how the tables of
    Zhang et al. (arXiv 2412.01818; Theia-4869/VisPruner@aefa01a) are counted: 2880 tokens of a square image.
    """
    side, pinpoints = config.vision_config.image_size, config.image_grid_pinpoints
    views, patches = image_size_to_num_patches(size, pinpoints, side), _patches(config)
    visual = views * patches
    if unpad:
        across = side // config.vision_config.patch_size
        rows, columns = get_anyres_image_grid_shape(size, pinpoints, side)
        # Only the shape is asked for, so the token grid needs no memory.
        grid = torch.empty(1, rows * across, columns * across, device="meta")
        height, width = unpad_image(grid, size).shape[1:]
        visual = patches + height * (width + 1)
    return pictures(patches, _blocks(config), has_cls=True, views=views, visual=visual)


def qwen2_5_vl(config: Any, size: Size, unpad: bool) -> Encoding:
    """Qwen2.5-VL: the image in its own proportions; most blocks attend within windows; four patches become one token.

    `size` is rounded to whole tokens, within the pixel limits that transformers has by default; `unpad` has no effect.
    """
    vision = config.vision_config
    merge, patch = vision.spatial_merge_size, vision.patch_size
    height, width = smart_resize(*size, factor=patch * merge)
    rows, columns = height // (patch * merge), width // (patch * merge)
    window = vision.window_size // (patch * merge)
    windows = tuple(merge**2 * high * wide for high, wide in product(_pieces(rows, window), _pieces(columns, window)))
    tokens = rows * columns
    everything = (merge**2 * tokens,)
    return Encoding(
        views=1,
        patches=merge**2 * tokens,
        segments=tuple(everything if i in vision.fullatt_block_indexes else windows for i in range(vision.depth)),
        projected=tokens,
        visual=tokens,
        has_cls=False,
    )


def pictures(
    patches: int,
    blocks: int,
    *,
    has_cls: bool,
    views: int = 1,
    projected: int | None = None,
    visual: int | None = None,
) -> Encoding:
    """Pictures of `patches` patches, each of which attends to itself in every block; by default a patch is a token."""
    tokens = views * patches if projected is None else projected
    return Encoding(
        views=views,
        patches=views * patches,
        segments=((patches + has_cls,) * views,) * blocks,
        projected=tokens,
        visual=tokens if visual is None else visual,
        has_cls=has_cls,
    )


def _blocks(config: Any) -> int:
    return int(config.vision_config.num_hidden_layers)


def _patches(config: Any) -> int:
    return int((config.vision_config.image_size // config.vision_config.patch_size) ** 2)


def _pieces(length: int, most: int) -> list[int]:
    """`length` cut into pieces of `most`, the last one shorter."""
    return [min(most, length - start) for start in range(0, length, most)]
