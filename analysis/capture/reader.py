"""`open_dump`: an attention dump as a lazy xarray.Dataset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import dask.array
import numpy as np
import numpy.typing as npt
import xarray as xr
import zarr
from zarr.storage import StoreLike

from .store import array_of, is_empty, open_group, refuse_lost_rows, shown, values_of, variable_names


def open_dump(store: StoreLike, *, partial: bool = False) -> xr.Dataset:
    """Open a dump; arrays are lazy (Dask), ids and questions are in memory.

    Parameters
    ----------
    store
        Folder, URL or Zarr store.
    partial
        Whether a dump that lacks images is opened without them; by default it is refused.

    Returns
    -------
    xarray.Dataset
        Variables by the name of their reducer, by default `cls` [image, vision_layer, vision_head, token] (for encoders
        without CLS `received` in its place) and `last` [image, layer, head, token]: softmax weights over all keys,
        restricted to the visual tokens, not renormalised. The attribute `source` of a variable says what it holds.
        Coordinates `image_id` and `question` [image]; layers and heads count from 1, tokens from 0. Attributes name
        the model, the grid, the order of the tokens and what was captured.

    Raises
    ------
    FileNotFoundError
        If there is nothing.
    ValueError
        If something else is there, a dump of another release, or images are missing.
    OSError
        If it is damaged. Damaged values are found when they are read, by their checksum; the error names the images.
    """
    if is_empty(store):
        raise FileNotFoundError(f"there is no attention dump at {shown(store)}")
    group = open_group(store, "r")
    captured = values_of(group, "captured", store).astype(np.bool_)
    if not captured.all() and not partial:
        raise ValueError(
            f"{shown(store)} holds {captured.sum()} of {len(captured)} images: finish it with "
            "capture_dataset(..., resume=True), or open it with partial=True"
        )
    refuse_lost_rows(group, captured, store)
    ids, questions = values_of(group, "image_id", store), values_of(group, "question", store)
    arrays = {name: array_of(group, name, store) for name in variable_names(group)}
    axes = {name: _axes(array) for name, array in arrays.items()}
    along = {axis: values_of(group, axis, store) for names in axes.values() for axis in names[1:]}
    data = xr.Dataset(
        {name: (axes[name], _lazy(name, array, captured, store), dict(array.attrs)) for name, array in arrays.items()},
        {
            **{axis: (axis, numbers) for axis, numbers in along.items()},
            "image_id": ("image", ids if ids.dtype.kind == "i" else ids.astype(object)),
            "question": ("image", questions.astype(object)),
        },
        attrs={name: value for name, value in group.attrs.items() if name != "coordinates"},
    )
    return data if captured.all() else data.isel(image=np.flatnonzero(captured))


@dataclass(frozen=True, eq=False)
class _Stored:
    """An array of a dump that says where it is damaged; what Dask slices."""

    name: str
    array: zarr.Array[Any]
    captured: npt.NDArray[np.bool_]
    shown: str

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def ndim(self) -> int:
        return self.array.ndim

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.array.dtype)

    def __getitem__(self, index: tuple[slice, ...]) -> npt.NDArray[Any]:
        images = np.arange(len(self.captured))[index[0]]
        try:
            values = np.asarray(self.array[index])
        except Exception as error:  # a truncated or altered file fails in many ways inside the library
            raise self._damaged(images, f"{type(error).__name__}: {error}") from error
        written = values[self.captured[images]]
        # an emptied file is read as fill values, which no image has
        if (np.isnan(written) if written.dtype.kind == "f" else written < 0).any():
            raise self._damaged(images, "values are missing")
        return values

    def _damaged(self, images: npt.NDArray[np.int64], reason: str) -> OSError:
        return OSError(
            f"the attention dump at {self.shown} is damaged: {self.name!r} of images {images[0]} to {images[-1]} "
            f"cannot be read ({reason})"
        )


def _lazy(name: str, array: zarr.Array[Any], captured: npt.NDArray[np.bool_], store: StoreLike) -> dask.array.Array:
    axes = _axes(array)
    whole = "query" not in axes or "token" not in axes  # all layers of a block at once, but map by map
    chunks = array.shards if whole and array.shards is not None else array.chunks
    stored = _Stored(name, array, captured, shown(store))
    lazy: dask.array.Array = dask.array.from_array(
        stored, chunks=chunks, name=False, asarray=True, fancy=False, meta=np.empty((0,) * array.ndim, stored.dtype)
    )
    return lazy


def _axes(array: zarr.Array[Any]) -> tuple[str, ...]:
    return tuple(str(axis) for axis in getattr(array.metadata, "dimension_names", None) or ())
