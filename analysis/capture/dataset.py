"""`capture_dataset`: the attention of many images into one store, continued where it stopped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from PIL.Image import Image
from zarr.storage import StoreLike

from solvers.progress import progress_bar
from solvers.provenance import provenance

from ..models import Vlm, fingerprint
from .area_rows import prompt_positions
from .by_layout import capture_by_layout
from .dump import POSITION, DumpWriter
from .encoder_pass import source_label
from .named import default_reducers, vision_reducer
from .plan import Plan
from .reader import open_dump, open_dumps
from .record import record
from .reducers import AbstractReducer
from .samples import items_of, missing
from .shapes import coordinates_of, layer_coordinates, variables_of

CAPTURED = "softmax weights over all keys, restricted to the visual tokens, not renormalised; prefill"
TOKEN_ORDER = "row-major over `grid`, token 0 top left; special tokens left out"
STORED = ("float32", "float16")


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
) -> xr.Dataset | xr.DataTree:
    """Attention to the visual tokens for each sample, by default of the encoder's CLS and of the last prompt token.

    One forward pass per sample, without decoding. A killed run, called again, goes on with the batches that were not
    written whole, without duplicates or holes.

    Where the number of visual tokens depends on the image (Qwen, LLaVA-NeXT, tiles of InternVL), images are grouped by
    the grids of their tokens, never padded: each group is a dump of its own inside the store. Several grids of one
    image, such as the whole image and all its crops put together, are groups side by side. What the encoder lacks is
    substituted as the attribute `source` of the variable says, for example "vision mean received, windows un-permuted,
    merged 2 x 2 by sum" where there is no CLS, and four patches make a token.

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
    xarray.Dataset or xarray.DataTree
        See `open_dump`; for images of different grids see `open_dumps`. With several shards it holds what is captured
        so far.

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
    coordinates = layer_coordinates(vlm, chosen)
    listed = samples if hasattr(samples, "__len__") else list(samples)
    if len(listed) == 0:  # type: ignore[arg-type]
        raise ValueError("`samples` must hold at least one sample, got none")
    with record(vlm, **chosen):  # refuses before anything is written what this model cannot be asked
        pass
    plan = Plan(vlm, chosen, coordinates, _attributes(vlm, chosen, dtype), batch_size, dtype)
    options: dict[str, Any] = {"shard": shard, "resume": resume, "progress": progress}
    if vlm.adapter.fixed_grid and not vlm.adapter.tiled:
        _capture_one_grid(plan, listed, store, **options)
        return open_dump(store, partial=shard[1] > 1)
    capture_by_layout(plan, listed if isinstance(listed, Sequence) else list(listed), store, **options)
    return open_dumps(store, partial=shard[1] > 1)


def _capture_one_grid(
    plan: Plan, samples: Iterable[Any], store: StoreLike, *, shard: tuple[int, int], resume: bool, progress: bool
) -> None:
    images = len(samples)  # type: ignore[arg-type]
    facts = {**plan.attributes, "grid": list(plan.vlm.adapter.grid(plan.vlm.model))}
    writer = DumpWriter.resume(store, images, facts)
    if writer is not None and not resume:
        raise FileExistsError(f"{str(store)!r} holds a dump already: delete it, or pass resume=True")
    block = writer.block if writer is not None else min(plan.batch_size, images)
    captured = writer.captured if writer is not None else np.zeros(images, dtype=np.bool_)
    numbers = _part(images, block, shard)
    with progress_bar(progress) as bar:
        task = bar.add_task("attention", total=len(numbers), completed=int(captured[numbers].sum()))
        for start, batch in missing(items_of(samples, numbers), captured, writer, plan.batch_size):
            ids, pictures, questions = (list(column) for column in zip(*batch, strict=True))
            rows = _rows(plan, pictures, questions)
            if writer is None:
                variables = variables_of(plan.reducers, rows, plan.dtype, plan.labels())
                along = {**plan.coordinates, **coordinates_of(variables)}
                writer = DumpWriter.create(store, variables, along, images, block, ids[0], facts)
            writer.write(start, ids, questions, rows)
            bar.advance(task, len(batch))


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


@torch.no_grad()
def _rows(plan: Plan, images: list[Image], questions: list[str]) -> dict[str, npt.NDArray[Any]]:
    inputs = plan.vlm.prepare(images, questions)
    with record(plan.vlm, **plan.reducers) as log:
        plan.vlm.model(**inputs, use_cache=False, logits_to_keep=1)
    return {name: log[name].numpy() for name in log} | {POSITION: np.stack(prompt_positions(plan.vlm, inputs))}


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
        "token_order": TOKEN_ORDER,
        "image_token_id": vlm.adapter.image_token_id(vlm.model),
        "feature_layer": vlm.adapter.feature_layer(vlm.model) + 1,
        "vision_source": source_label(vision_reducer(vlm.adapter), vlm.adapter, vlm.model),
        "dtype": str(vlm.model.dtype).removeprefix("torch."),
        "stored": dtype,
        "capture": {name: _spec(reducer) for name, reducer in reducers.items()},
        "captured": CAPTURED,
        "provenance": provenance(),
    }
