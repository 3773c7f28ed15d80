"""What to keep of an attention call. A reducer runs on the model's device and returns a few rows, not the map."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from .attention_call import CHUNK, AttentionCall


@dataclass(frozen=True, eq=False)
class Place:
    """Where the visual tokens stand in a sequence, and which query asks.

    Parameters
    ----------
    visual
        Positions of the visual tokens, int64 [image or 1, token].
    asking
        Position of the CLS token, or of the last prompt token, int64 [image or 1, 1].
    """

    visual: Tensor
    asking: Tensor


@dataclass(frozen=True)
class AbstractReducer(ABC):
    """Keeps a part of the softmax weights of one tower.

    The weights are those of the softmax over all keys, restricted to the visual tokens and not renormalised.

    Parameters
    ----------
    heads
        True keeps the heads apart, False averages over them.
    layers
        Indices of the layers to record, from 0, negative ones from the end; None records all.
    """

    tower: ClassVar[Literal["vision", "text"]]
    needs_cls: ClassVar[bool] = False

    heads: bool = True
    layers: tuple[int, ...] | None = None

    @abstractmethod
    def reduce(self, call: AttentionCall, place: Place) -> Tensor:
        """The part to keep, float32 [image, head, ..., token], or without the head axis."""


@dataclass(frozen=True)
class _AskingRow(AbstractReducer):
    def reduce(self, call: AttentionCall, place: Place) -> Tensor:
        row = _visual(call.rows(place.asking), place)[:, :, 0]
        return row if self.heads else row.mean(1)


@dataclass(frozen=True)
class ClsRow(_AskingRow):
    """What the CLS token of the vision encoder attends to, [image, (head), token]."""

    tower: ClassVar[Literal["vision", "text"]] = "vision"
    needs_cls: ClassVar[bool] = True


@dataclass(frozen=True)
class LastRow(_AskingRow):
    """What the last token of the prompt attends to in the language model, [prompt, (head), token].

    Its head mean in one layer is the score in the code of FastV (Chen et al. 2024, arXiv:2403.06764). Prefill only:
    steps of decoding are not recorded.
    """

    tower: ClassVar[Literal["vision", "text"]] = "text"


@dataclass(frozen=True)
class MeanReceived(AbstractReducer):
    """What each visual token of the encoder receives on average from the visual tokens, [image, (head), token].

    n times this is the column sum of the visual part of the map. The map is never held whole.

    Parameters
    ----------
    heads, layers
        As for every reducer.
    chunk
        Query rows held at a time.
    """

    tower: ClassVar[Literal["vision", "text"]] = "vision"

    heads: bool = False
    chunk: int = CHUNK

    def reduce(self, call: AttentionCall, place: Place) -> Tensor:
        parts = [_visual(call.rows(at), place).sum(2) for at in place.visual.split(self.chunk, dim=1)]
        received = torch.stack(parts).sum(0) / place.visual.shape[1]
        return received if self.heads else received.mean(1)


@dataclass(frozen=True)
class FullMap(AbstractReducer):
    """The whole map among the visual tokens of the encoder, [image, (head), query, token]: n x n numbers per layer.

    Name the layers that are needed: all maps of a large encoder take gigabytes per image.

    Parameters
    ----------
    heads, layers
        As for every reducer.
    chunk
        Query rows computed at a time.
    """

    tower: ClassVar[Literal["vision", "text"]] = "vision"

    heads: bool = False
    chunk: int = CHUNK

    def reduce(self, call: AttentionCall, place: Place) -> Tensor:
        parts = [_visual(call.rows(at), place) for at in place.visual.split(self.chunk, dim=1)]
        return torch.cat([part if self.heads else part.mean(1) for part in parts], dim=-2)


def _visual(rows: Tensor, place: Place) -> Tensor:
    """The columns of the visual tokens: [image, head, row, key] to [image, head, row, token]."""
    images, heads, count, _ = rows.shape
    columns = place.visual.to(rows.device)[:, None, None].expand(images, heads, count, -1)
    return rows.gather(-1, columns)
