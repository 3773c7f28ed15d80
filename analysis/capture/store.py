"""What lies at the place of an attention dump: nothing, a dump, a damaged one, or something else."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.storage import StoreLike

FAMILY = "prunescope-attention-"
FORMAT = f"{FAMILY}2"


def open_group(store: StoreLike, mode: Any) -> zarr.Group:
    """The group of a dump; OSError if it is damaged, ValueError if it is something else or of another release."""
    try:
        group = zarr.open_group(store, mode=mode, zarr_format=3)
    except Exception as error:  # a damaged file fails in many ways inside the library
        raise _foreign_or_damaged(store, error) from error
    found = str(group.attrs.get("format", ""))
    if found.startswith(FAMILY) and found != FORMAT:
        raise ValueError(
            f"{shown(store)} is an attention dump of format {found!r}, this release reads {FORMAT!r}: "
            "read it with the release that wrote it, or capture it again into another store"
        )
    if found != FORMAT:
        raise ValueError(f"{shown(store)} is not an attention dump of this format ({FORMAT}); choose another store")
    return group


def variable_names(group: zarr.Group) -> list[str]:
    """The variables that a dump should hold."""
    listed = group.attrs.get("variables")
    return [str(name) for name in listed] if isinstance(listed, list) else []


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
