"""`capture_dataset`: the attention of many images into one store, continued where it stopped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from PIL.Image import Image
from zarr.storage import StoreLike

from solvers.progress import progress_bar
from solvers.provenance import provenance

from ..models import Vlm, fingerprint
from .dump import DumpWriter, open_dump
from .record import record
from .reducers import AbstractReducer, ClsRow, LastRow

CAPTURED = "softmax weights over all keys, restricted to the visual tokens, not renormalised; prefill"


class _Item(NamedTuple):
    image_id: Any
    image: Image
    question: str


def capture_dataset(
    vlm: Vlm,
    samples: Iterable[Any],
    store: StoreLike,
    *,
    batch_size: int = 8,
    resume: bool = True,
    progress: bool = True,
) -> xr.Dataset:
    """Attention to the visual tokens for each sample: CLS rows of the encoder, last-token rows of the language model.

    One forward pass per sample, without decoding. A killed run, called again, goes on after the last batch that was
    written whole, without duplicates or holes.

    Parameters
    ----------
    vlm
        The model.
    samples
        Objects with `image_id`, `image` (PIL) and `questions`, of which the first is asked (`.questions[0].question`),
        or tuples (image_id, image, question). The same ones in the same order when a run is continued.
    store
        Folder, URL or Zarr store.
    batch_size
        Images per forward pass and per write. The one of the first run fixes the files of the store.
    resume
        Whether to continue, or simply return, what is in the store; False refuses a store that is not empty.
    progress
        Whether to show a progress bar (on standard error).

    Returns
    -------
    xarray.Dataset
        See `open_dump`.

    Raises
    ------
    ValueError
        If there are no samples, a sample is something else, `batch_size` is below 1, or the store holds something else:
        other files, or a dump of another model, configuration or other samples.
    FileExistsError
        If the store is not empty and `resume` is False.
    OSError
        If the store is damaged.
    """
    if batch_size < 1:
        raise ValueError(f"`batch_size` must be at least 1, got {batch_size}")
    listed = samples if hasattr(samples, "__len__") else list(samples)
    images = len(listed)  # type: ignore[arg-type]
    if images == 0:
        raise ValueError("`samples` must hold at least one sample, got none")
    attributes = _attributes(vlm)
    writer = DumpWriter.resume(store, images, attributes)
    if writer is not None and not resume:
        raise FileExistsError(f"{str(store)!r} holds a dump already: delete it, or pass resume=True")
    items = islice(_items(listed), images)
    with progress_bar(progress) as bar:
        task = bar.add_task("attention", total=images)
        if writer is not None:
            done = list(islice(items, writer.done))
            writer.check([item.image_id for item in done], [item.question for item in done])
            bar.advance(task, writer.done)
        while batch := list(islice(items, batch_size)):
            ids, pictures, questions = (list(column) for column in zip(*batch, strict=True))
            rows = _rows(vlm, pictures, questions)
            if writer is None:
                shapes = {name: tuple(values.shape[1:]) for name, values in rows.items()}
                writer = DumpWriter.create(store, shapes, images, min(batch_size, images), ids[0], attributes)
            writer.write(ids, questions, rows)
            bar.advance(task, len(batch))
    return open_dump(store)


@torch.no_grad()
def _rows(vlm: Vlm, images: list[Image], questions: list[str]) -> dict[str, npt.NDArray[np.float32]]:
    reducers: dict[str, AbstractReducer] = {"cls": ClsRow()} if vlm.adapter.has_cls else {}
    reducers["last"] = LastRow()
    inputs = vlm.prepare(images, questions)
    with record(vlm, **reducers) as log:
        vlm.model(**inputs, use_cache=False, logits_to_keep=1)
    return {name: log[name].numpy() for name in log}


def _items(samples: Iterable[Any]) -> Iterator[_Item]:
    for number, sample in enumerate(samples):
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
        yield item


def _attributes(vlm: Vlm) -> dict[str, Any]:
    return {
        "model": vlm.id,
        "revision": vlm.revision,
        "config_hash": vlm.config_hash,
        "weights": fingerprint(vlm.model),
        "grid": list(vlm.adapter.grid(vlm.model)),
        "feature_layer": vlm.adapter.feature_layer(vlm.model) + 1,
        "dtype": str(vlm.model.dtype).removeprefix("torch."),
        "captured": CAPTURED,
        "provenance": provenance(),
    }
