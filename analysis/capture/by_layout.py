"""Capturing images that differ in their visual tokens: grouped by layout, so that nothing is padded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from zarr.storage import StoreLike

from solvers.progress import progress_bar

from .area_rows import area_labels, area_rows
from .areas import Area, areas_of, group_names, layout_name
from .dump import DumpWriter
from .layout_index import Group, Layout, LayoutIndex
from .plan import Plan
from .samples import item_of, items_of, missing
from .shapes import coordinates_of, variables_of

Rows = dict[str, npt.NDArray[Any]]


def capture_by_layout(
    plan: Plan, samples: Sequence[Any], store: StoreLike, *, shard: tuple[int, int], resume: bool, progress: bool
) -> None:
    """Fill the dump at `store`, or one shard of it; arguments and errors as for `capture_dataset`.

    The layout of every sample is found first, from its size and the processor alone, and written down.
    """
    index = LayoutIndex.resume(store, len(samples), plan.attributes)
    if index is not None and not resume:
        raise FileExistsError(f"{str(store)!r} holds a dump already: delete it, or pass resume=True")
    with progress_bar(progress) as bar:
        if index is None:
            job = bar.add_task("layouts", total=len(samples))
            index = _indexed(plan, samples, store, lambda: bar.advance(job))
        blocks = index.blocks()
        own = blocks[len(blocks) * shard[0] // shard[1] : len(blocks) * (shard[0] + 1) // shard[1]]
        sections = {layout: _Section.of(plan, index, layout) for layout in dict(own)}
        done = sum(int(sections[layout].captured[rows].sum()) for layout, rows in own)
        job = bar.add_task("attention", total=sum(len(rows) for _, rows in own), completed=done)
        for layout, rows in own:
            for count in sections[layout].fill(samples, rows):
                bar.advance(job, count)


def _indexed(plan: Plan, samples: Sequence[Any], store: StoreLike, advance: Callable[[], None]) -> LayoutIndex:
    """Write down which layout each sample has. Processors decide by the size of the picture: each is asked once."""
    vlm = plan.vlm
    of_size: dict[tuple[int, int], Layout] = {}
    numbers: dict[Layout, int] = {}
    ids, questions, of_sample = [], [], []
    for number in range(len(samples)):
        item = item_of(number, samples[number])
        layout = of_size.get(item.image.size)
        if layout is None:
            areas = areas_of(vlm.adapter.layouts(vlm.model, vlm.prepare(item.image, item.question)))
            groups = [Group(name, area.grid) for name, area in zip(group_names(areas), areas, strict=True)]
            layout = of_size[item.image.size] = Layout(layout_name(areas), tuple(groups))
        of_sample.append(numbers.setdefault(layout, len(numbers)))
        ids.append(item.image_id)
        questions.append(item.question)
        advance()
    block = min(plan.batch_size, len(samples))
    return LayoutIndex.create(store, ids, questions, list(numbers), of_sample, block, plan.attributes)


@dataclass(eq=False)
class _Section:
    """The images of one layout: a dump for each of its areas, None where it is not begun.

    Parameters
    ----------
    plan, index
        What is captured, and into what.
    layout, numbers
        The layout, and the samples that have it.
    writers
        By group.
    captured
        Which images are complete in all areas when the section is opened.
    """

    plan: Plan
    index: LayoutIndex
    layout: Layout
    numbers: npt.NDArray[np.int64]
    writers: dict[Group, DumpWriter | None]
    captured: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, plan: Plan, index: LayoutIndex, number: int) -> _Section:
        layout, numbers = index.layouts[number], index.numbers(number)
        writers = {
            group: DumpWriter.resume(index.at(group.name), len(numbers), _facts(plan, group)) for group in layout.groups
        }
        nothing = np.zeros(len(numbers), dtype=np.bool_)
        marks = [nothing if writer is None else writer.captured for writer in writers.values()]
        return cls(plan, index, layout, numbers, writers, np.logical_and.reduce(marks))

    def fill(self, samples: Sequence[Any], rows: range) -> Iterator[int]:
        """Capture what is missing of the images `rows`; yields how many after each batch."""
        row_of = {int(self.numbers[row]): row for row in rows}
        items = ((row_of[number], item) for number, item in items_of(samples, list(row_of)))
        for start, batch in missing(items, self.captured, self, self.plan.batch_size):
            for row, item in enumerate(batch, start):
                self.check(row, item.image_id, item.question)
            self._write(start, area_rows(self.plan, batch, self.layout.name))
            yield len(batch)

    def check(self, number: int, image_id: object, question: str) -> None:
        """Refuse a sample that is not image `number` of the section."""
        self.index.check(int(self.numbers[number]), image_id, question)

    def _write(self, start: int, areas: Sequence[tuple[Area, Rows]]) -> None:
        for group, (area, rows) in zip(self.layout.groups, areas, strict=True):
            own = self.numbers[start : start + len(next(iter(rows.values())))]
            ids, questions = (column[own].tolist() for column in self.index.asked)
            writer = self.writers[group] = self.writers[group] or self._begun(group, area, rows, ids[0])
            writer.write(start, ids, questions, rows)

    def _begun(self, group: Group, area: Area, rows: Rows, image_id: object) -> DumpWriter:
        plan, images = self.plan, len(self.numbers)
        variables = variables_of(plan.reducers, rows, plan.dtype, area_labels(plan, area))
        return DumpWriter.create(
            self.index.at(group.name),
            variables,
            {**plan.coordinates, **coordinates_of(variables)},
            images,
            min(self.index.block, images),
            image_id,
            _facts(plan, group),
        )


def _facts(plan: Plan, group: Group) -> dict[str, Any]:
    return {**plan.attributes, "grid": list(group.grid)}
