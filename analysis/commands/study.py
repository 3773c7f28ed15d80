"""`prunescope study`: from a model to one report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .completion import model_folders
from .frame import AsJson, show_json


def study(
    fast: Annotated[bool, typer.Option("--fast", help="A few images only: a look at what the study does.")] = False,
    out: Annotated[Path, typer.Option(help="Folder for report, tables and figures.")] = Path("out"),
    model: Annotated[
        str, typer.Option(help="Folder or hub id; the embedded model by default.", autocompletion=model_folders)
    ] = "",
    images: Annotated[
        int | None, typer.Option(min=1, help="Images of the benchmark whose questions are answered.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Attention, token selection and pruned accuracy of a model, as tables, figures and one HTML report.

    An interrupted study continues where it stopped when it is started again with the same options.
    """
    from ..study import DEFAULT, FAST, StudyError, run_study

    settings = FAST if fast else DEFAULT
    try:
        report = run_study(model or None, out, settings if images is None else settings.with_images(images))
    except StudyError as error:
        raise ValueError(str(error)) from error
    if as_json:
        show_json({"report": report, "tables": out / "tables", "figures": out / "figures"})
    else:
        typer.echo(f"open {report}")
