"""Reducers of all visual queries. They see the map a few rows at a time, and those of one tower see it together."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from .attention_call import AttentionCall
from .reducers import AbstractReducer, Place, Tower, visual_columns

CHUNK = 64  # query rows of all heads held at a time: on processors the cache counts


@dataclass(eq=False)
class Rows:
    """Rows of some visual queries.

    Parameters
    ----------
    scores
        [image, head, row, key]; the softmax of them are the weights. Each row is shifted so that its largest is 0.
    start
        Number of visual queries before these.
    place
        Where the visual tokens stand.
    """

    scores: Tensor
    start: int
    place: Place

    @cached_property
    def weights(self) -> Tensor:
        """Softmax weights over all keys [image, head, row, key]."""
        return self.scores.softmax(-1)


@dataclass(frozen=True)
class AbstractStreamed(AbstractReducer):
    """A reducer that is fed the rows of all visual queries part by part; what several of them need is computed once.

    Parameters
    ----------
    heads, layers
        As for every reducer.
    chunk
        Query rows per head held at a time; reducers that share a pass take the smallest.
    """

    heads: bool = False
    chunk: int = CHUNK

    def __post_init__(self) -> None:
        if self.chunk < 1:
            raise ValueError(f"`chunk` must be at least 1, got {self.chunk}")

    @abstractmethod
    def add(self, state: Tensor | None, rows: Rows) -> Tensor:
        """The state after `rows`; None before the first."""

    @abstractmethod
    def result(self, state: Tensor, place: Place) -> Tensor:
        """What to keep, from the state after the last rows."""

    def reduce(self, call: AttentionCall, place: Place) -> Tensor:
        return stream([self], call, place)[0]


@dataclass(frozen=True)
class _ColumnSum(AbstractStreamed):
    def add(self, state: Tensor | None, rows: Rows) -> Tensor:
        part = rows.weights.sum(2)
        return part if state is None else state.add_(part)

    def _columns(self, state: Tensor, place: Place) -> Tensor:
        columns = visual_columns(state, place)
        return columns if self.heads else columns.mean(1)


@dataclass(frozen=True)
class MeanReceived(_ColumnSum):
    """What each visual token of the encoder receives on average from the visual tokens, [image, (head), token].

    n times this is the column sum of the visual part of the map. It stands for the CLS row where an encoder has none.
    """

    over_queries: ClassVar[bool] = True

    @property
    def tower(self) -> Tower:
        return "vision"

    @property
    def label(self) -> str:
        return "vision mean received"

    def result(self, state: Tensor, place: Place) -> Tensor:
        return self._columns(state, place) / place.visual.shape[1]


@dataclass(frozen=True)
class ImageRows(_ColumnSum):
    """What each visual token receives in the language model from those visual tokens that see it, [prompt, (head),
    token].

    Under the causal mask token j of n is seen by n - j of them, itself included: that is the divisor of its column, as
    in the summary "image" of the attention-shift analysis of FasterVLM (llava/eval/analyze_attn_shift.py,
    Theia-4869/FasterVLM@f5d5f12).
    """

    @property
    def tower(self) -> Tower:
        return "text"

    @property
    def label(self) -> str:
        return "text mean received"

    def result(self, state: Tensor, place: Place) -> Tensor:
        n = place.visual.shape[1]
        return self._columns(state, place) / torch.arange(n, 0, -1, device=state.device)


@dataclass(frozen=True)
class _OfEither(AbstractStreamed):
    of: Tower = "vision"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.of not in ("vision", "text"):
            raise ValueError(f"`of` must be 'vision' or 'text', got {self.of!r}")

    @property
    def tower(self) -> Tower:
        return self.of


@dataclass(frozen=True)
class Entropy(_OfEither):
    """Shannon entropy in nats of the attention of each visual query over all keys it sees, [image, (head), query].

    Between 0 (all on one key) and the logarithm of the number of keys. Averaging over the queries is left to the
    reader. Without the head axis it is the mean of the heads' entropies, not the entropy of their mean.

    Parameters
    ----------
    heads, layers, chunk
        As for every streamed reducer.
    of
        The encoder ("vision") or the language model ("text"), where a query sees what stands before it.
    """

    dims: ClassVar[tuple[str, ...]] = ("query",)
    of_weights: ClassVar[bool] = False

    @property
    def label(self) -> str:
        return f"{self.of} entropy"

    def add(self, state: Tensor | None, rows: Rows) -> Tensor:
        # The largest score is 0, so its weight is one over the sum of the exponentials: no second pass for that.
        entropy = -rows.weights.amax(-1).log() - (rows.weights * rows.scores).sum(-1)
        entropy = entropy.clamp_(min=0) if self.heads else entropy.clamp_(min=0).mean(1)
        return entropy if state is None else torch.cat([state, entropy], -1)

    def result(self, state: Tensor, place: Place) -> Tensor:
        return state


@dataclass(frozen=True)
class FullMap(_OfEither):
    """The whole map among the visual tokens, [image, (head), query, token]: n x n numbers per layer.

    Name the layers that are needed: all maps of a large encoder take gigabytes per image.

    Parameters
    ----------
    heads, layers, chunk
        As for every streamed reducer.
    of
        The encoder ("vision") or the language model ("text"), whose map is causal.
    """

    dims: ClassVar[tuple[str, ...]] = ("query", "token")

    @property
    def label(self) -> str:
        return f"{self.of} map"

    def add(self, state: Tensor | None, rows: Rows) -> Tensor:
        block = visual_columns(rows.weights if self.heads else rows.weights.mean(1, keepdim=True), rows.place)
        if state is None:
            n = block.shape[-1]
            state = block.new_empty(*block.shape[:2], n, n)
        state[:, :, rows.start : rows.start + block.shape[2]] = block
        return state

    def result(self, state: Tensor, place: Place) -> Tensor:
        return state if self.heads else state[:, 0]


def stream(reducers: Sequence[AbstractStreamed], call: AttentionCall, place: Place) -> list[Tensor]:
    """Results of reducers of one tower, from one pass over the rows of its visual queries."""
    states: list[Tensor | None] = [None] * len(reducers)
    start = 0
    for at in place.visual.split(min(reducer.chunk for reducer in reducers), dim=1):
        scores = call.scores(at)
        rows = Rows(scores.sub_(scores.amax(-1, keepdim=True)), start, place)
        states = [reducer.add(state, rows) for reducer, state in zip(reducers, states, strict=True)]
        start += at.shape[1]
    return [reducer.result(_seen(state), place) for reducer, state in zip(reducers, states, strict=True)]


def reduce_all(reducers: Mapping[str, AbstractReducer], call: AttentionCall, place: Place) -> dict[str, Tensor]:
    """What each reducer is to `finish`, by its name: equal sources are computed once, streamed ones in one pass."""
    sources: list[AbstractReducer] = []
    for reducer in reducers.values():
        if reducer.source not in sources:
            sources.append(reducer.source)
    streamed = [source for source in sources if isinstance(source, AbstractStreamed)]
    passed = iter(stream(streamed, call, place) if streamed else ())
    results = [
        next(passed) if isinstance(source, AbstractStreamed) else source.reduce(call, place) for source in sources
    ]
    return {name: results[sources.index(reducer.source)] for name, reducer in reducers.items()}


def _seen(state: Tensor | None) -> Tensor:
    assert state is not None  # a place without visual tokens is never recorded
    return state
