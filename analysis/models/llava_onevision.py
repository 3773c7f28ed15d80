"""LLaVA-OneVision: crops as in LLaVA-NeXT, with a SigLIP tower, shrunk together where there are many."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.models.llava_onevision import modeling_llava_onevision

from solvers.arrays import IntArray

from .layout import ImageLayout, Tile
from .llava_next import LlavaNextAdapter


class LlavaOnevisionAdapter(LlavaNextAdapter):
    """`LlavaOnevisionForConditionalGeneration`, images only.

    If the tokens of an image's crops exceed the limit in `vision_aspect_ratio`, the stock code interpolates them on a
    coarser grid after the projector. All crops then are one tile, whose tokens are no longer those of the encoder: what
    a pruner sees of them (features, attention received, keys) is interpolated by the same code. Attention among them is
    refused: crops do not attend to each other. An image that shares its prompt with others is not cropped, if the
    processor says so (`batch_num_images`).
    """

    model_types: ClassVar[tuple[str, ...]] = ("llava_onevision",)
    has_cls: ClassVar[bool] = False
    tower: ClassVar[str] = "siglip_vision_model"
    strategy: ClassVar[tuple[str, str]] = ("full", "there is no CLS to drop")
    stock: ClassVar[ModuleType] = modeling_llava_onevision

    def refusal(self, config: Mapping[str, Any]) -> str | None:
        # A saved configuration leaves out what is the default of the family.
        default = {"vision_feature_select_strategy": "full", "vision_feature_layer": -1}
        vision = {"model_type": self.tower, **config.get("vision_config", {})}
        return super().refusal({**default, **config, "vision_config": vision})

    def crops(self, model: PreTrainedModel, inputs: Mapping[str, Any]) -> list[int]:
        crops = super().crops(model, inputs)
        together = inputs.get("batch_num_images")
        if together is None:
            return crops
        alone = [int(count) == 1 for count in together for _ in range(int(count))]
        return [count if cropped else 1 for count, cropped in zip(crops, alone, strict=True)]

    def packing(self, model: PreTrainedModel, inputs: Mapping[str, Any]) -> dict[str, Any]:
        return {"vision_aspect_ratio": inputs.get("vision_aspect_ratio") or model.config.vision_aspect_ratio}

    def layouts(self, model: PreTrainedModel, inputs: Mapping[str, Any]) -> list[ImageLayout]:
        layouts, view = [], 0
        for image, count in enumerate(self.crops(model, inputs)):
            numbers = self.numbered(model, inputs, image, count)
            # Any limit that is never reached: what is shrunk has fewer tokens than without.
            whole = self.numbered(model, {**inputs, "vision_aspect_ratio": f"anyres_max_{count}000"}, image, count)
            if len(numbers) < len(whole):
                tiles = self._shrunk(model, numbers, view)
            else:
                tiles = [*self._tiles(model, numbers, view, self.crop_grid(model, inputs, image))]
            layouts.append(ImageLayout(len(numbers), tuple(tiles)))
            view += 2 if tiles[-1].resampled else count
        return layouts

    def pictures(self, model: PreTrainedModel, inputs: Mapping[str, Any]) -> list[Tensor]:
        found: list[Tensor] = []
        for layout, crops in self._by_image(model, super().pictures(model, inputs), inputs):
            found += [crops[0], torch.stack(crops[1:])] if layout.tiles[-1].resampled else crops
        return found

    def features(self, model: PreTrainedModel, caught: Tensor, inputs: Mapping[str, Any]) -> list[Tensor]:
        return self.tokens_of_patches(model, list(caught), inputs)

    def tokens_of_patches(
        self, model: PreTrainedModel, values: Sequence[Tensor], inputs: Mapping[str, Any]
    ) -> list[Tensor]:
        found: list[Tensor] = []
        for image, (layout, crops) in enumerate(self._by_image(model, values, inputs)):
            tile = layout.tiles[-1]
            if not tile.resampled:
                found += crops
                continue
            flat = torch.stack(crops).reshape(len(crops), len(crops[0]), -1)
            rows = self.packed(model, flat, inputs, image)[torch.as_tensor(tile.places, device=flat.device)]
            found += [crops[0], rows.reshape(len(tile), *crops[0].shape[1:])]
        return found

    def maps_of_patches(
        self, model: PreTrainedModel, values: Sequence[Tensor], inputs: Mapping[str, Any]
    ) -> list[Tensor]:
        for image, (layout, crops) in enumerate(self._by_image(model, values, inputs)):
            if layout.tiles[-1].resampled:
                raise ValueError(
                    f"the model shrinks the {len(crops) - 1} crops of image {image} to a coarser grid: there is no "
                    "`attention_map` among its tokens, so a pruner must do without"
                )
        return list(values)

    def _shrunk(self, model: PreTrainedModel, numbers: IntArray, view: int) -> list[Tile]:
        """The whole image, and its crops as one tile."""
        side = self.side(model)
        places = np.flatnonzero(numbers >= 0)[side**2 :]
        rows = int((numbers < 0).sum())  # a newline each
        grid = rows, len(places) // rows
        order = np.arange(len(places), dtype=np.int64)
        crops = Tile(view + 1, grid, order, places, at=(0, 0), crops=(1, 1), resampled=True)
        return [Tile.whole(view, (side, side)), crops]

    def _by_image(
        self, model: PreTrainedModel, values: Sequence[Tensor], inputs: Mapping[str, Any]
    ) -> Iterator[tuple[ImageLayout, list[Tensor]]]:
        """Images, each with its part of the values of all pictures that the encoder got."""
        left = iter(values)
        for layout, count in zip(self.layouts(model, inputs), self.crops(model, inputs), strict=True):
            yield layout, list(itertools.islice(left, count))
