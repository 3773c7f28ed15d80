"""The `prunescope` command: one file per command in `analysis/commands`, one entry here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, NamedTuple

import typer

from .commands.analyze import analyze
from .commands.capture import capture
from .commands.compare import compare
from .commands.cost import cost
from .commands.doctor import doctor
from .commands.evaluate import evaluate
from .commands.figures import figures
from .commands.frame import EXIT_CODES, guarded
from .commands.gate import gate
from .commands.models import models
from .commands.rules import rules
from .commands.solvers import solvers
from .commands.study import study

EVERYTHING, MEASURE, CHOOSE, LOOK_UP = "Everything", "Measure", "Choose", "Look up"


class Command(NamedTuple):
    """A function with the signature of its command line, and where it stands in the help."""

    function: Callable[..., None]
    panel: str
    resumes: bool = False
    """Whether the same command goes on where it was interrupted."""


COMMANDS: tuple[Command, ...] = (
    Command(study, EVERYTHING, resumes=True),
    Command(figures, EVERYTHING),
    Command(capture, MEASURE, resumes=True),
    Command(analyze, MEASURE),
    Command(evaluate, MEASURE, resumes=True),
    Command(cost, MEASURE),
    Command(gate, MEASURE, resumes=True),
    Command(compare, CHOOSE, resumes=True),
    Command(rules, LOOK_UP),
    Command(solvers, LOOK_UP),
    Command(models, LOOK_UP),
    Command(doctor, LOOK_UP),
)
"""Every command, in the order of the help."""

app = typer.Typer(
    help="Visual tokens in vision-language models: attention, selection with certified gaps, pruned accuracy.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)
for _entry in COMMANDS:
    _name = _entry.function.__name__
    app.command(_name, rich_help_panel=_entry.panel)(guarded(_entry.function, name=_name, resumes=_entry.resumes))


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(version("prunescope"))
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Holds the options that stand before a command."""


if __name__ == "__main__":
    app()
