"""`prunescope rules` and `prunescope models`: what there is to choose from, read off the registries."""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ..models import AbstractAdapter
    from ..pruning import AbstractPruner

Row = dict[str, str]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON list instead of a table.")]
AsMarkdown = Annotated[bool, typer.Option("--markdown", help="The page of the documentation instead of a table.")]


def rules(as_json: AsJson = False, as_markdown: AsMarkdown = False) -> None:
    """Every pruner: where it works, what it reads, which position ids it uses, and its source."""
    from ..pruning import PRUNERS

    _show("Pruners", RULES_TEXT, [rule_row(entry) for entry in PRUNERS], as_json, as_markdown)


def models(as_json: AsJson = False, as_markdown: AsMarkdown = False) -> None:
    """Every model family: which checkpoints it takes, and what pruning means there."""
    from ..models import FAMILIES

    _show("Model families", MODELS_TEXT, [family_row(entry) for entry in FAMILIES], as_json, as_markdown)


def rule_row(entry: AbstractPruner) -> Row:
    """What stands about a pruner in the table."""
    where = "inside the language model" if entry.inside else "before the language model"
    return {
        "name": entry.name,
        "what it keeps": _summary(entry),
        "where": "in the encoder" if entry.in_encoder else where,
        "others are": "merged" if entry.merges else "dropped",
        "reads": ", ".join(sorted(entry.needs)) or "nothing",
        "question": "yes" if entry.question_aware else "no",
        "position ids": entry.position_ids,
        "source": entry.cite,
    }


def family_row(entry: AbstractAdapter) -> Row:
    """What stands about a model family in the table."""
    return {
        "model type": ", ".join(entry.model_types),
        "what it is": _summary(entry),
        "visual tokens": "as many for every image" if entry.fixed_grid else "by the image",
        "CLS": "yes" if entry.has_cls else "no: mean attention received",
        "merging": "before the projector" if entry.projects_tokens else "behind the projector",
        "position ids": "keep, compact" if entry.position_axes == 1 else "keep",
    }


RULES_TEXT = """`prune(vlm, "vispruner", keep=64)` takes any of these by name, `analysis.pruners` holds their classes
with their parameters, and a function of your own does as well. Position ids are those that the method itself uses."""
MODELS_TEXT = """`analysis.load` takes checkpoints of these types; a new family is one file in `analysis/models` and one
entry in its tuple."""


def _summary(entry: object) -> str:
    """The first paragraph of a class's documentation, in one line."""
    text = inspect.getdoc(type(entry)) or ""
    return " ".join(text.split("\n\n")[0].split())


def _show(title: str, text: str, rows: Sequence[Row], as_json: bool, as_markdown: bool) -> None:
    if as_json:
        typer.echo(json.dumps(list(rows), indent=2))
    elif as_markdown:
        typer.echo(markdown_page(title, text, rows), nl=False)
    else:
        _print_table(title, rows)


def markdown_page(title: str, text: str, rows: Sequence[Row]) -> str:
    """A page with one table."""
    heads = list(rows[0])
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    lines += [f"| {' | '.join(row[head].replace('|', chr(92) + '|') for head in heads)} |" for row in rows]
    command = "rules" if title == "Pruners" else "models"
    return f"# {title}\n\n{text}\n\n" + "\n".join(lines) + f"\n\nWritten by `prunescope {command} --markdown`.\n"


def _print_table(title: str, rows: Sequence[Row]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, header_style="bold")
    for head in rows[0]:
        table.add_column(head, overflow="fold")
    for row in rows:
        table.add_row(*row.values())
    console: Any = Console()
    console.print(table)
