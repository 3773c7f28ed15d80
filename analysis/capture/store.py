"""What lies at the place of an attention dump: nothing, a dump, a damaged one, or something else."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.abc.store import Store
from zarr.storage import StoreLike, StorePath

FAMILY = "prunescope-attention-"
FORMAT = f"{FAMILY}3"
OLDER = (f"{FAMILY}2",)
"""Formats that can still be read, though not continued: 2 lacks the positions of the visual tokens."""
LAYOUTS = "layouts"
"""Attribute of a dump whose images have several layouts, each in groups of its own."""


def open_group(store: StoreLike, mode: Any) -> zarr.Group:
    """The group of a dump; OSError if it is damaged, ValueError if it is something else or of another release."""
    try:
        group = zarr.open_group(store, mode=mode, zarr_format=3)
    except Exception as error:  # a damaged file fails in many ways inside the library
        raise _foreign_or_damaged(store, error) from error
    found = str(group.attrs.get("format", ""))
    if mode == "r" and found in OLDER:
        return group
    if found.startswith(FAMILY) and found != FORMAT:
        raise ValueError(
            f"{shown(store)} is an attention dump of format {found!r}, this release reads {FORMAT!r}: "
            "read it with the release that wrote it, or capture it again into another store"
        )
    if found != FORMAT:
        raise ValueError(f"{shown(store)} is not an attention dump of this format ({FORMAT}); choose another store")
    return group


def child(store: StoreLike, name: str) -> StoreLike:
    """The place of a group inside a dump."""
    if isinstance(store, str | os.PathLike):
        return f"{os.fspath(store).rstrip('/')}/{name}"
    if isinstance(store, StorePath):
        return store / name
    assert isinstance(store, Store)
    return StorePath(store, name)


def refuse_other_capture(group: zarr.Group, facts: Mapping[str, Any], store: StoreLike, *, by_layout: bool) -> None:
    """ValueError if a dump was begun with another model or capture than `facts` say."""
    if (LAYOUTS in group.attrs) != by_layout:
        kind = "several layouts" if LAYOUTS in group.attrs else "one grid"
        raise ValueError(f"{shown(store)} holds attention of another model or capture: of {kind}; choose another store")
    for name, fact in facts.items():
        if group.attrs.get(name) != fact:
            raise ValueError(
                f"{shown(store)} holds attention of another model or capture: its {name} is "
                f"{group.attrs.get(name)!r}, this one's is {fact!r}; choose another store"
            )


def variable_names(group: zarr.Group) -> list[str]:
    """The variables that a dump should hold."""
    listed = group.attrs.get("variables")
    return [str(name) for name in listed] if isinstance(listed, list) else []


def is_laid_out(group: zarr.Group, store: StoreLike) -> bool:
    """Whether all arrays of a dump are there, or once were; the marks are made last."""
    return "captured" in group or any(
        array_of(group, name, store).nchunks_initialized for name in variable_names(group) if name in group
    )


def _foreign_or_damaged(store: StoreLike, error: Exception) -> Exception:
    path = _local(store)
    if path is not None and not (path / "zarr.json").is_file():
        return ValueError(f"{shown(store)} is not an attention dump: no zarr.json in it; choose another store")
    return OSError(f"the attention dump at {shown(store)} is damaged: {type(error).__name__}: {error}")


def array_of(group: zarr.Group, name: str, store: StoreLike) -> zarr.Array[Any]:
    """An array of a dump; OSError if it is not there."""
    try:
        array = group[name]
        assert isinstance(array, zarr.Array)
    except Exception as error:
        raise OSError(
            f"the attention dump at {shown(store)} is damaged: {name!r} cannot be read ({type(error).__name__})"
        ) from error
    return array


def values_of(group: zarr.Group, name: str, store: StoreLike = "") -> npt.NDArray[Any]:
    """All values of an array; OSError if they cannot be read."""
    array = array_of(group, name, store)
    try:
        return np.asarray(array[:])
    except Exception as error:  # a truncated or altered file fails in many ways inside the library
        reason = f"{type(error).__name__}: {error}"
        raise OSError(f"the attention dump at {shown(store)} is damaged: {name!r} cannot be read ({reason})") from error


def refuse_lost_rows(group: zarr.Group, captured: npt.NDArray[np.bool_], store: StoreLike) -> None:
    """Zarr reads a lost file as fill values: count the files instead of believing the marks."""
    for name in variable_names(group):
        array = array_of(group, name, store)
        shard = array.shards or array.chunks
        written = len(np.unique(np.flatnonzero(captured) // shard[0]))
        files = array.nchunks_initialized // math.prod(np.floor_divide(shard, array.chunks).tolist())
        if files < written:
            raise OSError(f"the attention dump at {shown(store)} is damaged: {name!r} has {files} of {written} files")


def _local(store: StoreLike) -> Path | None:
    if isinstance(store, str) and "://" in store:
        return None
    return Path(store) if isinstance(store, str | os.PathLike) else None


def is_empty(store: StoreLike) -> bool:
    """Whether nothing is there yet; ValueError if a file is."""
    path = _local(store)
    if path is None:
        return not _remote_group_exists(store)
    if not path.exists():
        return True
    if not path.is_dir():
        raise ValueError(f"{shown(store)} is not an attention dump but a file; choose another store")
    # a process killed while it wrote the very first file leaves a part of it
    return all(entry.suffix == ".partial" for entry in path.iterdir())


def _remote_group_exists(store: StoreLike) -> bool:
    try:
        zarr.open_group(store, mode="r", zarr_format=3)
    except FileNotFoundError:
        return False
    return True


def shown(store: StoreLike) -> str:
    """The store as error messages name it."""
    return repr(str(store))
