"""`open_dump`: an attention dump as a lazy xarray.Dataset; `open_dumps`: one of several grids as a tree of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import dask.array
import numpy as np
import numpy.typing as npt
import xarray as xr
import zarr
from zarr.storage import StoreLike

from solvers.names import nearest

from .dump import POSITION
from .layout_index import BLOCK, LayoutIndex
from .store import (
    LAYOUTS,
    array_of,
    is_empty,
    is_laid_out,
    open_group,
    refuse_lost_rows,
    shown,
    values_of,
    variable_names,
)


def open_dump(store: StoreLike, *, partial: bool = False, grid: str | None = None) -> xr.Dataset:
    """Open a dump; arrays are lazy (Dask), ids and questions are in memory.

    Parameters
    ----------
    store
        Folder, URL or Zarr store.
    partial
        Whether a dump that lacks images is opened without them; by default it is refused.
    grid
        Which group of a dump whose images have different grids, for example "16x20"; None where there is but one.

    Returns
    -------
    xarray.Dataset
        Variables by the name of their reducer, by default `cls` [image, vision_layer, vision_head, token] (for encoders
        without CLS `received` in its place) and `last` [image, layer, head, token]: softmax weights over all keys,
        restricted to the visual tokens, not renormalised. The attribute `source` of a variable says what it holds.
        Coordinates `image_id` and `question` [image], and `position` [image, token], where in its prompt, padding not
        counted, a visual token stands; layers and heads count from 1, tokens from 0. Attributes name the model, the
        grid, the order of the tokens and what was captured.

    Raises
    ------
    FileNotFoundError
        If there is nothing.
    ValueError
        If something else is there, a dump of another release, or images are missing; if there are several grids and
        `grid` names none.
    KeyError
        If `grid` names another; the nearest is suggested.
    OSError
        If it is damaged. Damaged values are found when they are read, by their checksum; the error names the images.
    """
    if is_empty(store):
        raise FileNotFoundError(f"there is no attention dump at {shown(store)}")
    group = open_group(store, "r")
    if LAYOUTS in group.attrs:
        return open_dump(_group_at(LayoutIndex(group, store), grid), partial=partial)
    if grid is not None and grid != _grid_name(group):
        raise KeyError(f"{shown(store)} holds images of the grid {_grid_name(group)} only, got {grid!r}")
    captured = values_of(group, "captured", store).astype(np.bool_)
    if not captured.all() and not partial:
        raise _unfinished(store, captured)
    refuse_lost_rows(group, captured, store)
    ids, questions = values_of(group, "image_id", store), values_of(group, "question", store)
    arrays = {name: array_of(group, name, store) for name in variable_names(group)}
    axes = {name: _axes(array) for name, array in arrays.items()}
    along = {axis: values_of(group, axis, store) for names in axes.values() for axis in names[1:]}
    lazy = {
        name: (axes[name], _lazy(name, array, captured, store), dict(array.attrs)) for name, array in arrays.items()
    }
    beside = {name: lazy.pop(name) for name in (POSITION,) if name in lazy}
    data = xr.Dataset(
        lazy,
        {
            **beside,
            **{axis: (axis, numbers) for axis, numbers in along.items()},
            "image_id": ("image", ids if ids.dtype.kind == "i" else ids.astype(object)),
            "question": ("image", questions.astype(object)),
        },
        attrs={name: value for name, value in group.attrs.items() if name != "coordinates"},
    )
    return data if captured.all() else data.isel(image=np.flatnonzero(captured))


def open_dumps(store: StoreLike, *, partial: bool = False) -> xr.DataTree:
    """Open a dump whose images have different grids: a tree with a dataset for each of them.

    Parameters
    ----------
    store
        Folder, URL or Zarr store.
    partial
        Whether a dump that lacks images is opened without them; by default it is refused.

    Returns
    -------
    xarray.DataTree
        A child for each grid, as `open_dump` returns it, named as "16x20". Where an image has several grids, these are
        children of their own with the same images: "24x24+36x48-whole" and "24x24+36x48-crops". The root holds
        `image_id`, `question`, `layout` ("16x20", "24x24+36x48") and `captured` [sample], for all images in the order
        of the samples. A dump of one grid is a tree with one child. Metrics take one child at a time:
        ``{name: measure(child.to_dataset()) for name, child in dumps.children.items()}``.

    Raises
    ------
    FileNotFoundError, ValueError, OSError
        As for `open_dump`.
    """
    if is_empty(store):
        raise FileNotFoundError(f"there is no attention dump at {shown(store)}")
    group = open_group(store, "r")
    if LAYOUTS not in group.attrs:
        alone = open_dump(store, partial=partial)
        return xr.DataTree(children={_grid_name(group): xr.DataTree(alone)})
    index = LayoutIndex(group, store)
    captured = np.zeros(len(index.of_sample), dtype=np.bool_)
    found: dict[str, xr.Dataset] = {}
    for number, layout in enumerate(index.layouts):
        begun = [part.name for part in layout.groups if _is_begun(group, part.name, index.at(part.name))]
        parts = {name: open_dump(index.at(name), partial=True) for name in begun}
        found |= {name: part for name, part in parts.items() if part.sizes["image"]}
        if len(begun) == len(layout.groups):
            marks = [values_of(open_group(index.at(name), "r"), "captured", index.at(name)) for name in begun]
            captured[index.numbers(number)] = np.logical_and.reduce(marks)
    if not captured.all() and not partial:
        raise _unfinished(store, captured)
    ids, questions = index.asked
    names = np.array([layout.name for layout in index.layouts], dtype=object)[index.of_sample]
    columns = {"image_id": ids, "question": questions, "layout": names, "captured": captured}
    facts = {name: value for name, value in group.attrs.items() if name not in (LAYOUTS, BLOCK)}
    root = xr.Dataset({name: ("sample", values) for name, values in columns.items()}, attrs=facts)
    return xr.DataTree.from_dict({"/": root, **found})


def _is_begun(root: zarr.Group, name: str, place: StoreLike) -> bool:
    """Whether there is a group called `name`, and not one that a process is laying out at the moment."""
    return name in root and is_laid_out(open_group(place, "r"), place)


def _group_at(index: LayoutIndex, grid: str | None) -> StoreLike:
    """Where the group called `grid` is."""
    names = [part.name for layout in index.layouts for part in layout.groups]
    if grid is None and len(names) > 1:
        raise ValueError(
            f"{shown(index.store)} holds images of {len(names)} grids: pass `grid`, one of {', '.join(names)}, or open "
            "all of them with open_dumps"
        )
    return index.at(names[0] if grid is None else nearest(grid, names, "grid"))


def _grid_name(group: zarr.Group) -> str:
    return "x".join(map(str, group.attrs["grid"]))  # type: ignore[arg-type]  # a list of numbers


def _unfinished(store: StoreLike, captured: npt.NDArray[np.bool_]) -> ValueError:
    return ValueError(
        f"{shown(store)} holds {captured.sum()} of {len(captured)} images: finish it with "
        "capture_dataset(..., resume=True), or open it with partial=True"
    )


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
