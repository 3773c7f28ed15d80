"""Reducers of all visual queries. They see the map a few rows at a time, and those of one tower see it together."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from .attention_call import AttentionCall, room
from .reducers import AbstractReducer, Place, Tower, visual_columns

CHUNK = 64  # query rows per head held at a time
CACHED = 2**20  # scores that images share at a time on a processor, where the cache counts


@dataclass(eq=False)
class Rows:
    """Rows of some visual queries. The rows after them may be written over `scores` and `powers`.

    Parameters
    ----------
    scores
        To the base 2 [image, head, row, key]: the weights are proportional to the powers of two. Each row is shifted so
        that its largest is 0. Keys that no row sees may be left out at the end.
    space
        Two times as many numbers to compute in, float32 [2, number]: on processors a fresh tensor of this size takes as
        long as what is computed in it.
    start
        Number of visual queries before these.
    keys
        Number of all keys.
    place
        Where the visual tokens stand.
    """

    scores: Tensor
    space: Tensor
    start: int
    keys: int
    place: Place

    @cached_property
    def powers(self) -> Tensor:
        """Weights before each row is made to sum to one, as `scores`."""
        return torch.exp2(self.scores, out=room(self.space[0], self.scores.shape))

    @cached_property
    def totals(self) -> Tensor:
        """Sums of the rows of `powers`, at least 1 [image, head, row]."""
        return self.powers.sum(-1)

    @cached_property
    def mean_scores(self) -> Tensor:
        """Means of the rows of `scores` under their weights, at most 0 [image, head, row]."""
        products = torch.mul(self.powers, self.scores, out=room(self.space[1], self.scores.shape))
        return products.sum(-1).div_(self.totals)

    @cached_property
    def weights(self) -> Tensor:
        """Softmax weights over all keys [image, head, row, key]."""
        weights = self.powers / self.totals[..., None]
        unseen = self.keys - weights.shape[-1]
        return pad(weights, (0, unseen)) if unseen else weights


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
        images, heads, _, seen = rows.powers.shape
        apart = heads if self.heads else 1
        factors = rows.totals.reciprocal().div_(heads / apart).reshape(images, apart, 1, -1)
        # A product with one row sums and divides in one go, heads and rows alike.
        part = (factors @ rows.powers.reshape(images, apart, -1, seen))[:, :, 0]
        if state is None:
            state = part.new_zeros(images, apart, rows.keys)
        state[..., :seen] += part
        return state

    def _columns(self, state: Tensor, place: Place) -> Tensor:
        columns = visual_columns(state, place)
        return columns if self.heads else columns[:, 0]


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
        bits = rows.totals.log2() - rows.mean_scores  # neither term adds a negative number
        entropy = (bits if self.heads else bits.mean(1)) * math.log(2)
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
    """Results of reducers of one tower, from one pass over the rows of its visual queries.

    A processor takes as many images at a time as its cache holds, a device all of them.
    """
    images, heads, _, _ = call.query.shape
    chunk = min(place.visual.shape[1], *(reducer.chunk for reducer in reducers))
    block = heads * chunk * call.key.shape[2]
    together = min(max(CACHED // block, 1), images) if call.query.device.type == "cpu" else images
    space = call.query.new_empty(3, together * block, dtype=torch.float32)
    parts = []
    for start in range(0, images, together):
        own = slice(start, start + together) if len(place.visual) > 1 else slice(None)
        some = Place(visual=place.visual[own], asking=place.asking[own])
        parts.append(_stream(reducers, call.images(start, start + together), some, chunk, space))
    return [torch.cat(results) for results in zip(*parts, strict=True)]


def _stream(
    reducers: Sequence[AbstractStreamed], call: AttentionCall, place: Place, chunk: int, space: Tensor
) -> list[Tensor]:
    call, keys = call.in_bits(), call.key.shape[2]
    # A device would have to be waited for until it is known which keys are seen: all of them cost less.
    narrowed = call.query.device.type == "cpu"
    states: list[Tensor | None] = [None] * len(reducers)
    start = 0
    for at in place.visual.split(chunk, dim=1):
        scores = (call.seen_by(at) if narrowed else call).scores(at, space[0])
        rows = Rows(scores.sub_(scores.amax(-1, keepdim=True)), space[1:], start, keys, place)
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
