"""Why attention looks as it does on the embedded model, and what it is good for: `python -m data.make.causes`.

Five tables, `data/measured/causes_{positions,output_error,quartiles,usefulness,rope}.csv`. A run that was stopped, or
one with more images, goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from analysis import load
from analysis.causes import measured_error, position_effect, quartiles, rope_bias, tables, usefulness
from analysis.causes.exam import Exam
from analysis.causes.recipe import recipe
from analysis.evaluation import MiniVqa
from analysis.evaluation.sharding import binding
from analysis.evaluation.store import ResultStore
from analysis.evaluation.tasks import Sample
from analysis.models import Vlm
from analysis.study.run import EMBEDDED
from solvers.names import nearest
from solvers.progress import progress_bar
from solvers.provenance import provenance

DATA = Path(__file__).parents[1]
IMAGES_PER_PART = 16


@dataclass(frozen=True)
class Experiment:
    """What is measured on each image, and the table made of it.

    Parameters
    ----------
    name
        Of the table.
    measure
        Rows of some images, with the column image_id.
    summarise
        The table of the rows of all images.
    settings
        What the rows depend on beside model and images: other settings do not continue a run.
    """

    name: str
    measure: Callable[[Exam], pd.DataFrame]
    summarise: Callable[[pd.DataFrame], pd.DataFrame]
    settings: str = ""


EXPERIMENTS = (
    Experiment("positions", position_effect.position_rows, position_effect.position_summary, "seed 0"),
    Experiment(
        "output_error",
        measured_error.measured_errors,
        measured_error.error_summary,
        f"{measured_error.PRUNERS}, {measured_error.KEEPS}, seed 0",
    ),
    Experiment("quartiles", quartiles.quartile_answers, partial(tables.accuracy_by, by=["layer", "quartile"])),
    Experiment(
        "usefulness",
        usefulness.usefulness_rows,
        usefulness.usefulness_summary,
        f"{usefulness.KEEPS}, layers {usefulness.LAYERS}, seed 0",
    ),
    Experiment("rope", rope_bias.rope_rows, rope_bias.rope_summary),
)


@dataclass(frozen=True)
class _Part:
    """Some images, encoded when first needed."""

    vlm: Vlm
    task: MiniVqa
    start: int
    samples: list[Sample]

    @cached_property
    def exam(self) -> Exam:
        return Exam(self.vlm, self.task, self.samples)

    @property
    def name(self) -> str:
        return f"images{self.start:06d}-{self.start + len(self.samples):06d}"


def run(
    vlm: Vlm,
    task: MiniVqa,
    images: int,
    work: Path,
    *,
    experiments: tuple[Experiment, ...] = EXPERIMENTS,
    progress: bool = True,
) -> dict[str, pd.DataFrame]:
    """The table of every experiment on the first `images` images of the task.

    Raises
    ------
    ValueError
        If there are not that many images, or `work` holds parts of another model, task, setting or version of the code.
    """
    if not 1 <= images <= len(task):
        raise ValueError(f"`images` must be in [1, {len(task)}], got {images}")
    stores = {
        entry.name: ResultStore(work / entry.name, binding(vlm, task) | {"settings": entry.settings, "code": recipe()})
        for entry in experiments
    }
    names: list[str] = []
    samples = islice(iter(task), images)
    with progress_bar(progress) as bar:
        job = bar.add_task("causes", total=images * len(experiments))
        while chunk := list(islice(samples, IMAGES_PER_PART)):
            part = _Part(vlm, task, len(names) * IMAGES_PER_PART, chunk)
            for entry in experiments:
                if part.name not in stores[entry.name]:
                    stores[entry.name].put(part.name, entry.measure(part.exam))
                bar.advance(job, len(chunk))
            names.append(part.name)
    return {entry.name: entry.summarise(stores[entry.name].read(names)) for entry in experiments}


def main(
    images: Annotated[int, typer.Option(help="test images, from the first")] = 64,
    only: Annotated[list[str] | None, typer.Option(help="tables to make; all if none is named")] = None,
    work: Annotated[Path, typer.Option(help="finished parts, kept for the next call")] = Path("runs/causes"),
    target: Annotated[Path, typer.Option(help="folder of the tables")] = DATA / "measured",
) -> None:
    """Measure and write the tables."""
    known = {entry.name: entry for entry in EXPERIMENTS}
    chosen = tuple(known[nearest(name, known, "table")] for name in only) if only else EXPERIMENTS
    vlm, task = load(str(EMBEDDED)), MiniVqa()
    stamp = {"model": "data/mini_llava", "config_hash": vlm.config_hash, "task_checksum": task.checksum}
    found = run(vlm, task, images, work, experiments=chosen)
    target.mkdir(parents=True, exist_ok=True)
    for name, table in found.items():
        file = target / f"causes_{name}.csv"
        table.assign(**stamp, **provenance()).to_csv(file, index=False, float_format="%.6g")
        typer.echo(f"{file}: {len(table)} rows")


if __name__ == "__main__":
    typer.run(main)
