"""`prunescope evaluate`: answers of a model under pruning."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import arguments
from .completion import completing
from .frame import AsJson, show_json, show_table
from .model_option import Device, Jobs, Model, for_processes, loaded
from .output import output_folder, write_table

if TYPE_CHECKING:
    import pandas as pd

    from ..evaluation import AbstractTask

MANIFESTS = (".jsonl", ".parquet")


def evaluate(
    model: Model = "",
    task: Annotated[
        str,
        typer.Option(
            help="mini_vqa, which is embedded; a benchmark such as pope, with --folder; or a file of your questions "
            "(.jsonl or .parquet).",
            autocompletion=completing("tasks"),
        ),
    ] = "mini_vqa",
    folder: Annotated[str, typer.Option(help="Your copy of a benchmark that is not embedded.")] = "",
    split: Annotated[str, typer.Option(help="Part of the benchmark, where it has several.")] = "",
    scorer: Annotated[str, typer.Option(help="How replies are marked, where there are several ways.")] = "",
    pruners: Annotated[
        list[str] | None,
        typer.Option(
            help="Such as vispruner,random or vispruner(important_ratio=0.7); repeatable; `prunescope rules` lists "
            "them. By default vispruner,divprune,random.",
            autocompletion=completing("pruners"),
        ),
    ] = None,
    keeps: Annotated[
        str, typer.Option(metavar="K,...", help="Visual tokens that stay: numbers, or shares below 1.")
    ] = "192,128,64,32",
    seeds: Annotated[str, typer.Option(metavar="SEED,...", help="For pruners that draw.")] = "0",
    position_ids: Annotated[
        str, typer.Option(help="keep or compact; by default each method's own.", show_default=False)
    ] = "",
    tiles: Annotated[
        str, typer.Option(help="Prune pictures that an image is cut into one by one (each) or as one (together).")
    ] = "each",
    separators: Annotated[
        str, typer.Option(help="What becomes of newlines and other placeholders without content: drop or keep.")
    ] = "drop",
    images: Annotated[int | None, typer.Option(min=1, help="Only so many images, from the start.")] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest answer.")] = 16,
    device: Device = "cpu",
    n_jobs: Jobs = 1,
    out: Annotated[Path, typer.Option(help="Folder of answers and tables.")] = Path("out/evaluate"),
    as_json: AsJson = False,
) -> None:
    """A benchmark under every pruner and budget: an accuracy table with intervals, and a row per answer.

    The unpruned model is always there too. What is answered is kept: an interrupted evaluation continues, one with more
    pruners, budgets or images answers what is new.
    """
    from ..evaluation import accuracy_table
    from ..evaluation import evaluate as run

    chosen = arguments.pruners(pruners or ["vispruner,divprune,random"])
    budgets, drawn = arguments.budgets([keeps], "keeps"), arguments.numbers([seeds], "seeds")
    benchmark = _task(task, folder=folder, split=split, scorer=scorer)
    vlm = loaded(model, device)
    place = output_folder(out, "evaluate")
    rows = run(
        for_processes(vlm, model, n_jobs),
        benchmark,
        chosen,
        budgets,
        store=place / "answers",
        seeds=drawn,
        position_ids=position_ids or None,
        tiles=tiles,
        separators=separators,
        images=images,
        max_new_tokens=max_new_tokens,
        n_jobs=n_jobs,
    ).assign(model=vlm.id)
    table = accuracy_table(rows)
    write_table(rows, place / "answers.parquet")
    write_table(table, place / "accuracy.csv")
    if as_json:
        show_json({"accuracy": table.to_dict("records"), "answers": place / "answers.parquet"})
    else:
        _show(table, vlm.id, benchmark)
        typer.echo(f"open {place / 'accuracy.csv'}; every answer is in {place / 'answers.parquet'}")


def _task(name: str, **given: str) -> AbstractTask:
    """The benchmark of that name, or the questions in that file, with the options that are not empty."""
    from solvers.names import nearest

    from ..evaluation.tasks import TASKS, Manifest
    from ..evaluation.tasks import task as named

    options = {option: value for option, value in given.items() if value}
    if Path(name).suffix in MANIFESTS:
        kind: Any = Manifest
    else:
        kinds = {kind.name: kind for kind in TASKS}
        kind = kinds[nearest(name, kinds, "task")]
    known = [item.name for item in fields(kind)]
    for option in options:
        if option not in known:
            raise ValueError(f"`--{option}` is nothing that task {kind.name!r} has: it takes {', '.join(known)}")
    if kind is Manifest:
        if name == Manifest.name:
            raise ValueError("`--task` must be the .jsonl or .parquet file of your questions, got 'manifest'")
        return Manifest(name, **options)
    return named(name, **options)


def _show(table: pd.DataFrame, model: str, benchmark: AbstractTask) -> None:
    """A row per pruner and budget: the mean over tasks with its interval, and the task that is answered worst."""
    rows = []
    for (pruner, keep, policy), part in table.groupby(["pruner", "keep", "position_ids"], sort=False):
        mean, tasks = part[part["task"] == "mean"].iloc[0], part[part["task"] != "mean"]
        worst = tasks.sort_values("estimate", kind="stable").iloc[0]
        interval = f"{mean['estimate']:.3f} [{mean['low']:.3f}, {mean['high']:.3f}]"
        rows.append([pruner, policy, keep, interval, f"{worst['estimate']:.3f} {worst['task']}"])
    images, questions = table["images"].max(), table["questions"].max()
    title = f"{model} on {benchmark.label}: {questions} questions, {images} images"
    show_table(["pruner", "position ids", "keep", "mean over tasks [95 %]", "worst task"], rows, title=title, texts=2)
