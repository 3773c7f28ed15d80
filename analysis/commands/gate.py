"""`prunescope gate`: whether a model is good enough for differences between pruners on it to be worth reading."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .completion import model_folders
from .frame import FAILED, AsJson, show_json
from .model_option import Device, Jobs, for_processes, loaded, model_folder
from .output import output_folder, write_table

if TYPE_CHECKING:
    import pandas as pd

    from ..evaluation.gate import Check


def gate(
    model: Annotated[
        str,
        typer.Argument(help="Folder of the model; the embedded one by default.", autocompletion=model_folders),
    ] = "",
    images: Annotated[
        int | None, typer.Option(min=1, help="A quick look at the first so many images: it never passes.")
    ] = None,
    device: Device = "cpu",
    n_jobs: Jobs = 1,
    out: Annotated[Path, typer.Option(help="Folder of answers and tables.")] = Path("out/gate"),
    as_json: AsJson = False,
) -> None:
    """Every bound on model and embedded benchmark with its value: accuracy, oracle, chance, ranking, evidence, size.

    Exits with 1 if one is missed. All questions are answered under every pruner of the study, which takes the better
    part of an hour on two cores; an interrupted gate continues. With --images, at a budget of 64 only.
    """
    from ..evaluation import MiniVqa
    from ..evaluation import evaluate as answer
    from ..evaluation.gate import BUDGET, judge, measure, megabytes, passed, printed
    from ..study.settings import DEFAULT, PRUNERS

    vlm, task = loaded(model, device), MiniVqa()
    place = model_folder(model)
    if place is None:
        raise ValueError(f"`model` must be a folder, whose size is judged too, got {model!r}")
    keeps = DEFAULT.keeps if images is None else (BUDGET,)
    folder = output_folder(out, "gate")
    kept: dict[str, Any] = {"store": folder / "answers", "n_jobs": n_jobs}
    answering = for_processes(vlm, model, n_jobs)
    rows = answer(answering, task, PRUNERS, keeps, position_ids="keep", images=images, **kept)
    rows = rows.assign(model=vlm.id)  # one model, though its folder may have been typed in several ways
    measured = measure(answering, task, rows, fastv_keeps=keeps, **kept)
    for name in ("accuracy", "reliability", "needed", "fastv", "compact", "packed"):
        write_table(getattr(measured, name), folder / f"{name}.csv")
    checks = judge(**measured._asdict(), megabytes=megabytes(place))
    write_table(_table(checks), folder / "gate.csv")
    if as_json:
        about = {"model": vlm.id, "config_hash": vlm.config_hash, "task_checksum": task.checksum}
        show_json(about | {"passed": passed(checks), "quick_look": measured.left_out > 0, "checks": _records(checks)})
    else:
        if measured.left_out:
            asked = len(task) - measured.left_out
            typer.echo(f"a quick look at {asked} of {len(task)} images: no verdict on the model", err=True)
        typer.echo(printed(checks))
        typer.echo(f"open {folder / 'gate.csv'}")
    if not passed(checks):
        raise typer.Exit(FAILED)


def _records(checks: Sequence[Check]) -> list[dict[str, object]]:
    return [asdict(check) | {"verdict": check.verdict} for check in checks]


def _table(checks: Sequence[Check]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(_records(checks))
