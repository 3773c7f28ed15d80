"""What the shell offers after a tab."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from analysis.cli import app
from analysis.commands import completion
from analysis.pruning import PRUNERS
from solvers import RULES


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr("typer.get_app_dir", lambda name: str(tmp_path / name))
    return tmp_path / "prunescope" / "names.json"


def offered(words: str) -> list[str]:
    """The completions of the last word, as bash is told them."""
    environment = {
        "_PRUNESCOPE_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    done = CliRunner().invoke(app, [], prog_name="prunescope", env=environment)
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("prunescope eval", ["evaluate"]),
        ("prunescope evaluate --pruners visp", ["vispruner"]),
        ("prunescope evaluate --pruners random,visp", ["random,vispruner"]),
        ("prunescope evaluate --task mini", ["mini_vqa"]),
        ("prunescope compare --solvers Exa", ["Exact"]),
        ("prunescope compare --solvers divp", ["divprune"]),
        ("prunescope compare --objective MaxM", ["MaxMin"]),
        ("prunescope compare mosaic", ["mosaic_000"]),
        ("prunescope cost llava-1.5-13", ["llava-1.5-13b"]),
        ("prunescope capture --keep vision", ["vision_entropy"]),
    ],
)
def test_names_are_completed(memory: Path, words: str, expected: list[str]) -> None:
    assert offered(words) == expected


def test_names_are_remembered_until_the_package_changes(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(completion.completing("pruners")("")) == {entry.name for entry in PRUNERS}
    assert {rule.name for rule in RULES} < set(completion.completing("solvers")(""))
    remembered = json.loads(memory.read_text())
    memory.write_text(json.dumps(remembered | {"pruners": ["only"]}))
    assert completion.completing("pruners")("") == ["only"]
    monkeypatch.setattr(completion, "_sources", lambda: [0, 0])
    assert len(completion.completing("pruners")("")) == len(PRUNERS)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"sources": [1, 2]}'])
def test_a_damaged_memory_is_replaced(memory: Path, content: str) -> None:
    memory.parent.mkdir()
    memory.write_text(content)
    assert completion.completing("objectives")("Graph") == ["GraphCut"]
    assert "GraphCut" in json.loads(memory.read_text())["objectives"]


def test_without_a_place_to_remember_names_are_still_completed(memory: Path) -> None:
    memory.parent.write_text("a file in the way")
    assert completion.completing("objectives")("Graph") == ["GraphCut"]


def test_problem_files_and_model_folders(tmp_path: Path, memory: Path) -> None:
    (tmp_path / "one.npz").write_bytes(b"")
    for name in ("a_folder", "vlm"):
        (tmp_path / name).mkdir()
    (tmp_path / "vlm" / "config.json").write_text("{}")
    assert completion.problems(f"{tmp_path}/o") == [f"{tmp_path}/one.npz"]
    assert completion.model_folders(f"{tmp_path}/")[:2] == [f"{tmp_path}/vlm", f"{tmp_path}/a_folder"]
    assert completion.model_folders(f"{tmp_path}/a") == [f"{tmp_path}/a_folder"]
