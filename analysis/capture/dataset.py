"""`capture_dataset`: the attention of many images into one store, continued where it stopped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from PIL.Image import Image
from zarr.storage import StoreLike

from solvers.progress import progress_bar
from solvers.provenance import provenance

from ..models import Vlm, fingerprint
from .dump import DumpWriter, Variable
from .named import default_reducers, vision_reducer
from .reader import open_dump
from .record import chosen_layers, record
from .reducers import AbstractReducer

CAPTURED = "softmax weights over all keys, restricted to the visual tokens, not renormalised; prefill"
TOKEN_ORDER = "row-major over `grid`, token 0 top left; special tokens left out"
STORED = ("float32", "float16")
AXES = {"vision": ("vision_layer", "vision_head"), "text": ("layer", "head")}
COUNTED_FROM_ZERO = ("token", "query")
RESERVED = ("image", "image_id", "question", "captured", "rank", *COUNTED_FROM_ZERO, *AXES["vision"], *AXES["text"])


class _Item(NamedTuple):
    image_id: Any
    image: Image
    question: str


def capture_dataset(
    vlm: Vlm,
    samples: Iterable[Any],
    store: StoreLike,
    *,
    reducers: Mapping[str, AbstractReducer] | None = None,
    batch_size: int = 8,
    dtype: Literal["float32", "float16"] = "float32",
    shard: tuple[int, int] = (0, 1),
    resume: bool = True,
    progress: bool = True,
) -> xr.Dataset:
    """Attention to the visual tokens for each sample, by default of the encoder's CLS and of the last prompt token.

    One forward pass per sample, without decoding. A killed run, called again, goes on with the batches that were not
    written whole, without duplicates or holes.

    Parameters
    ----------
    vlm
        The model.
    samples
        Objects with `image_id`, `image` (PIL) and `questions`, of which the first is asked (`.questions[0].question`),
        or tuples (image_id, image, question). The same ones in the same order when a run is continued.
    store
        Folder, fsspec URL or Zarr store.
    reducers
        What to keep, by variable name; None for `default_reducers`. Those of one tower must name the same layers.
    batch_size
        Images per forward pass and per write. The one of the first run fixes the files of the store.
    dtype
        Of stored weights; half precision halves the store and loses digits below 6e-5. Entropies stay in float32.
    shard
        (i, n): capture the i-th of n parts, i from 0. Processes with the same arguments but for i fill one store
        together, at the same time if they like, and any of them can be stopped and continued.
    resume
        Whether to continue, or simply return, what is in the store; False refuses a store that is not empty.
    progress
        Whether to show a progress bar (on standard error).

    Returns
    -------
    xarray.Dataset
        See `open_dump`. With several shards it holds what is captured so far.

    Raises
    ------
    ValueError
        If there are no samples, a sample is something else, `batch_size` is below 1, `dtype` or `shard` is none,
        reducers do not fit together, or the store holds something else: other files, or a dump of another model,
        configuration, capture or other samples.
    TypeError
        If a reducer is something else.
    FileExistsError
        If the store is not empty and `resume` is False.
    OSError
        If the store is damaged, or cannot be written; what was captured before stays intact.
    """
    chosen = dict(default_reducers(vlm.adapter) if reducers is None else reducers)
    _check_options(batch_size, dtype, shard)
    coordinates = _layer_coordinates(vlm, chosen)
    listed = samples if hasattr(samples, "__len__") else list(samples)
    images = len(listed)  # type: ignore[arg-type]
    if images == 0:
        raise ValueError("`samples` must hold at least one sample, got none")
    attributes = _attributes(vlm, chosen, dtype)
    writer = DumpWriter.resume(store, images, attributes)
    if writer is not None and not resume:
        raise FileExistsError(f"{str(store)!r} holds a dump already: delete it, or pass resume=True")
    block = writer.block if writer is not None else min(batch_size, images)
    captured = writer.captured if writer is not None else np.zeros(images, dtype=np.bool_)
    numbers = _part(images, block, shard)
    with progress_bar(progress) as bar:
        task = bar.add_task("attention", total=len(numbers), completed=int(captured[numbers].sum()))
        for start, batch in _missing(_items(listed, numbers), captured, writer, batch_size):
            ids, pictures, questions = (list(column) for column in zip(*batch, strict=True))
            rows = _rows(vlm, chosen, pictures, questions)
            if writer is None:
                variables = _variables(chosen, rows, dtype)
                along = coordinates | _coordinates(variables)
                writer = DumpWriter.create(store, variables, along, images, block, ids[0], attributes)
            writer.write(start, ids, questions, rows)
            bar.advance(task, len(batch))
    return open_dump(store, partial=shard[1] > 1)


def _check_options(batch_size: int, dtype: str, shard: tuple[int, int]) -> None:
    if batch_size < 1:
        raise ValueError(f"`batch_size` must be at least 1, got {batch_size}")
    if dtype not in STORED:
        raise ValueError(f"`dtype` must be one of {', '.join(STORED)}, got {dtype!r}")
    if len(shard) != 2 or not 0 <= shard[0] < shard[1]:
        raise ValueError(f"`shard` must be (i, n) with 0 <= i < n, got {shard!r}")


def _part(images: int, block: int, shard: tuple[int, int]) -> range:
    """Numbers of the images of one shard: whole blocks, so that no two shards write the same file."""
    blocks = -(-images // block)
    first, last = (min(images, block * (blocks * index // shard[1])) for index in (shard[0], shard[0] + 1))
    return range(first, last)


def _missing(
    items: Iterator[tuple[int, _Item]], captured: npt.NDArray[np.bool_], writer: DumpWriter | None, batch_size: int
) -> Iterator[tuple[int, list[_Item]]]:
    """Batches of neighbours that are not captured, with the number of their first; captured ones are compared."""
    batch: list[_Item] = []
    start = 0
    for number, item in items:
        if captured[number]:
            assert writer is not None
            writer.check(number, item.image_id, item.question)
        else:
            start = start if batch else number
            batch.append(item)
        if batch and (captured[number] or len(batch) == batch_size):
            yield start, batch
            batch = []
    if batch:
        yield start, batch


@torch.no_grad()
def _rows(
    vlm: Vlm, reducers: Mapping[str, AbstractReducer], images: list[Image], questions: list[str]
) -> dict[str, npt.NDArray[Any]]:
    inputs = vlm.prepare(images, questions)
    with record(vlm, **reducers) as log:
        vlm.model(**inputs, use_cache=False, logits_to_keep=1)
    return {name: log[name].numpy() for name in log}


def _variables(
    reducers: Mapping[str, AbstractReducer], rows: Mapping[str, npt.NDArray[Any]], dtype: str
) -> dict[str, Variable]:
    found = {}
    for name, reducer in reducers.items():
        layer, head = AXES[reducer.tower]
        axes = (layer, *([head] if reducer.heads else []), *reducer.dims)
        for suffix in reducer.suffixes:
            values = rows[name + suffix]
            kind = "int32" if values.dtype.kind == "i" else dtype if reducer.of_weights else "float32"
            found[name + suffix] = Variable(axes, values.shape[1:], kind, reducer.label)
    return found


def _layer_coordinates(vlm: Vlm, reducers: Mapping[str, AbstractReducer]) -> dict[str, list[int]]:
    """Numbers, from 1, of the layers of each tower."""
    towers = {"vision": vlm.adapter.vision_layers(vlm.model), "text": vlm.adapter.text_layers(vlm.model)}
    found: dict[str, list[int]] = {}
    for name, reducer in reducers.items():
        if not isinstance(reducer, AbstractReducer):
            raise TypeError(f"`{name}` must be a reducer such as ClsRow(), got {reducer!r}")
        if name in RESERVED:
            raise ValueError(f"`reducers` must not use the name of an axis or coordinate of the dump, got {name!r}")
        layers = [1 + layer for layer in chosen_layers(name, reducer.layers, len(towers[reducer.tower]))]
        if found.setdefault(AXES[reducer.tower][0], layers) != layers:
            raise ValueError(
                f"`reducers` of one dump must name the same layers of the {reducer.tower} tower, `{name}` differs: "
                "capture it into a store of its own"
            )
    return found


def _coordinates(variables: Mapping[str, Variable]) -> dict[str, list[int]]:
    """Numbers along every axis but the layers: tokens from 0, the others from 1."""
    sizes: dict[str, int] = {}
    for name, variable in variables.items():
        for axis, size in zip(variable.axes[1:], variable.shape[1:], strict=True):
            if sizes.setdefault(axis, size) != size:
                raise ValueError(
                    f"`reducers` of one dump must agree on the length of {axis!r}, got {sizes[axis]} and, for "
                    f"`{name}`, {size}: capture it into a store of its own"
                )
    first = {axis: 0 if axis in COUNTED_FROM_ZERO else 1 for axis in sizes}
    return {axis: list(range(first[axis], first[axis] + size)) for axis, size in sizes.items()}


def _items(samples: Iterable[Any], numbers: range) -> Iterator[tuple[int, _Item]]:
    """The samples of `numbers`; others are not even loaded where samples can be had by index."""
    if isinstance(samples, Sequence):
        for number in numbers:
            yield number, _item(number, samples[number])
    else:
        for number, sample in enumerate(samples):
            if number in numbers:
                yield number, _item(number, sample)


def _item(number: int, sample: Any) -> _Item:
    if isinstance(sample, tuple) and len(sample) == 3:
        item = _Item(*sample)
    else:
        try:
            item = _Item(sample.image_id, sample.image, sample.questions[0].question)
        except (AttributeError, IndexError, TypeError) as error:
            raise ValueError(
                "`samples` must hold (image_id, image, question), or objects with image_id, image and questions; "
                f"sample {number} is a {type(sample).__name__}: {error}"
            ) from error
    if not isinstance(item.image, Image) or not isinstance(item.question, str):
        raise ValueError(
            f"sample {number} must have a PIL image and a question of type str, got "
            f"{type(item.image).__name__} and {type(item.question).__name__}"
        )
    return item


def _spec(value: Any) -> Any:
    """A reducer, or a parameter of one, as JSON."""
    if isinstance(value, AbstractReducer):
        return {"reducer": type(value).__name__} | {f.name: _spec(getattr(value, f.name)) for f in fields(value)}
    return list(value) if isinstance(value, tuple) else value


def _attributes(vlm: Vlm, reducers: Mapping[str, AbstractReducer], dtype: str) -> dict[str, Any]:
    return {
        "model": vlm.id,
        "revision": vlm.revision,
        "config_hash": vlm.config_hash,
        "weights": fingerprint(vlm.model),
        "grid": list(vlm.adapter.grid(vlm.model)),
        "token_order": TOKEN_ORDER,
        "image_token_id": vlm.adapter.image_token_id(vlm.model),
        "feature_layer": vlm.adapter.feature_layer(vlm.model) + 1,
        "vision_source": vision_reducer(vlm.adapter).label,
        "dtype": str(vlm.model.dtype).removeprefix("torch."),
        "stored": dtype,
        "capture": {name: _spec(reducer) for name, reducer in reducers.items()},
        "captured": CAPTURED,
        "provenance": provenance(),
    }
