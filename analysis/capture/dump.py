"""The store of an attention dump: a Zarr (version 3) group whose arrays are named as xarray expects."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.storage import StoreLike

FORMAT = "prunescope-attention-1"
AXES = {
    "cls": ("image", "vision_layer", "vision_head", "token"),
    "last": ("image", "layer", "head", "token"),
}
IDENTITY = ("model", "revision", "config_hash", "weights", "grid")
"""Attributes that must agree before a dump is continued."""


@dataclass
class DumpWriter:
    """A dump that is being filled. Rows are written first and marked as captured last, each by replacing a file whole,
    so a process that is killed leaves rows that are marked and complete, or not marked and written again."""

    group: zarr.Group
    done: int = 0

    @classmethod
    def create(
        cls,
        store: StoreLike,
        shapes: Mapping[str, tuple[int, ...]],
        images: int,
        batch: int,
        image_id: object,
        attributes: Mapping[str, Any],
    ) -> DumpWriter:
        """An empty dump.

        Parameters
        ----------
        store
            Folder, URL or Zarr store; what is there is replaced.
        shapes
            Layers, heads and tokens of each variable.
        images
            Number of images to come.
        batch
            Images per write: one compressed and checksummed file per variable and batch.
        image_id
            The first image's id: integers are stored as such, everything else as text.
        attributes
            JSON-able facts about the model and the capture.
        """
        group = zarr.create_group(
            store,
            overwrite=True,
            zarr_format=3,
            attributes={"format": FORMAT, "coordinates": "image_id question", **attributes},
        )
        for name, shape in shapes.items():
            _, heads, tokens = shape
            group.create_array(
                name,
                shape=(images, *shape),
                chunks=(batch, 1, heads, tokens),
                shards=(batch, *shape),
                dtype="float32",
                fill_value=float("nan"),
                compressors=[BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle"), Crc32cCodec()],
                dimension_names=AXES[name],
            )
            for axis, size in zip(AXES[name][1:], shape, strict=True):
                if axis not in group:
                    first = 0 if axis == "token" else 1
                    numbers = group.create_array(axis, shape=(size,), dtype="int64", dimension_names=(axis,))
                    numbers[:] = np.arange(first, first + size)
        kind: Any = "int64" if isinstance(image_id, Integral) else str
        for name, dtype in (("image_id", kind), ("question", str), ("captured", "bool")):
            group.create_array(name, shape=(images,), chunks=(images,), dtype=dtype, dimension_names=("image",))
        return cls(group)

    @classmethod
    def resume(cls, store: StoreLike, images: int, attributes: Mapping[str, Any]) -> DumpWriter | None:
        """The dump begun at `store`, or None if there is none yet.

        Raises
        ------
        ValueError
            If something else is there, or a dump of another model, configuration or number of images.
        OSError
            If it is damaged.
        """
        if _is_empty(store):
            return None
        group = _open(store, "r+")
        if "captured" not in group and not any(
            _array(group, name, store).nchunks_initialized for name in AXES if name in group
        ):
            return None  # made last: the process ended while it laid the dump out
        captured = _array(group, "captured", store)
        for name in IDENTITY:
            if group.attrs.get(name) != attributes[name]:
                raise ValueError(
                    f"{_shown(store)} holds attention of another model: its {name} is {group.attrs.get(name)!r}, "
                    f"this model's is {attributes[name]!r}; choose another store"
                )
        if captured.shape != (images,):
            raise ValueError(
                f"{_shown(store)} was begun for {captured.shape[0]} images, `samples` holds {images}; "
                "choose another store"
            )
        marks = np.asarray(captured[:], dtype=np.bool_)
        _refuse_lost_rows(group, marks, store)
        return cls(group, int(marks.sum()))

    def check(self, image_ids: Sequence[Any], questions: Sequence[str]) -> None:
        """Refuse samples that are not the ones captured so far."""
        stored = [_values(self.group, name)[: self.done].astype(object) for name in ("image_id", "question")]
        for number, (image_id, question) in enumerate(zip(image_ids, questions, strict=True)):
            there = (str(stored[0][number]), str(stored[1][number]))
            if there != (str(image_id), question):
                raise ValueError(
                    f"the store was captured from other samples: number {number} in it is image {there[0]} with "
                    f"{there[1]!r}, in `samples` image {image_id} with {question!r}; choose another store"
                )

    def write(self, image_ids: Sequence[Any], questions: Sequence[str], rows: Mapping[str, Any]) -> None:
        """Append images, then mark them as captured."""
        count = len(image_ids)
        integers = _values(self.group, "image_id").dtype.kind == "i"
        ids = np.array(image_ids, dtype=np.int64) if integers else np.array(list(map(str, image_ids)), dtype=object)
        for name, values in rows.items():
            self._set(name, values)
        self._set("image_id", ids)
        self._set("question", np.array(questions, dtype=object))
        self._set("captured", np.ones(count, dtype=np.bool_))
        self.done += count

    def _set(self, name: str, values: npt.NDArray[Any]) -> None:
        array = self.group[name]
        assert isinstance(array, zarr.Array)
        array[self.done : self.done + len(values)] = values


def open_dump(store: StoreLike) -> xr.Dataset:
    """Open a finished dump; arrays are lazy (Dask), ids and questions are in memory.

    Returns
    -------
    xarray.Dataset
        Variables `cls` [image, vision_layer, vision_head, token] (for encoders with CLS) and `last` [image, layer,
        head, token], float32: softmax weights over all keys, restricted to the visual tokens, not renormalised.
        Coordinates `image_id` and `question` [image]; layers and heads count from 1, tokens from 0. Attributes name
        the model, the grid and what was captured.

    Raises
    ------
    FileNotFoundError
        If there is nothing.
    ValueError
        If something else is there, or images are missing.
    OSError
        If it is damaged. Damaged values are found by their checksum when they are read.
    """
    if _is_empty(store):
        raise FileNotFoundError(f"there is no attention dump at {_shown(store)}")
    group = _open(store, "r")
    captured = _values(group, "captured", store)
    if not captured.all():
        raise ValueError(
            f"{_shown(store)} holds {captured.sum()} of {len(captured)} images: finish it with "
            "capture_dataset(..., resume=True)"
        )
    _refuse_lost_rows(group, captured, store)
    ids, questions = _values(group, "image_id", store), _values(group, "question", store)
    data = xr.open_zarr(
        group.store, group=group.path or None, consolidated=False, chunks={"vision_layer": -1, "layer": -1}
    )
    return data.drop_vars(["captured", "image_id", "question"]).assign_coords(
        image_id=("image", ids if ids.dtype.kind == "i" else ids.astype(object)),
        question=("image", questions.astype(object)),
    )


def _open(store: StoreLike, mode: Any) -> zarr.Group:
    try:
        group = zarr.open_group(store, mode=mode, zarr_format=3)
    except Exception as error:  # a damaged file fails in many ways inside the library
        raise _foreign_or_damaged(store, error) from error
    if group.attrs.get("format") != FORMAT:
        raise ValueError(f"{_shown(store)} is not an attention dump of this format ({FORMAT}); choose another store")
    return group


def _foreign_or_damaged(store: StoreLike, error: Exception) -> Exception:
    path = _local(store)
    if path is not None and not (path / "zarr.json").is_file():
        return ValueError(f"{_shown(store)} is not an attention dump: no zarr.json in it; choose another store")
    return OSError(f"the attention dump at {_shown(store)} is damaged: {type(error).__name__}: {error}")


def _array(group: zarr.Group, name: str, store: StoreLike) -> zarr.Array[Any]:
    try:
        array = group[name]
        assert isinstance(array, zarr.Array)
    except Exception as error:
        raise OSError(
            f"the attention dump at {_shown(store)} is damaged: {name!r} cannot be read ({type(error).__name__})"
        ) from error
    return array


def _values(group: zarr.Group, name: str, store: StoreLike = "") -> npt.NDArray[Any]:
    return np.asarray(_array(group, name, store)[:])


def _refuse_lost_rows(group: zarr.Group, captured: npt.NDArray[np.bool_], store: StoreLike) -> None:
    """Zarr reads a lost file as fill values: count the files instead of believing the marks."""
    for name in AXES:
        if name in group or name == "last":
            array = _array(group, name, store)
            written = len(np.unique(np.flatnonzero(captured) // array.chunks[0]))
            expected = written * array.shape[1]
            if array.nchunks_initialized < expected:
                raise OSError(
                    f"the attention dump at {_shown(store)} is damaged: {name!r} has "
                    f"{array.nchunks_initialized // array.shape[1]} of {written} files"
                )


def _local(store: StoreLike) -> Path | None:
    if isinstance(store, str) and "://" in store:
        return None
    return Path(store) if isinstance(store, str | os.PathLike) else None


def _is_empty(store: StoreLike) -> bool:
    path = _local(store)
    if path is None:
        return not _remote_group_exists(store)
    if not path.exists():
        return True
    if not path.is_dir():
        raise ValueError(f"{_shown(store)} is not an attention dump but a file; choose another store")
    # a process killed while it wrote the very first file leaves a part of it
    return all(entry.suffix == ".partial" for entry in path.iterdir())


def _remote_group_exists(store: StoreLike) -> bool:
    try:
        zarr.open_group(store, mode="r", zarr_format=3)
    except FileNotFoundError:
        return False
    return True


def _shown(store: StoreLike) -> str:
    return repr(str(store))
