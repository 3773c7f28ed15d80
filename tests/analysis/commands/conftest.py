"""`prunescope` as it is typed, in this process."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from typer.testing import CliRunner

Prunescope = Callable[..., object]


@pytest.fixture
def prunescope(monkeypatch: pytest.MonkeyPatch) -> Prunescope:
    """`prunescope("compare", "--json")`: what came of it, with exit_code, stdout and stderr."""
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "dumb")

    def run(*arguments: object):
        from analysis.cli import app

        return CliRunner().invoke(app, list(map(str, arguments)), prog_name="prunescope")

    return run
