"""Runs a study: model in, report out."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pandas as pd
from rich.console import Console

from analysis.evaluation import MiniVqa, accuracy_table
from analysis.evaluation.gate import recorded_trainings
from analysis.metrics import measure, quartile_shares, summarise
from analysis.models import Vlm, load
from analysis.report import ExplorerImage, OutputFile, ReportInput, Stage, write_report
from solvers.files import data_folder, replacing
from solvers.provenance import provenance

from . import pictures, stages, summaries
from .explored import explored
from .explorer import explorer_images
from .settings import DEFAULT, FAST, Settings
from .subject import Subject
from .warnings import warnings

T = TypeVar("T")
EMBEDDED = data_folder("mini_llava")
STAGES = 7
console = Console(stderr=True, highlight=False)


class StudyError(Exception):
    """A study cannot be run as asked; the text says why and what to do."""


class _Clock:
    """Announces stages and remembers how long each took."""

    def __init__(self) -> None:
        self.stages: list[Stage] = []

    def run(self, name: str, work: Callable[[], T], detail: Callable[[T], str] = lambda _: "") -> T:
        console.print(f"[{len(self.stages) + 1}/{STAGES}] {name}", markup=False)
        start = time.perf_counter()
        try:
            result = work()
        except (OSError, ValueError) as error:  # damaged or foreign files, inputs that cannot be used: a sentence each
            raise StudyError(f"{name}: {error}") from error
        self.stages.append(Stage(name, time.perf_counter() - start, detail(result)))
        return result


def run_study(model: str | None = None, out: Path | str = "out", settings: Settings = DEFAULT) -> Path:
    """Capture attention, solve selection, prune and answer, then write tables, figures and the report.

    Results are first collected under `out`/work, in a folder named for model and settings: a study that was
    interrupted, called again, computes only what is missing.

    Parameters
    ----------
    model
        Folder or hub id; the embedded model if None.
    out
        Folder of the results; created when missing.
    settings
        How much of everything.

    Returns
    -------
    Path
        The report, `out`/report.html. Beside it attention.parquet, selection.parquet, accuracy.parquet, summaries as
        CSV in tables/, and figures/ with a PNG and a PDF of each.

    Raises
    ------
    StudyError
        If the model cannot be loaded, the folder cannot be written, or a file of an earlier run is damaged.
    """
    folder = Path(out)
    clock = _Clock()
    vlm = clock.run("load the model", lambda: _load(model), lambda vlm: vlm.id)
    work = folder / "work" / f"{vlm.config_hash}-{settings.digest}"
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StudyError(f"cannot write to {folder}: {error}") from error
    subject = Subject(vlm, MiniVqa(), settings, work)

    dump = clock.run("attention", lambda: stages.attention(subject), lambda dump: f"{dump.sizes['image']} images")
    selection = clock.run("selection", lambda: stages.selection(subject), lambda rows: f"{len(rows)} solver runs")
    accuracy = clock.run("accuracy", lambda: stages.accuracy(subject), lambda rows: f"{len(rows)} answers")

    explorer = clock.run("explorer", lambda: _explorer(subject, accuracy), lambda shown: f"{len(shown)} images")

    raw = {"attention": measure(dump), "selection": selection, "accuracy": accuracy}
    tables = clock.run("summaries", lambda: _summaries(raw, subject) | summaries.attention_tables(dump))
    for name, rows in raw.items():
        with replacing(folder / f"{name}.parquet") as unfinished:
            rows.assign(**_missing_provenance(rows)).to_parquet(unfinished, index=False)
    (folder / "tables").mkdir(exist_ok=True)
    for name, table in tables.items():
        table.to_csv(folder / "tables" / f"{name}.csv", index=False, float_format="%.6g")

    saved = clock.run(
        "figures",
        lambda: pictures.save_all(pictures.draw(subject, dump, explorer, tables), folder / "figures"),
        lambda saved: f"{len(saved)} as PNG and PDF",
    )
    content = ReportInput(
        model=vlm.id,
        command=_command(model, folder, settings),
        provenance={"configuration": vlm.config_hash, "task": subject.task.checksum, **provenance()},
        warnings=warnings(
            subject, raw, provenance(), embedded=model is None, trainings=recorded_trainings(vlm.config_hash)
        ),
        stages=clock.stages,
        attention=tables["attention"],
        quartiles=tables["quartiles"],
        selection=tables["selection"],
        accuracy=tables["accuracy"],
        cost=tables["cost"],
        differences=tables["differences"],
        figures=saved,
        explorer=explorer,
        benchmark=_benchmark(accuracy, subject),
        feature_layer=dump.attrs["feature_layer"],
        files=[
            OutputFile("attention.parquet", "a row per image, source, layer and metric"),
            OutputFile("selection.parquet", "a row per problem, objective and solver"),
            OutputFile("accuracy.parquet", "a row per question, pruner and budget"),
            OutputFile("tables/", "the tables of this page as CSV"),
            OutputFile("figures/", "each figure as PNG and PDF"),
        ],
    )
    return write_report(folder, content)


def _load(model: str | None) -> Vlm:
    try:
        # the embedded model is named as in the repository, wherever that lies on this machine
        return load(model) if model is not None else replace(load(str(EMBEDDED)), id="data/mini_llava")
    except (OSError, ValueError, KeyError) as error:
        raise StudyError(f"cannot load the model: {error.args[0] if error.args else error}") from error


def _summaries(raw: dict[str, pd.DataFrame], subject: Subject) -> dict[str, pd.DataFrame]:
    attention = summarise(raw["attention"], subject.grid)
    accuracy = accuracy_table(raw["accuracy"])
    return {
        "attention": attention,
        "quartiles": quartile_shares(attention),
        "selection": summaries.selection_summary(raw["selection"]),
        "accuracy": accuracy,
        "cost": summaries.cost_summary(accuracy),
        "differences": summaries.differences(raw["accuracy"]),
    }


def _explorer(subject: Subject, accuracy: pd.DataFrame) -> list[ExplorerImage]:
    return explorer_images(subject, accuracy, explored(subject), stages.explored_attention(subject))


def _missing_provenance(rows: pd.DataFrame) -> dict[str, str]:
    return {name: value for name, value in provenance().items() if name not in rows.columns}


def _command(model: str | None, folder: Path, settings: Settings) -> str:
    parts = ["prunescope study"]
    if settings.with_images(FAST.images) == FAST.with_images(FAST.images):
        parts.append("--fast")
    base = FAST if "--fast" in parts else DEFAULT
    if settings.images != base.images:
        parts.append(f"--images {settings.images}")
    if os.fspath(folder) != "out":
        parts.append(f"--out {shlex.quote(str(folder))}")
    if model is not None:
        parts.append(f"--model {shlex.quote(model)}")
    return " ".join(parts)


def _benchmark(accuracy: pd.DataFrame, subject: Subject) -> str:
    questions, images = accuracy["question_id"].nunique(), accuracy["image_id"].nunique()
    return (
        f"{questions:,} questions about {images} of the {len(subject.task)} test images of {subject.task.name}; "
        "intervals resample images, the mean gives each task the same weight."
    )
