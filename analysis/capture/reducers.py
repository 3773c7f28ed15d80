"""What to keep of an attention call. A reducer runs on the model's device and returns a few rows, not the map."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor

from .attention_call import CHUNK, AttentionCall

Tower = Literal["vision", "text"]
Divisor = Literal["exact", "reference"]


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

    dims: ClassVar[tuple[str, ...]] = ("token",)
    """Axes of what is kept of one layer, after image and head."""
    suffixes: ClassVar[tuple[str, ...]] = ("",)
    """Endings of the names under which a log shows what `finish` returns."""
    needs_cls: ClassVar[bool] = False
    of_weights: ClassVar[bool] = True
    """Whether weights are kept, which half precision can hold."""
    over_queries: ClassVar[bool] = False
    """Whether each number is a mean over the visual queries of a call. Where an encoder attends window by window, it
    then is made one over the queries of the whole picture."""

    heads: bool = True
    layers: tuple[int, ...] | None = None

    @property
    @abstractmethod
    def tower(self) -> Tower:
        """Whose layers are recorded: "vision" is the encoder, "text" the language model."""

    @property
    def label(self) -> str:
        """What is kept, in words, for tables and figures."""
        return f"{self.tower} {type(self).__name__}"

    @abstractmethod
    def reduce(self, call: AttentionCall, place: Place) -> Tensor:
        """The part to keep, float32 [image, head, *dims], or without the head axis."""

    @property
    def source(self) -> AbstractReducer:
        """The reducer whose `reduce` gives what `finish` takes: itself, or one that is shared with others."""
        return self

    def finish(self, reduced: Tensor) -> tuple[Tensor, ...]:
        """What is kept of the result of `source`, one tensor per suffix."""
        return (reduced,)


@dataclass(frozen=True)
class _AskingRow(AbstractReducer):
    def reduce(self, call: AttentionCall, place: Place) -> Tensor:
        row = visual_columns(call.rows(place.asking)[:, :, 0], place)
        return row if self.heads else row.mean(1)


@dataclass(frozen=True)
class ClsRow(_AskingRow):
    """What the CLS token of the vision encoder attends to, [image, (head), token]."""

    needs_cls: ClassVar[bool] = True

    @property
    def tower(self) -> Tower:
        return "vision"

    @property
    def label(self) -> str:
        return "vision CLS"


@dataclass(frozen=True)
class LastRow(_AskingRow):
    """What the last token of the prompt attends to in the language model, [prompt, (head), token].

    Its head mean in one layer is the score in the code of FastV (Chen et al. 2024, arXiv:2403.06764). Prefill only:
    steps of decoding are not recorded.
    """

    @property
    def tower(self) -> Tower:
        return "text"

    @property
    def label(self) -> str:
        return "text last token"


@dataclass(frozen=True)
class TextMean(AbstractReducer):
    """What the text after the image attends to on average, without the last prompt token, [prompt, (head), token].

    The summary "text" of the attention-shift analysis of FasterVLM (llava/eval/analyze_attn_shift.py,
    Theia-4869/FasterVLM@f5d5f12).

    Parameters
    ----------
    heads, layers
        As for every reducer.
    divisor
        "exact" divides by the number of rows that are summed; "reference" by one more, as that script does, which
        scales all values alike.

    Raises
    ------
    ValueError
        For another divisor; when reduced, if no text stands between the image and the last prompt token.
    """

    heads: bool = False
    divisor: Divisor = "exact"

    def __post_init__(self) -> None:
        if self.divisor not in ("exact", "reference"):
            raise ValueError(f"`divisor` must be 'exact' or 'reference', got {self.divisor!r}")

    @property
    def tower(self) -> Tower:
        return "text"

    @property
    def label(self) -> str:
        return "text mean"

    def reduce(self, call: AttentionCall, place: Place) -> Tensor:
        image_end = place.visual[:, -1:]
        count = place.asking - image_end - 1  # differs between the prompts of a batch
        if (count < 1).any():
            raise ValueError("text must stand between the image and the last prompt token, a prompt has none")
        steps = torch.arange(1, int(count.max()) + 1, device=image_end.device)
        parts = []
        for part in steps.split(CHUNK):
            inside = (part <= count)[:, None, None].to(call.query.device, torch.float32)
            rows = call.rows(torch.minimum(image_end + part, place.asking))
            parts.append((inside @ rows)[:, :, 0])
        divisor = count if self.divisor == "exact" else count + 1
        mean = visual_columns(torch.stack(parts).sum(0), place) / divisor[:, None].to(call.query.device)
        return mean if self.heads else mean.mean(1)


@dataclass(frozen=True)
class TopK(AbstractReducer):
    """The `k` largest weights of another reducer and the tokens they are on, [image, (head), rank].

    A log shows two entries: with ``top=TopK(ClsRow(), 64)`` these are `top_weights`, largest first, and `top_indices`,
    int64 tokens from 0; the lowest token of equal weights comes first.

    Parameters
    ----------
    of
        A reducer that keeps a number per token. What it computes is shared with an equal one beside it.
    k
        How many to keep.

    Raises
    ------
    TypeError
        If `of` is something else.
    ValueError
        If `k` is below 1; when reduced, if it is above the number of tokens.
    """

    dims: ClassVar[tuple[str, ...]] = ("rank",)
    suffixes: ClassVar[tuple[str, ...]] = ("_weights", "_indices")

    heads: bool = field(init=False)
    layers: tuple[int, ...] | None = field(init=False)
    of: AbstractReducer
    k: int

    def __post_init__(self) -> None:
        if not isinstance(self.of, AbstractReducer) or self.of.dims != ("token",):
            raise TypeError(f"`of` must be a reducer that keeps a number per token, got {self.of!r}")
        if self.k < 1:
            raise ValueError(f"`k` must be at least 1, got {self.k}")
        object.__setattr__(self, "heads", self.of.heads)
        object.__setattr__(self, "layers", self.of.layers)

    @property
    def tower(self) -> Tower:
        return self.of.tower

    @property
    def label(self) -> str:
        return f"{self.of.label}, {self.k} largest"

    @property
    def source(self) -> AbstractReducer:
        return self.of.source

    def reduce(self, call: AttentionCall, place: Place) -> Tensor:
        return self.of.reduce(call, place)

    def finish(self, reduced: Tensor) -> tuple[Tensor, ...]:
        if self.k > reduced.shape[-1]:
            raise ValueError(f"`k` must be in [1, {reduced.shape[-1]}], got {self.k}")
        ordered = reduced.sort(dim=-1, descending=True, stable=True)
        return ordered.values[..., : self.k], ordered.indices[..., : self.k]


def visual_columns(rows: Tensor, place: Place) -> Tensor:
    """The columns of the visual tokens: [image, head, ..., key] to [image, head, ..., token]."""
    columns = place.visual.to(rows.device).reshape(-1, *(1,) * (rows.ndim - 2), place.visual.shape[1])
    return rows.gather(-1, columns.expand(*rows.shape[:-1], -1))
