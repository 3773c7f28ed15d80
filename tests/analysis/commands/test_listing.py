"""The commands that list what there is, and the pages that they wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from analysis.models import FAMILIES
from analysis.pruning import PRUNERS
from solvers import OBJECTIVES, SOLVERS, Cardinality, Exact, FacilityLocation, Greedy, PublishedRule
from solvers.exact import METHODS
from solvers.theory import guarantee

DOCS = Path(__file__).parents[3] / "docs"


@pytest.fixture
def output(prunescope):
    def run(*arguments):
        result = prunescope(*arguments)
        assert result.exit_code == 0, result.output
        return result.stdout

    return run


@pytest.mark.parametrize("command", ["rules", "models"])
def test_the_page_is_what_the_command_writes(output, command: str) -> None:
    assert (DOCS / f"{command}.md").read_text() == output(command, "--markdown")


def test_every_entry_is_listed(output) -> None:
    rules, models = json.loads(output("rules", "--json")), json.loads(output("models", "--json"))
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


def test_solvers_say_what_they_prove(output) -> None:
    listed = json.loads(output("solvers", "--json"))
    solvers = {row["solver"]: row for row in listed["Solvers"]}
    assert list(solvers) == [kind.__name__ for kind in SOLVERS if kind is not PublishedRule]
    factor = guarantee(FacilityLocation(), Cardinality(), Greedy()).factor
    assert f"{factor:.3f}: FacilityLocation" in solvers["Greedy"]["guarantee"]
    assert solvers["Greedy"]["guarantee"].startswith("optimal: Saliency; ")
    assert solvers["StochasticGreedy"]["guarantee"].split(":")[0].endswith("in the mean")
    assert solvers["Random"]["guarantee"] == "none"
    proven = solvers["Exact"]["guarantee"].removeprefix("optimal: ").split(", ")
    assert set(proven) == {kind.__name__ for kind in METHODS}
    assert [row["constraints"] for row in listed["Solvers"] if row["solver"] == "Exact"] == [
        ", ".join(kind.__name__ for kind in Exact.constraints)
    ]
    objectives = {row["objective"]: row for row in listed["Objectives"]}
    assert list(objectives) == [kind.__name__ for kind in OBJECTIVES]
    assert objectives["FacilityLocation"]["Exact"] == "yes"
    assert "BruteForce" in objectives["CoveringRadius"]["Exact"]


def test_a_page_of_two_tables_has_a_section_each(output) -> None:
    page = output("solvers", "--markdown")
    assert [line for line in page.splitlines() if line.startswith("#")] == ["# Solvers", "# Objectives"]
    assert page.endswith("Written by `prunescope solvers --markdown`.\n")
    assert sum(line.startswith("|---") for line in page.splitlines()) == 2


@pytest.mark.parametrize("command", ["rules", "models", "solvers"])
def test_the_table_fits_a_terminal(output, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = output(command).splitlines()
    assert len(lines) > 10
    assert max(map(len, lines)) <= 80
