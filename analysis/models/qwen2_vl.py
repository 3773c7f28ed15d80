"""Qwen2-VL: pictures of any size, four patches to a token, position ids of time, row and column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from solvers.arrays import IntArray

from .adapter import AbstractAdapter
from .layout import ImageLayout, Tile


class Qwen2VLAdapter(AbstractAdapter):
    """`Qwen2VLForConditionalGeneration`: its projector ("merger") makes one token of a square of patches.

    Features of a token are those of its patches side by side, as the merger reads them. The patches of all pictures
    stand in one sequence, those of a token next to each other; the encoder attends picture by picture.
    """

    model_types: ClassVar[tuple[str, ...]] = ("qwen2_vl",)
    encoder: ClassVar[str] = "visual"
    connector: ClassVar[str] = "visual.merger"
    has_cls: ClassVar[bool] = False
    fixed_grid: ClassVar[bool] = False
    projects_tokens: ClassVar[bool] = False
    position_axes: ClassVar[int] = 3

    def refusal(self, config: Mapping[str, Any]) -> str | None:
        return None

    def vision_layers(self, model: PreTrainedModel) -> nn.ModuleList:
        layers: nn.ModuleList = self._base(model).visual.blocks
        return layers

    def vision_attention(self, layer: nn.Module) -> nn.Module:
        part: nn.Module = layer.attn  # type: ignore[assignment]
        return part

    def grid(self, model: PreTrainedModel) -> tuple[int, int]:
        raise ValueError(f"the grid of {model.config.model_type!r} depends on the picture")

    def feature_layer(self, model: PreTrainedModel) -> int:
        return len(self.vision_layers(model)) - 1

    def layouts(self, model: PreTrainedModel, inputs: Mapping[str, Any]) -> list[ImageLayout]:
        grids = self._grids(model, inputs)
        return [
            ImageLayout(rows * columns, (Tile.whole(view, (rows, columns)),))
            for view, (rows, columns) in enumerate(grids)
        ]

    def pictures(self, model: PreTrainedModel, inputs: Mapping[str, Any]) -> list[Tensor]:
        pixels: Tensor = inputs["pixel_values"]
        return list(pixels.split(self._patches(model, inputs)))

    def features(self, model: PreTrainedModel, caught: Tensor, inputs: Mapping[str, Any]) -> list[Tensor]:
        parts = caught.split(self._patches(model, inputs))
        return [squares.flatten(1) for squares in self._squares(model, parts, inputs)]

    def tokens_of_patches(
        self, model: PreTrainedModel, values: Sequence[Tensor], inputs: Mapping[str, Any]
    ) -> list[Tensor]:
        """As described in the base class; `values` come picture by picture, or window by window.

        What a patch receives on average from those of its window is scaled to the mean over its picture: it receives
        nothing from other windows.

        Raises
        ------
        ValueError
            If `values` do not come that way, but in one call for several pictures.
        """
        parts = [
            [part * (len(part) / sum(map(len, own))) if part.ndim == 1 else part for part in own]
            for own in self._by_picture(model, values, inputs)
        ]
        return [squares.mean(1) for squares in self._squares(model, [torch.cat(own) for own in parts], inputs)]

    def patches_per_token(self, model: PreTrainedModel) -> int:
        return self._merge(model) ** 2

    def tower_inputs(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """As described in the base class; frames of a video attend apart, so each is a picture of its own."""
        frames: Tensor = arguments["grid_thw"]
        apart = frames.repeat_interleave(frames[:, 0], 0)
        apart[:, 0] = 1
        return {"pixel_values": arguments["hidden_states"], "image_grid_thw": apart}

    def maps_of_patches(
        self, model: PreTrainedModel, values: Sequence[Tensor], inputs: Mapping[str, Any]
    ) -> list[Tensor]:
        """As `tokens_of_patches`; there is no attention between windows."""
        maps = [torch.block_diag(*own) for own in self._by_picture(model, values, inputs)]
        return super().maps_of_patches(model, maps, inputs)

    def project(self, model: PreTrainedModel, features: Tensor) -> Tensor:
        patches = features.reshape(-1, features.shape[-1] // self._merge(model) ** 2)
        projected: Tensor = self.projector(model)(patches)
        return projected.reshape(*features.shape[:-1], -1)

    def _merge(self, model: PreTrainedModel) -> int:
        """Patches along a side of a token."""
        return int(model.config.vision_config.spatial_merge_size)

    def _grids(self, model: PreTrainedModel, inputs: Mapping[str, Any]) -> list[tuple[int, int]]:
        """Rows and columns of tokens of each picture."""
        merge, grids = self._merge(model), inputs["image_grid_thw"].tolist()
        if any(frames != 1 for frames, _, _ in grids):
            raise ValueError(f"`image_grid_thw` must hold pictures of one frame, got {grids}: videos are not supported")
        return [(rows // merge, columns // merge) for _, rows, columns in grids]

    def _patches(self, model: PreTrainedModel, inputs: Mapping[str, Any]) -> list[int]:
        """Number of patches of each picture."""
        return [rows * columns * self._merge(model) ** 2 for rows, columns in self._grids(model, inputs)]

    def _by_picture(
        self, model: PreTrainedModel, values: Sequence[Tensor], inputs: Mapping[str, Any]
    ) -> list[list[Tensor]]:
        """The values of each picture, of all of it or window by window."""
        left, sizes, found = list(values), self._patches(model, inputs), []
        for patches in sizes:
            own: list[Tensor] = []
            while left and sum(map(len, own)) < patches:
                own.append(left.pop(0))
            if sum(map(len, own)) != patches:
                raise ValueError(
                    f"calls of {[len(part) for part in values]} patches must make up pictures of {sizes}: a call that "
                    "packs several pictures cannot be read"
                )
            found.append(own)
        return found

    def _squares(self, model: PreTrainedModel, values: Sequence[Tensor], inputs: Mapping[str, Any]) -> list[Tensor]:
        """Values of the patches of each picture [patch, ...] by token, row-major [token, patch of the token, ...]."""
        grids, size = self._grids(model, inputs), self._merge(model) ** 2
        return [
            part.unflatten(0, (-1, size))[torch.as_tensor(np.argsort(self._order(model, grid)), device=part.device)]
            for part, grid in zip(values, grids, strict=True)
        ]

    def _order(self, model: PreTrainedModel, grid: tuple[int, int]) -> IntArray:
        """Tokens of a picture in the order in which the encoder has their patches: int64 [token]."""
        return np.arange(grid[0] * grid[1], dtype=np.int64)
