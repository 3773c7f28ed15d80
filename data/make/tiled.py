"""The sibling that sees a picture as crops: LLaVA-NeXT's tower, packing and newlines, trained like the embedded model.

The picture of 24 x 24 patches is cut into `Size.tiles` x `Size.tiles` crops, which the tower sees one by one, each at
the same positions. Once more it sees the whole picture, shrunk to the size of a crop.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from transformers import LlavaNextConfig, LlavaNextForConditionalGeneration

from .batches import KINDS, Batch
from .model import Size, Trainee, pixel_values, scaled, text_config, vision_config
from .scene import GRID, PATCH
from .vocabulary import COLOR_NAMES, IMAGE, TOKEN


def build_tiled_model(size: Size) -> LlavaNextForConditionalGeneration:
    """A stock LLaVA-NeXT with random weights, for pictures that are cut into `size.tiles` x `size.tiles` crops."""
    config = LlavaNextConfig(
        vision_config=vision_config(size),
        text_config=text_config(size),
        image_token_index=TOKEN[IMAGE],
        image_grid_pinpoints=[[GRID * PATCH, GRID * PATCH]],
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        image_seq_length=Packing(size.tiles).placeholders,
    )
    return LlavaNextForConditionalGeneration(config)


class Packing:
    """Where LLaVA-NeXT puts the tokens of a picture: those of the whole one, then the rows of all crops put together,
    each with a newline behind it. `side` is the number of tokens of a crop in each direction."""

    def __init__(self, tiles: int) -> None:
        if GRID % tiles:
            raise ValueError(f"`tiles` must divide {GRID}, got {tiles}")
        self.tiles, self.side = tiles, GRID // tiles
        self.whole = self.side**2
        self.placeholders = self.whole + GRID * (GRID + 1)

    def places(self, index: Tensor) -> Tensor:
        """Place of each token that crops have, by its raster index in the full grid."""
        return self.whole + index // GRID * (GRID + 1) + index % GRID

    def newlines(self, device: torch.device) -> Tensor:
        """Places of the newlines [row]."""
        return self.whole + torch.arange(GRID, device=device) * (GRID + 1) + GRID

    def raster(self, crops: Tensor) -> Tensor:
        """Tokens [image, crop, token, width] in the order of the full grid [image, token, width]."""
        n, t, s = len(crops), self.tiles, self.side
        rows: Tensor = crops.reshape(n, t, t, s, s, -1).transpose(2, 3)
        return rows.reshape(n, GRID**2, -1)

    def squares(self, tokens: Tensor) -> Tensor:
        """Tokens of the full grid [image, token, ...] by the token of the whole picture that shows the same place
        [image, whole token, token, ...]."""
        n, t, s = len(tokens), self.tiles, self.side
        squares = tokens.reshape(n, s, t, s, t, *tokens.shape[2:]).transpose(2, 3)
        return squares.reshape(n, s * s, t * t, *tokens.shape[2:])


class TiledTrainee(Trainee):
    """The tokens are those of the crops in the order of the full grid, then those of the whole picture."""

    def __init__(self, model: LlavaNextForConditionalGeneration, grounding_layer: int = 3) -> None:
        super().__init__(model, grounding_layer)  # type: ignore[arg-type]  # the same parts under the same names
        table = model.model.vision_tower.embeddings.position_embedding.weight
        self.packing = Packing(GRID // math.isqrt(len(table)))

    @torch.no_grad()
    def _initialise(self) -> None:
        super()._initialise()
        torch.nn.init.normal_(self.model.model.image_newline, std=0.5)  # as the words

    def pictures(self, images: Tensor) -> Tensor:
        """What the processor makes of images uint8 [image, y, x, rgb]: the whole one, then the crops, row by row;
        float32 [image, picture, rgb, y, x]."""
        n, t, pixels = len(images), self.packing.tiles, self.packing.side * PATCH
        opened = (Image.fromarray(image) for image in images.cpu().numpy())
        small = [np.asarray(image.resize((pixels, pixels), Image.Resampling.BICUBIC)) for image in opened]
        crops = images.reshape(n, t, pixels, t, pixels, 3).transpose(2, 3).reshape(-1, pixels, pixels, 3)
        whole = torch.from_numpy(np.stack(small)).to(images.device)
        return torch.cat([pixel_values(some).unflatten(0, (n, -1)) for some in (whole, crops)], 1)

    def see(self, batch: Batch) -> tuple[Tensor, Tensor]:
        if (batch.rows, batch.cols) != (GRID, GRID):
            raise ValueError(f"crops need pictures of {GRID} x {GRID} patches, got {batch.rows} x {batch.cols}")
        pictures = self.pictures(batch.images)
        tower = self.model.model.vision_tower
        hidden = tower.pre_layrnorm(tower.embeddings(pictures.flatten(0, 1)))
        features, states = (values.unflatten(0, pictures.shape[:2]) for values in self._encode(hidden))
        return torch.cat([self.packing.raster(features[:, 1:]), features[:, 0]], 1), states

    def _visual(self, features: Tensor, batch: Batch) -> tuple[Tensor, Tensor, int]:
        """Pruning takes the same share of the tokens of the whole picture, those where most of the crops' tokens are
        kept, and all newlines."""
        n, packing = len(features), self.packing
        share = batch.kept.shape[1] / GRID**2
        held = torch.zeros(n, GRID**2, device=features.device).scatter(1, batch.kept, 1.0)
        worth = packing.squares(held).sum(-1)
        order = worth.argsort(dim=1, descending=True, stable=True)[:, : max(1, round(share * packing.whole))]
        whole = order.sort(1).values
        chosen = torch.cat([GRID**2 + whole, batch.kept], 1)
        places = torch.cat([whole, packing.places(batch.kept)], 1)
        kept = features.gather(1, chosen[..., None].expand(-1, -1, features.shape[-1]))
        visual = self.model.model.multi_modal_projector(kept)
        if share == 1:
            newline = self.model.model.image_newline.to(visual.dtype).expand(n, GRID, -1)
            visual = torch.cat([visual, newline], 1)
            places = torch.cat([places, packing.newlines(places.device).expand(n, -1)], 1)
            places, order = places.sort(1)
            visual = visual.gather(1, order[..., None].expand_as(visual))
        return visual, places, packing.placeholders

    def _dense_loss(self, features: Tensor, batch: Batch) -> Tensor:
        """Of the crops as of a picture, and of the whole one by what most of the patches show that show anything."""
        loss = super()._dense_loss(features[:, : GRID**2], batch)
        whole = features[:, GRID**2 :]
        for head, labels, kinds in (
            (self.kind, batch.kind, KINDS),
            (self.color, batch.color, 1 + len(COLOR_NAMES)),
        ):
            votes = F.one_hot(self.packing.squares(labels), kinds).sum(2).float()
            votes[..., 0] = 0.5
            weight = torch.ones(kinds, device=features.device)
            weight[0] = 0.15
            loss = loss + F.cross_entropy(head(whole).float().flatten(0, 1), votes.argmax(-1).flatten(), weight=weight)
        return loss

    def _position_loss(self, features: Tensor, batch: Batch) -> Tensor:
        """Where a token lies in its picture, in the unit of the full grid: all that the tower can know."""
        side, tiles = self.packing.side, self.packing.tiles
        own = torch.arange(side**2, device=features.device)
        inside = scaled(tiles * torch.stack([own // side, own % side], -1).float() + (tiles - 1) / 2)
        crops = torch.stack([batch.index // GRID % side, batch.index % GRID % side], -1)
        aim = torch.cat([inside[crops[..., 0] * side + crops[..., 1]], inside.expand(len(features), -1, -1)], 1)
        result: Tensor = (self.position(features).float() - aim).pow(2).mean()
        return result
