"""Attention of an encoder token by token: windows put in order, the patches of each token merged, tiles told apart."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from math import isqrt
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..models import AbstractAdapter
from .attention_call import AttentionCall
from .reducers import AbstractReducer, Place

TOKEN, QUERY, MAP = ("token",), ("query",), ("query", "token")

Receive = Callable[[str, int, Tensor], None]


class EncoderPass:
    """Collects what reducers make of the attention calls of one pass of an encoder, and gives it on token by token.

    Several patches make a token (Qwen, InternVL, Gemma 3, Idefics3). Attention to a token is the sum of the attention
    to its patches, so that a row keeps its mass. What asks is averaged: rows of a map, and entropies, are the means
    over the patches of a token. Qwen encoders attend window by window, or picture by picture, in an order of their
    own; here a picture (of a video each frame) is one row-major grid again, and a mean over the queries of a window
    becomes the mean over those of the picture, as patches receive nothing from other windows. The tiles of Mllama
    attend to all tiles of their image: queries are those of the whole image, CLS tokens and padding left out, but every
    tile is a picture.

    Parameters
    ----------
    model, adapter
        The model and its family.
    receive
        Called after each pass with the name of a reducer, the layer, and one picture: [(head), *dims], on the CPU.
    """

    def __init__(self, model: PreTrainedModel, adapter: AbstractAdapter, receive: Receive) -> None:
        self._model, self._adapter, self._receive = model, adapter, receive
        self._square = adapter.patches_per_token(model)
        self._inputs: Mapping[str, Any] | None = None
        self._heard: dict[tuple[str, int], tuple[AbstractReducer, list[Tensor]]] = {}

    @staticmethod
    def needed(model: PreTrainedModel, adapter: AbstractAdapter) -> bool:
        """Whether what an encoder attends to must be told by token first."""
        return adapter.tiles_attend or adapter.patches_per_token(model) > 1

    def enter(self, tower: nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        """A pre-hook of the vision tower."""
        self._inputs = self._adapter.tower_inputs(inspect.signature(tower.forward).bind(*args, **options).arguments)
        self._heard.clear()  # of a pass that broke off

    def parts(self, call: AttentionCall) -> Iterator[tuple[AttentionCall, Place]]:
        """What of a call is one picture, window or image, and where its patches are.

        Raises
        ------
        ValueError
            If the encoder does not run as a whole.
        """
        if self._inputs is None:
            raise ValueError("the vision encoder must be run as a whole to be recorded, got a block of it alone")
        if not self._adapter.tiles_attend:
            for part in call.sequences():
                yield part, encoder_place(part, self._adapter)
            return
        for number, pictures in enumerate(self._pictures(call.key.shape[2])):
            if pictures:
                patches = torch.cat(pictures)[None]
                yield call.image(number), Place(visual=patches, asking=patches[:, :1])

    def add(self, name: str, layer: int, reducer: AbstractReducer, values: Tensor) -> None:
        """What the reducer called `name` made of one of the `parts` [1 or picture, (head), *dims], dims of patches."""
        self._heard.setdefault((name, layer), (reducer.source, []))[1].extend(values.cpu())

    def leave(self, *_: Any) -> None:
        """A hook of the vision tower; after an exception it is not called."""
        assert self._inputs is not None
        for (name, layer), (reducer, values) in self._heard.items():
            for picture in self._by_token(reducer, values, self._inputs):
                self._receive(name, layer, picture)
        self._heard.clear()
        self._inputs = None

    def _by_token(self, reducer: AbstractReducer, values: list[Tensor], inputs: Mapping[str, Any]) -> Iterator[Tensor]:
        adapter, model = self._adapter, self._model
        if adapter.tiles_attend:
            yield from self._by_tile(reducer, values)
            return
        if reducer.dims == MAP:
            heads = [value if reducer.heads else value[None] for value in values]
            maps = [
                adapter.maps_of_patches(model, [value[head] for value in heads], inputs)
                for head in range(len(heads[0]))
            ]
            for by_head in zip(*maps, strict=True):
                yield (torch.stack(by_head) if reducer.heads else by_head[0]) * self._square
            return
        # Patches first, and a head even where there is none: a row of scores alone would be taken for one to rescale.
        columns = [value.reshape(-1, value.shape[-1]).T for value in values]
        if reducer.over_queries:
            columns = [column * len(column) for column in columns]
        for means in adapter.tokens_of_patches(model, columns, inputs):
            patches = len(means) * self._square
            scale = (self._square if reducer.dims == TOKEN else 1) / (patches if reducer.over_queries else 1)
            rows = (means * scale).T
            yield rows if reducer.heads else rows[0]

    def _by_tile(self, reducer: AbstractReducer, values: list[Tensor]) -> Iterator[Tensor]:
        """Values of images, tile by tile; what a map says about two tiles is left out."""
        images = [[len(picture) for picture in pictures] for pictures in self._pictures() if pictures]
        for value, sizes in zip(values, images, strict=True):
            for number, own in enumerate(value.split(sizes, -1)):
                yield own.split(sizes, -2)[number] if reducer.dims == MAP else own

    def _pictures(self, length: int = 0) -> list[list[Tensor]]:
        assert self._inputs is not None
        return self._adapter.pictures_of_rows(self._model, self._inputs, length)


def encoder_place(call: AttentionCall, adapter: AbstractAdapter) -> Place:
    """Where the patches are if each image of a call is one picture."""
    positions = torch.arange(call.key.shape[2])[None]
    return Place(visual=positions[:, int(adapter.has_cls) :], asking=positions[:, :1])


def refuse_uncounted(name: str, reducer: AbstractReducer) -> None:
    """ValueError for a reducer whose numbers do not count patches."""
    if reducer.source.dims not in (TOKEN, QUERY, MAP):
        raise ValueError(
            f"`{name}` must keep numbers per token, query or both to be told by the tokens of this family, "
            f"got {', '.join(reducer.source.dims) or 'none of them'}"
        )


def source_label(reducer: AbstractReducer, adapter: AbstractAdapter, model: PreTrainedModel) -> str:
    """What is kept, in words, with whatever had to be done to tell it token by token."""
    patches = adapter.patches_per_token(model)
    dims = reducer.source.dims
    if reducer.tower == "vision" and adapter.tiles_attend:
        return f"{reducer.label}, over all tiles of the image"
    if reducer.tower == "text" or patches == 1 or dims not in (TOKEN, QUERY, MAP):
        return reducer.label
    order = ", windows un-permuted" if adapter.reordered else ""
    side = isqrt(patches)
    square = f"{side} x {side}" if side * side == patches else f"by {patches} patches"
    how = {TOKEN: "by sum", QUERY: "by mean", MAP: "by sum, its queries by mean"}[dims]
    return f"{reducer.label}{order}, merged {square} {how}"
