"""What the toolkit must know about a model family: where its parts are and how its image tokens come about."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from .layout import ImageLayout, Tile


class AbstractAdapter(ABC):
    """One family of models. Stateless: every method takes the model.

    Methods take either the model with its language head or the base model inside it. `inputs` are the arguments of the
    stock `get_image_features` by name: pixels, and whatever says how large the pictures are.
    """

    model_types: ClassVar[tuple[str, ...]]
    """Values of `config.model_type` that belong to the family."""
    decoder: ClassVar[str] = "language_model"
    encoder: ClassVar[str] = "vision_tower"
    connector: ClassVar[str] = "multi_modal_projector"
    """Where in the base model the language model, the vision encoder and the projector are."""
    has_cls: ClassVar[bool]
    """Whether the vision encoder puts a CLS token before the patches. Without one, what each visual token receives on
    average from the others stands for its row: `analysis.capture.vision_reducer`."""
    fixed_grid: ClassVar[bool] = True
    """Whether every image has the same number of tokens, on the same grid."""
    projects_tokens: ClassVar[bool] = True
    """Whether the projector maps token by token, so that features can be merged before it."""
    tiled: ClassVar[bool] = False
    """Whether the processor may cut an image into several, which the model takes for as many images."""
    reordered: ClassVar[bool] = False
    """Whether the encoder has its patches in an order of its own, window by window."""
    position_axes: ClassVar[int] = 1
    """Position ids of a visual token: 1, or 3 where time, row and column have their own (no unique compact numbering);
    0 where it has none."""
    mask_from_outside: ClassVar[bool] = False
    """Whether the language model receives a finished four-dimensional mask, or None for a plain causal one."""
    cross_attention: ClassVar[bool] = False
    """Whether visual tokens stand beside the prompt, and layers of their own attend to them."""
    tiles_attend: ClassVar[bool] = False
    """Whether the pictures of an image see each other in the vision encoder."""

    def _base(self, model: PreTrainedModel) -> Any:
        return model.base_model

    @abstractmethod
    def refusal(self, config: Mapping[str, Any]) -> str | None:
        """Why a checkpoint of the family with this configuration (as a dict) cannot be handled, or None if it can."""

    def language_model(self, model: PreTrainedModel) -> PreTrainedModel:
        """The decoder without its head: what receives the merged embeddings."""
        part: PreTrainedModel = self._base(model).get_submodule(self.decoder)
        return part

    def vision_tower(self, model: PreTrainedModel) -> PreTrainedModel:
        """The vision encoder: what receives the pixels."""
        part: PreTrainedModel = self._base(model).get_submodule(self.encoder)
        return part

    @abstractmethod
    def vision_layers(self, model: PreTrainedModel) -> nn.ModuleList:
        """Blocks of the vision encoder, first to last."""

    def vision_attention(self, layer: nn.Module) -> nn.Module:
        """The attention module of a block of the vision encoder."""
        part: nn.Module = layer.self_attn  # type: ignore[assignment]
        return part

    def text_layers(self, model: PreTrainedModel) -> nn.ModuleList:
        """Blocks of the language model, first to last; each has a `self_attn`, but for those that attend to images."""
        part: Any = self.language_model(model)
        layers: nn.ModuleList = part.layers
        return layers

    def projector(self, model: PreTrainedModel) -> nn.Module:
        """Maps encoder features to the embedding space of the language model."""
        part: nn.Module = self._base(model).get_submodule(self.connector)
        return part

    def image_token_id(self, model: PreTrainedModel) -> int:
        """Id of the placeholder that stands for one visual token."""
        return int(model.config.image_token_id)

    @abstractmethod
    def grid(self, model: PreTrainedModel) -> tuple[int, int]:
        """Rows and columns of the visual tokens of one picture of the encoder, in row-major order.

        Raises
        ------
        ValueError
            If they depend on the picture.
        """

    @abstractmethod
    def feature_layer(self, model: PreTrainedModel) -> int:
        """Index into `vision_layers`, from 0, of the block whose output the features are."""

    def layouts(self, model: PreTrainedModel, inputs: Mapping[str, Any]) -> list[ImageLayout]:
        """One per image, in the order of their placeholders. By default one picture per image, on the fixed grid."""
        grid = self.grid(model)
        return [
            ImageLayout(grid[0] * grid[1], (Tile.whole(view, grid),)) for view in range(len(inputs["pixel_values"]))
        ]

    def pictures(self, model: PreTrainedModel, inputs: Mapping[str, Any]) -> list[Tensor]:
        """The pixels of each picture that the encoder sees, in its order. By default the rows of `pixel_values`."""
        return list(inputs["pixel_values"])

    def features(self, model: PreTrainedModel, caught: Tensor, inputs: Mapping[str, Any]) -> list[Tensor]:
        """Features of each picture [token, dim], row-major, from what the projector received. By default its rows."""
        return list(caught)

    def tokens_of_patches(
        self, model: PreTrainedModel, values: Sequence[Tensor], inputs: Mapping[str, Any]
    ) -> list[Tensor]:
        """Values of the encoder's patches as values of tokens, picture by picture [patch, ...] -> [token, ...].

        A mean over `patches_of_tokens`, where several patches make one token. `values` come in the order in which the
        encoder calls its attention.
        """
        patches = self.patches_of_tokens(model)
        return list(values) if patches is None else [value[patches.to(value.device)].mean(1) for value in values]

    def patches_of_tokens(self, model: PreTrainedModel) -> Tensor | None:
        """Patches that make each token, int64 [token, patch]; None where one patch is one token, or sizes differ."""
        return None

    def patches_per_token(self, model: PreTrainedModel) -> int:
        """How many patches of the encoder make a token."""
        patches = self.patches_of_tokens(model)
        return 1 if patches is None else patches.shape[1]

    def pictures_of_rows(self, model: PreTrainedModel, inputs: Mapping[str, Any], length: int) -> list[list[Tensor]]:
        """Where the patches of each picture stand in a row of the encoder's attention: [row][picture] int64 [patch].

        Asked only where `tiles_attend`, for calls of `length` keys; by default a row is a picture.
        """
        own = torch.arange(int(self.has_cls), length)
        return [[own]] * len(self.pictures(model, inputs))

    def tower_inputs(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """The arguments of the vision tower by name, as `inputs` name them."""
        return arguments

    def maps_of_patches(
        self, model: PreTrainedModel, values: Sequence[Tensor], inputs: Mapping[str, Any]
    ) -> list[Tensor]:
        """As `tokens_of_patches`, for maps whose axes both count patches [query, key]."""
        halves = [value.T for value in self.tokens_of_patches(model, values, inputs)]
        return [value.T for value in self.tokens_of_patches(model, halves, inputs)]

    def held_images(self, inputs: Mapping[str, Any]) -> Tensor:
        """Which images of each prompt are no padding, bool [prompt, image]; asked only where `cross_attention`.

        By default one each.
        """
        return torch.ones(len(inputs["pixel_values"]), 1, dtype=torch.bool)

    def run_encoder(self, model: PreTrainedModel, inputs: Mapping[str, Any]) -> None:
        """Encode and project images as the stock forward does, for those who listen."""
        base: Any = model.base_model
        base.get_image_features(**inputs, return_dict=True)

    def project(self, model: PreTrainedModel, features: Tensor) -> Tensor:
        """Features [image, token, dim] in the embedding space of the language model [image, token, hidden]."""
        projected: Tensor = self.projector(model)(features)
        return projected

    def embedding(self, model: PreTrainedModel) -> nn.Module:
        """The input embedding of the language model: token ids to vectors."""
        return self.language_model(model).get_input_embeddings()

    def tokens(self, model: PreTrainedModel) -> int:
        """Number n of visual tokens of one picture of the encoder.

        Raises
        ------
        ValueError
            If it depends on the picture.
        """
        rows, columns = self.grid(model)
        return rows * columns
