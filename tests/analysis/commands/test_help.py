"""The map: which commands there are, where they stand, and how soon it is shown."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import version

import pytest

from analysis.cli import COMMANDS

PANELS = {
    "Everything": ["study", "figures"],
    "Measure": ["capture", "analyze", "evaluate", "cost", "gate"],
    "Choose": ["compare"],
    "Look up": ["rules", "solvers", "models", "doctor"],
}
NAMES = [command.function.__name__ for command in COMMANDS]


def test_help_is_a_map(prunescope) -> None:
    page = prunescope("--help")
    assert page.exit_code == 0
    found: dict[str, list[str]] = {}
    for line in page.output.splitlines():
        if panel := re.match(r"\W*(Everything|Measure|Choose|Look up) \W+$", line):
            found[panel[1]] = []
        elif found and (name := re.match(r"\W{1,2}([a-z]+)  ", line)):
            found[list(found)[-1]].append(name[1])
    assert found == PANELS
    text = " ".join(page.output.split())
    for code in ("Exit codes: 0 done; 1 something", "2 wrong use or input", "130 interrupted"):
        assert code in text


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_its_help(prunescope, name: str) -> None:
    page = prunescope(name, "--help")
    assert page.exit_code == 0
    assert "--help" in page.output


@pytest.mark.parametrize("name", NAMES)
def test_every_result_is_there_for_programs(prunescope, name: str) -> None:
    assert "--json" in prunescope(name, "--help").output


def test_a_mistyped_command_is_suggested(prunescope) -> None:
    done = prunescope("evaluat")
    assert done.exit_code == 2
    assert "Did you mean 'evaluate'?" in done.output


def test_version(prunescope) -> None:
    assert prunescope("--version").stdout.strip() == version("prunescope")


def test_help_waits_for_no_library() -> None:
    slow = {"torch", "transformers", "numpy", "pandas", "numba", "matplotlib", "solvers"}
    probe = f"import sys, analysis.cli; print(*sorted({slow} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", probe], capture_output=True, check=True, text=True)
    assert run.stdout.strip() == ""
