"""What there is to choose from, read off the registries: as a table, as JSON, or as a page of the documentation."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Annotated, NamedTuple

import typer

from .frame import show_json

Row = dict[str, str]
AsMarkdown = Annotated[bool, typer.Option("--markdown", help="The page of the documentation instead of a table.")]


class Listing(NamedTuple):
    """A table under a title."""

    title: str
    text: str
    rows: list[Row]


def summary(entry: object) -> str:
    """The first paragraph of a class's documentation, in one line."""
    text = inspect.getdoc(entry if isinstance(entry, type) else type(entry)) or ""
    return " ".join(text.split("\n\n")[0].split())


def show(command: str, listings: Sequence[Listing], as_json: bool, as_markdown: bool) -> None:
    """Print the listings of a command; JSON is one list, or an object of lists by title."""
    if as_json:
        by_title = {listing.title: listing.rows for listing in listings}
        show_json(listings[0].rows if len(listings) == 1 else by_title)
    elif as_markdown:
        typer.echo(markdown_page(command, listings), nl=False)
    else:
        for listing in listings:
            _print_table(listing)


def markdown_page(command: str, listings: Sequence[Listing]) -> str:
    """A page with a section per listing."""
    sections = [f"# {listing.title}\n\n{listing.text}\n\n{_markdown_table(listing.rows)}\n" for listing in listings]
    return "\n".join([*sections, f"Written by `prunescope {command} --markdown`.\n"])


def _markdown_table(rows: Sequence[Row]) -> str:
    heads = list(rows[0])
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    lines += [f"| {' | '.join(row[head].replace('|', chr(92) + '|') for head in heads)} |" for row in rows]
    return "\n".join(lines)


def _print_table(listing: Listing) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=listing.title, header_style="bold")
    for head in listing.rows[0]:
        table.add_column(head, overflow="fold")
    for row in listing.rows:
        table.add_row(*row.values())
    Console().print(table, markup=False)
