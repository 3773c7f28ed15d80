"""Qwen2.5-VL: as Qwen2-VL, but patches stand window by window, and most blocks of the encoder attend within these."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from transformers import PreTrainedModel

from solvers.arrays import IntArray

from .qwen2_vl import Qwen2VLAdapter


class Qwen25VLAdapter(Qwen2VLAdapter):
    """`Qwen2_5_VLForConditionalGeneration`; the features come from its last block, which sees whole pictures."""

    model_types: ClassVar[tuple[str, ...]] = ("qwen2_5_vl",)
    reordered: ClassVar[bool] = True

    def _order(self, model: PreTrainedModel, grid: tuple[int, int]) -> IntArray:
        vision = model.config.vision_config
        side = vision.window_size // vision.spatial_merge_size // vision.patch_size
        rows, columns = np.divmod(np.arange(grid[0] * grid[1], dtype=np.int64), grid[1])
        return np.lexsort((columns, rows, columns // side, rows // side))
