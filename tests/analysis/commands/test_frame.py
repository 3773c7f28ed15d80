"""Exit codes and the one line that says what was wrong."""

from __future__ import annotations

import json

import numpy as np
import pytest
import typer

from analysis.commands import frame


def raising(error: BaseException, *, resumes: bool = False):
    def command() -> None:
        raise error

    return frame.guarded(command, name="try", resumes=resumes)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("`keep` must be in [1, 576], got 700"), "`keep` must be in [1, 576], got 700"),
        (KeyError("unknown pruner 'x'; known: y"), "unknown pruner 'x'; known: y"),
        (FileNotFoundError("no model folder at 'x'"), "no model folder at 'x'"),
        (PermissionError(13, "Permission denied", "out"), "[Errno 13] Permission denied: 'out'"),
    ],
)
def test_refusals_are_one_line_and_exit_with_2(error, line, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as done:
        raising(error)()
    assert done.value.exit_code == 2
    assert capsys.readouterr() == ("", f"prunescope try: {line}\n")


@pytest.mark.parametrize("error", [KeyError("task"), TypeError("a defect"), RuntimeError("x"), BrokenPipeError()])
def test_defects_are_not_hidden(error) -> None:
    with pytest.raises(type(error)):
        raising(error)()


def test_a_developer_can_see_where_something_was_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(frame.TRACEBACK, "1")
    with pytest.raises(ValueError, match="refused"):
        raising(ValueError("refused"))()


@pytest.mark.parametrize(("resumes", "line"), [(False, "stopped\n"), (True, "stopped; the same command continues")])
def test_an_interruption_exits_with_130(resumes: bool, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as done:
        raising(KeyboardInterrupt(), resumes=resumes)()
    assert done.value.exit_code == 130
    assert capsys.readouterr().err.startswith(line)


def test_json_has_no_numbers_that_json_lacks(capsys: pytest.CaptureFixture[str]) -> None:
    frame.show_json({"a": np.float64("nan"), "b": [np.inf, 1.5], 3: np.arange(2), "c": np.True_, "d": None})
    found = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert found == {"a": None, "b": [None, 1.5], "3": [0, 1], "c": True, "d": None}
