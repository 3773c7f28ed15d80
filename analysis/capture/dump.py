"""Writing an attention dump: a Zarr (version 3) group whose arrays are named as xarray expects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.core.buffer import default_buffer_prototype
from zarr.errors import ContainsArrayError, ContainsGroupError
from zarr.storage import StoreLike

from .store import (
    FORMAT,
    LAYOUTS,
    array_of,
    is_empty,
    is_laid_out,
    open_group,
    refuse_lost_rows,
    refuse_other_capture,
    shown,
    values_of,
)

POSITION = "position"
"""Name of the variable that says where in its prompt a visual token stands."""
IDENTITY = ("model", "revision", "config_hash", "weights", "grid", "capture", "stored")
"""Attributes that must agree before a dump is continued."""


class Variable(NamedTuple):
    """An array of a dump, without its image axis."""

    axes: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    source: str
    """What it holds, in words."""


@dataclass
class DumpWriter:
    """A dump that is being filled, by one process or by several, each with images of its own.

    Rows are written first and marked as captured last, each by replacing a file whole, so a process that is killed
    leaves rows that are marked and complete, or not marked and written again. Every file holds the images of one block;
    processes share no block, so none writes what another reads.
    """

    group: zarr.Group
    store: StoreLike

    @classmethod
    def create(
        cls,
        store: StoreLike,
        variables: Mapping[str, Variable],
        coordinates: Mapping[str, Sequence[int]],
        images: int,
        block: int,
        image_id: object,
        attributes: Mapping[str, Any],
    ) -> DumpWriter:
        """An empty dump. Processes that lay out the same one at the same time do not disturb each other.

        Parameters
        ----------
        store
            Folder, URL or Zarr store; what a run that was stopped here left of another layout is replaced.
        variables, coordinates
            Arrays, and numbers along their axes.
        images
            Number of images to come.
        block
            Images per file: one compressed and checksummed file per variable and block.
        image_id
            The first image's id: integers are stored as such, everything else as text.
        attributes
            JSON-able facts about the model and the capture.
        """
        beside = " ".join(("image_id", "question", *(name for name in variables if name == POSITION)))
        facts = {"format": FORMAT, "coordinates": beside, "variables": list(variables), **attributes}
        kind: Any = "int64" if isinstance(image_id, Integral) else str
        with writing(store):
            group = ensure_group(store, facts)
            for name, variable in variables.items():
                ensure(
                    group,
                    name,
                    shape=(images, *variable.shape),
                    chunks=(*_chunk(block, variable), *variable.shape[-1:]),
                    shards=(block, *variable.shape),
                    dtype=variable.dtype,
                    fill_value=float("nan") if variable.dtype.startswith("float") else -1,
                    compressors=[BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle"), Crc32cCodec()],
                    dimension_names=("image", *variable.axes),
                    attributes={"source": variable.source},
                )
            for axis, numbers in coordinates.items():
                values = np.asarray(numbers, dtype=np.int64)
                ensure(group, axis, shape=values.shape, chunks=values.shape, dtype="int64", dimension_names=(axis,))
                array_of(group, axis, store)[:] = values
            for name, dtype in (("image_id", kind), ("question", str), ("captured", "bool")):
                ensure(group, name, shape=(images,), chunks=(block,), dtype=dtype, dimension_names=("image",))
        return cls(group, store)

    @classmethod
    def resume(cls, store: StoreLike, images: int, attributes: Mapping[str, Any]) -> DumpWriter | None:
        """The dump begun at `store`, or None if there is none yet.

        Raises
        ------
        ValueError
            If something else is there, or a dump of another release, model, configuration, capture or number of images.
        OSError
            If it is damaged.
        """
        if is_empty(store):
            return None
        group = open_group(store, "r+")
        if LAYOUTS not in group.attrs and not is_laid_out(group, store):
            return None  # the process ended while it laid the dump out
        refuse_other_capture(group, {name: attributes[name] for name in IDENTITY}, store, by_layout=False)
        captured = array_of(group, "captured", store)
        if captured.shape != (images,):
            raise ValueError(
                f"{shown(store)} was begun for {captured.shape[0]} images, `samples` holds {images}; "
                "choose another store"
            )
        writer = cls(group, store)
        refuse_lost_rows(group, writer.captured, store)
        return writer

    @property
    def block(self) -> int:
        """Images per file."""
        return int(array_of(self.group, "captured", self.store).chunks[0])

    @property
    def captured(self) -> npt.NDArray[np.bool_]:
        """Which images are complete."""
        return values_of(self.group, "captured", self.store).astype(np.bool_)

    @cached_property
    def _asked(self) -> list[npt.NDArray[Any]]:
        return [values_of(self.group, name, self.store).astype(object) for name in ("image_id", "question")]

    def check(self, number: int, image_id: object, question: str) -> None:
        """Refuse a sample that is not the one captured as `number`."""
        refuse_other_sample(number, [stored[number] for stored in self._asked], image_id, question)

    def write(
        self, start: int, image_ids: Sequence[Any], questions: Sequence[str], rows: Mapping[str, npt.NDArray[Any]]
    ) -> None:
        """Store the images from number `start` on, then mark them as captured.

        Raises
        ------
        OSError
            If that is not possible: a full disk, a lost right or connection. What was marked before stays as it is.
        ValueError
            If a row holds NaN: the model overflows in its number type, or its weights are damaged.
        """
        for name, values in rows.items():
            if np.isnan(values).any():
                raise ValueError(f"`{name}` must be numbers, got NaN for one of the images {list(image_ids)}")
        integers = array_of(self.group, "image_id", self.store).dtype.kind == "i"
        ids = np.array(image_ids, dtype=np.int64) if integers else np.array(list(map(str, image_ids)), dtype=object)
        with writing(self.store):
            for name, values in rows.items():
                self._set(name, start, values)
            self._set("image_id", start, ids)
            self._set("question", start, np.array(questions, dtype=object))
            self._set("captured", start, np.ones(len(ids), dtype=np.bool_))

    def _set(self, name: str, start: int, values: npt.NDArray[Any]) -> None:
        array_of(self.group, name, self.store)[start : start + len(values)] = values


def refuse_other_sample(number: int, there: Sequence[Any], image_id: object, question: str) -> None:
    """ValueError unless id and question of sample `number` are those that a dump has `there`."""
    if (str(there[0]), str(there[1])) != (str(image_id), question):
        raise ValueError(
            f"the store was captured from other samples: number {number} in it is image {there[0]} with "
            f"{str(there[1])!r}, in `samples` image {image_id} with {question!r}; choose another store"
        )


def _chunk(block: int, variable: Variable) -> tuple[int, ...]:
    """Lengths, but for the last axis, of what is compressed as one: a layer of a block, or a single map."""
    if "query" in variable.axes and "token" in variable.axes:
        return (*(1 for _ in variable.shape[:-2]), 1, variable.shape[-2])
    layer = [1] if len(variable.shape) > 1 else []  # positions have none
    return (block, *layer, *variable.shape[1:-1])


def ensure_group(store: StoreLike, facts: Mapping[str, Any]) -> zarr.Group:
    """The group at `store` with these attributes, made if it is not there."""
    try:
        return zarr.create_group(store, zarr_format=3, attributes=dict(facts))
    except ContainsGroupError:
        group = zarr.open_group(store, mode="r+", zarr_format=3)
        group.attrs.update(facts)
        return group


def ensure(group: zarr.Group, name: str, *, attributes: Mapping[str, Any] | None = None, **layout: Any) -> None:
    """Make an array unless it is there as wanted; what is there but different is replaced."""
    options = layout | {"attributes": dict(attributes or {})}
    try:
        group.create_array(name, **options)
    except ContainsArrayError:
        wanted = zarr.create_array(zarr.storage.MemoryStore(), **options)
        if _metadata(group[name]) != _metadata(wanted):
            group.create_array(name, overwrite=True, **options)


def _metadata(node: zarr.Array[Any] | zarr.Group) -> bytes:
    """As it is stored: a fill value of NaN is not equal to itself, its text is."""
    return node.metadata.to_buffer_dict(default_buffer_prototype())["zarr.json"].to_bytes()


@contextmanager
def writing(store: StoreLike) -> Iterator[None]:
    """Says of what cannot be written that nothing is lost."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        message = (
            f"the attention dump at {shown(store)} cannot be written ({reason}); images captured before are intact, "
            "and the same call goes on from there"
        )
        raise OSError(error.errno, message) if error.errno else OSError(message) from error
