"""The root of a dump whose images differ in their visual tokens: which layout each has, and where it is stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import zarr
from zarr.storage import StoreLike

from solvers.arrays import IntArray

from .dump import IDENTITY, ensure, ensure_group, refuse_other_sample, writing
from .store import (
    FORMAT,
    LAYOUTS,
    array_of,
    child,
    is_empty,
    open_group,
    refuse_other_capture,
    shown,
    values_of,
)

SHARED = tuple(name for name in IDENTITY if name != "grid")
"""Attributes that must agree before the dump is continued."""
BLOCK = "block"


class Group(NamedTuple):
    """A dump of one grid: an area of all images of a layout."""

    name: str
    grid: tuple[int, int]


class Layout(NamedTuple):
    """Images with the same grids of tokens.

    Parameters
    ----------
    name
        See `areas.layout_name`.
    groups
        That of each area, in the order of the areas.
    """

    name: str
    groups: tuple[Group, ...]


@dataclass(frozen=True, eq=False)
class LayoutIndex:
    """What is written before any attention is: the samples, and the layout of each.

    On disk the arrays `image_id`, `question` and `layout` [sample] beside the groups, and the attribute `layouts`. A
    group holds the images of one layout in the order of the samples, and of these one area; it is a dump of its own.

    Parameters
    ----------
    group, store
        The root, and where it is.
    """

    group: zarr.Group
    store: StoreLike

    @classmethod
    def create(
        cls,
        store: StoreLike,
        image_ids: Sequence[Any],
        questions: Sequence[str],
        layouts: Sequence[Layout],
        of_sample: Sequence[int],
        block: int,
        attributes: Mapping[str, Any],
    ) -> LayoutIndex:
        """Write the index. Processes that write the same one at the same time do not disturb each other.

        Parameters
        ----------
        store
            Folder, URL or Zarr store.
        image_ids, questions
            Of the samples; ids that are all integers are stored as such, others as text.
        layouts, of_sample
            The layouts, and for each sample the number of its own.
        block
            Images per file in every group.
        attributes
            JSON-able facts about the model and the capture.
        """
        listed = [{"name": name, "groups": {group: list(grid) for group, grid in groups}} for name, groups in layouts]
        facts = {"format": FORMAT, LAYOUTS: listed, BLOCK: block, **attributes}
        integers = all(isinstance(image_id, Integral) for image_id in image_ids)
        ids = np.array(image_ids, dtype=np.int64) if integers else np.array(list(map(str, image_ids)), dtype=object)
        arrays: dict[str, tuple[Any, npt.NDArray[Any]]] = {
            "image_id": ("int64" if integers else str, ids),
            "question": (str, np.array(questions, dtype=object)),
            "layout": ("int64", np.asarray(of_sample, dtype=np.int64)),
        }
        with writing(store):
            group = ensure_group(store, facts)
            for name, (kind, values) in arrays.items():
                layout: dict[str, Any] = {"shape": values.shape, "chunks": values.shape, "dtype": kind}
                if name == "layout":
                    layout["fill_value"] = -1  # which no layout has, so that a lost file shows
                ensure(group, name, dimension_names=("sample",), **layout)
                array_of(group, name, store)[:] = values
        return cls(group, store)

    @classmethod
    def resume(cls, store: StoreLike, samples: int, attributes: Mapping[str, Any]) -> LayoutIndex | None:
        """The index of the dump begun at `store`, or None if no attention is in it yet.

        Raises
        ------
        ValueError
            If something else is there, or a dump of another release, model, capture or number of samples.
        OSError
            If it is damaged.
        """
        if is_empty(store):
            return None
        group = open_group(store, "r+")
        refuse_other_capture(group, {}, store, by_layout=True)
        index = cls(group, store)
        if not any(part.name in group for layout in index.layouts for part in layout.groups):
            return None
        refuse_other_capture(group, {name: attributes[name] for name in SHARED}, store, by_layout=True)
        if len(index.of_sample) != samples:
            raise ValueError(
                f"{shown(store)} was begun for {len(index.of_sample)} images, `samples` holds {samples}; "
                "choose another store"
            )
        return index

    @cached_property
    def layouts(self) -> list[Layout]:
        listed: Any = self.group.attrs[LAYOUTS]
        return [
            Layout(entry["name"], tuple(Group(name, (grid[0], grid[1])) for name, grid in entry["groups"].items()))
            for entry in listed
        ]

    @property
    def block(self) -> int:
        """Images per file."""
        return int(str(self.group.attrs[BLOCK]))

    @cached_property
    def of_sample(self) -> IntArray:
        """Number of the layout of each sample."""
        stored = values_of(self.group, "layout", self.store).astype(np.int64)
        if not ((stored >= 0) & (stored < len(self.layouts))).all():
            raise OSError(f"the attention dump at {shown(self.store)} is damaged: 'layout' cannot be read")
        return stored

    @cached_property
    def asked(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Ids and questions of the samples."""
        ids, questions = (values_of(self.group, name, self.store) for name in ("image_id", "question"))
        return ids if ids.dtype.kind == "i" else ids.astype(object), questions.astype(object)

    def numbers(self, layout: int) -> IntArray:
        """The samples of a layout, ascending: entry i is image i of its groups."""
        return np.flatnonzero(self.of_sample == layout)

    def at(self, group: str) -> StoreLike:
        """Where a group is."""
        return child(self.store, group)

    def check(self, number: int, image_id: object, question: str) -> None:
        """Refuse a sample that is not the one of the index."""
        refuse_other_sample(number, [column[number] for column in self.asked], image_id, question)

    def blocks(self) -> list[tuple[int, range]]:
        """(layout, images of it) of every file: what the processes that fill a dump share out."""
        return [
            (layout, range(start, min(start + self.block, count)))
            for layout, count in enumerate(np.bincount(self.of_sample, minlength=len(self.layouts)).tolist())
            for start in range(0, count, self.block)
        ]
