"""Folders of results belong to one kind of run."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from analysis.commands.output import MARK, output_folder, write_table


def test_the_same_run_continues_in_its_folder(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    assert output_folder(out, "evaluate", {"model": "a"}) == out
    (out / "result.csv").write_text("x")
    assert output_folder(out, "evaluate", {"model": "a"}) == out
    assert (out / "result.csv").read_text() == "x"


def test_results_of_another_run_are_not_touched(tmp_path: Path) -> None:
    output_folder(tmp_path, "evaluate", {"model": "a"})
    before = (tmp_path / MARK).read_bytes()
    with pytest.raises(ValueError, match=r"holds results of command 'evaluate', this run has 'compare': .* --out"):
        output_folder(tmp_path, "compare")
    with pytest.raises(ValueError, match="holds results of model 'a', this run has 'b'"):
        output_folder(tmp_path, "evaluate", {"model": "b"})
    assert (tmp_path / MARK).read_bytes() == before


def test_files_of_somebody_else_are_not_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(ValueError, match="`--out` must be empty or hold results of `prunescope compare`"):
        output_folder(tmp_path, "compare")
    with pytest.raises(NotADirectoryError, match="`--out` must be a folder, got the file"):
        output_folder(tmp_path / "thesis.tex", "compare")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_damaged_mark_is_named(tmp_path: Path) -> None:
    for content in ("{", "[1]", "3"):
        (tmp_path / MARK).write_text(content)
        with pytest.raises(ValueError, match=r"prunescope.json is damaged"):
            output_folder(tmp_path, "compare")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"cannot write to .*out"):
        output_folder(tmp_path / "file" / "out", "compare")


def test_tables_by_suffix(tmp_path: Path) -> None:
    table = pd.DataFrame({"a": [1, 2], "b": [0.123456789, float("nan")]})
    pd.testing.assert_frame_equal(pd.read_parquet(write_table(table, tmp_path / "t.parquet")), table)
    pd.testing.assert_frame_equal(pd.read_csv(write_table(table, tmp_path / "t.csv")), table, rtol=1e-5)
