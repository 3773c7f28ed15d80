"""The `prunescope` command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Visual tokens in vision-language models: attention, selection with certified gaps, pruned accuracy.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)


@app.callback()
def _root() -> None:
    """Keeps `study` a command of its own while it is the only one."""


@app.command()
def study(
    fast: Annotated[bool, typer.Option("--fast", help="A few images only: a look at what the study does.")] = False,
    out: Annotated[Path, typer.Option(help="Folder for report, tables and figures.")] = Path("out"),
    model: Annotated[str, typer.Option(help="Folder or hub id; the embedded model by default.")] = "",
    images: Annotated[
        int | None, typer.Option(min=1, help="Images of the benchmark whose questions are answered.")
    ] = None,
) -> None:
    """Attention, token selection and pruned accuracy of a model, as tables, figures and one HTML report.

    An interrupted study continues where it stopped when it is started again with the same options.
    """
    from .study import DEFAULT, FAST, StudyError, run_study

    settings = FAST if fast else DEFAULT
    try:
        report = run_study(model or None, out, settings if images is None else settings.with_images(images))
    except StudyError as error:
        typer.secho(f"prunescope study: {error}", fg=typer.colors.RED, err=True)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        typer.secho("stopped; the same command continues from here", err=True)
        raise typer.Exit(130) from None
    typer.echo(f"open {report}")


if __name__ == "__main__":
    app()
