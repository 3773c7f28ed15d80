"""`prunescope study`: what is passed on, and what is printed; the study itself has tests of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from analysis.study import DEFAULT, FAST, Settings, StudyError


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str | None, Path, Settings]]:
    """What `run_study` was called with; it returns the report's place without writing one."""
    made: list[tuple[str | None, Path, Settings]] = []

    def run_study(model: str | None, out: Path, settings: Settings) -> Path:
        made.append((model, out, settings))
        return out / "report.html"

    monkeypatch.setattr("analysis.study.run_study", run_study)
    return made


def test_options_are_settings(prunescope, calls, tmp_path: Path) -> None:
    assert prunescope("study", "--out", tmp_path).stdout == f"open {tmp_path / 'report.html'}\n"
    prunescope("study", "--fast", "--model", "here")
    prunescope("study", "--images", "9")
    expected = [(None, tmp_path, DEFAULT), ("here", Path("out"), FAST), (None, Path("out"), DEFAULT.with_images(9))]
    assert calls == expected


def test_json_names_the_report(prunescope, calls, tmp_path: Path) -> None:
    content = json.loads(prunescope("study", "--fast", "--out", tmp_path, "--json").stdout)
    assert content["report"] == str(tmp_path / "report.html")


def test_what_cannot_be_studied_is_one_line(prunescope, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise StudyError("cannot write to out")

    monkeypatch.setattr("analysis.study.run_study", refused)
    done = prunescope("study")
    assert (done.exit_code, done.stderr) == (2, "prunescope study: cannot write to out\n")


def test_a_defect_is_not_hidden(prunescope, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("estimate")

    monkeypatch.setattr("analysis.study.run_study", broken)
    done = prunescope("study")
    assert done.exit_code == 1
    assert isinstance(done.exception, KeyError)
