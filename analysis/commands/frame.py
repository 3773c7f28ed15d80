"""What all commands share: how mistakes are told, exit codes, and where output goes."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, NoReturn, ParamSpec

import typer

P = ParamSpec("P")

FAILED, REFUSED, INTERRUPTED = 1, 2, 130
TRACEBACK = "PRUNESCOPE_TRACEBACK"
"""Environment variable: if set, what is refused shows where it was refused."""
EXIT_CODES = (
    "Exit codes: 0 done; 1 something that must hold does not (`gate`, `doctor`), or a defect of the package, with a "
    "traceback; 2 wrong use or input, with one line that says what; 130 interrupted."
)
AsJson = Annotated[bool, typer.Option("--json", help="The result as one JSON document; all else on standard error.")]


def guarded(command: Callable[P, None], *, name: str, resumes: bool) -> Callable[P, None]:
    """`command` that tells the package's refusals in one red line and exits as `EXIT_CODES` says.

    Parameters
    ----------
    command
        A function as Typer takes it.
    name
        Of the command, for the line.
    resumes
        Whether the same command goes on where it was interrupted.
    """

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except BrokenPipeError:
            raise  # the reader of our output has left: no mistake
        except (KeyError, OSError, ValueError) as error:
            if not _is_refusal(error) or os.environ.get(TRACEBACK):
                raise
            refuse(name, str(error.args[0]) if isinstance(error, KeyError) else str(error))
        except KeyboardInterrupt:
            typer.secho(f"stopped{'; the same command continues from here' if resumes else ''}", err=True)
            raise typer.Exit(INTERRUPTED) from None

    return run


def refuse(name: str, reason: str) -> NoReturn:
    """Say why the command `name` does not run, and exit."""
    typer.secho(f"prunescope {name}: {reason}", fg=typer.colors.RED, err=True)
    raise typer.Exit(REFUSED) from None


def _is_refusal(error: Exception) -> bool:
    """The package raises `KeyError` with a sentence; one with a bare key is a defect."""
    return not isinstance(error, KeyError) or (bool(error.args) and " " in str(error.args[0]))


def show_json(content: Mapping[str, Any] | Sequence[Any]) -> None:
    """Write `content` to standard output; NaN and infinities, which JSON does not have, as null."""
    typer.echo(json.dumps(_plain(content), indent=2, ensure_ascii=False, allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())  # NumPy's numbers and arrays
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def show_table(heads: Sequence[str], rows: Sequence[Sequence[object]], *, title: str = "", texts: int = 1) -> None:
    """Print a table; the first `texts` columns hold texts and fold, the others numbers, which never do."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title or None, header_style="bold")
    for place, head in enumerate(heads):
        is_text = place < texts
        table.add_column(head, overflow="fold", justify="left" if is_text else "right", no_wrap=not is_text)
    for row in rows:
        table.add_row(*map(str, row))
    Console().print(table, markup=False)
