"""What the toolkit must know about a model family: where its parts are and how its image tokens come about."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn
from transformers import PreTrainedModel


class AbstractAdapter(ABC):
    """One family of models. Stateless: every method takes the model.

    Methods take either the model with its language head or the base model inside it.
    """

    model_types: ClassVar[tuple[str, ...]]
    """Values of `config.model_type` that belong to the family."""
    has_cls: ClassVar[bool]
    """Whether the vision encoder puts a CLS token before the patches. Without one, what each visual token receives on
    average from the others stands for its row: `analysis.capture.vision_reducer`."""

    @abstractmethod
    def refusal(self, config: Mapping[str, Any]) -> str | None:
        """Why a checkpoint of the family with this configuration (as a dict) cannot be handled, or None if it can."""

    @abstractmethod
    def language_model(self, model: PreTrainedModel) -> PreTrainedModel:
        """The decoder without its head: what receives the merged embeddings."""

    @abstractmethod
    def vision_tower(self, model: PreTrainedModel) -> PreTrainedModel:
        """The vision encoder: what receives the pixels."""

    @abstractmethod
    def vision_layers(self, model: PreTrainedModel) -> nn.ModuleList:
        """Blocks of the vision encoder, first to last; each has a `self_attn`."""

    @abstractmethod
    def text_layers(self, model: PreTrainedModel) -> nn.ModuleList:
        """Blocks of the language model, first to last; each has a `self_attn`."""

    @abstractmethod
    def projector(self, model: PreTrainedModel) -> nn.Module:
        """Maps encoder features to the embedding space of the language model."""

    @abstractmethod
    def image_token_id(self, model: PreTrainedModel) -> int:
        """Id of the placeholder that stands for one visual token."""

    @abstractmethod
    def grid(self, model: PreTrainedModel) -> tuple[int, int]:
        """Rows and columns of the visual tokens of one image, in row-major order."""

    @abstractmethod
    def feature_layer(self, model: PreTrainedModel) -> int:
        """Index into `vision_layers`, from 0, of the block whose output the features are."""

    @abstractmethod
    def encode(self, model: PreTrainedModel, pixel_values: Tensor) -> Tensor:
        """Features before the projector [image, token, dim], without CLS, as the stock forward computes them."""

    def project(self, model: PreTrainedModel, features: Tensor) -> Tensor:
        """Features [image, token, dim] in the embedding space of the language model [image, token, hidden]."""
        projected: Tensor = self.projector(model)(features)
        return projected

    def embedding(self, model: PreTrainedModel) -> nn.Module:
        """The input embedding of the language model: token ids to vectors."""
        return self.language_model(model).get_input_embeddings()

    def tokens(self, model: PreTrainedModel) -> int:
        """Number n of visual tokens of one image."""
        rows, columns = self.grid(model)
        return rows * columns
