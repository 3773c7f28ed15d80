"""The commands that list what there is, and the pages that they wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from analysis.cli import app
from analysis.models import FAMILIES
from analysis.pruning import PRUNERS

DOCS = Path(__file__).parents[3] / "docs"


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("command", ["rules", "models"])
def test_the_page_is_what_the_command_writes(command: str) -> None:
    assert (DOCS / f"{command}.md").read_text() == run(command, "--markdown")


def test_every_entry_is_listed() -> None:
    rules, models = json.loads(run("rules", "--json")), json.loads(run("models", "--json"))
    assert [row["name"] for row in rules] == [entry.name for entry in PRUNERS]
    assert [row["model type"] for row in models] == [", ".join(entry.model_types) for entry in FAMILIES]
    assert all(value for row in (*rules, *models) for value in row.values())
    fastv = next(row for row in rules if row["name"] == "fastv")
    assert (fastv["where"], fastv["position ids"], fastv["others are"]) == (
        "inside the language model",
        "keep",
        "dropped",
    )
    assert "arXiv:2403.06764" in fastv["source"]


@pytest.mark.parametrize("command", ["rules", "models"])
def test_the_table_fits_a_terminal(command: str) -> None:
    lines = run(command).splitlines()
    assert len(lines) > 10
    assert max(map(len, lines)) <= 80
