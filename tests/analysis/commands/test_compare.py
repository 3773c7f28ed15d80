"""`prunescope compare` on problems from files and names."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from solvers import FacilityLocation, Greedy, MaxMin, Problem, Study, TopK, compare


@pytest.fixture
def problem_file(make_problem, tmp_path: Path) -> Path:
    path = tmp_path / "small.npz"
    make_problem(id="small").save(path)
    return path


def test_the_study_is_that_of_python(prunescope, problem_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["compare", problem_file, "--solvers", "Greedy,TopK(signal=relevance)", "--solvers", "vispruner"]
    command += ["--objective", "FacilityLocation,MaxMin", "--budgets", "2,3", "--time-limit", "5", "--out", out]
    done = prunescope(*command)
    assert done.exit_code == 0, done.output
    assert "12/12" in done.stderr
    assert done.stdout.splitlines()[-1].startswith(f"open {out / 'study.csv'}")
    assert "FacilityLocation (certified gap)" in done.stdout
    study = Study.load(out / "study.parquet")
    solvers = [Greedy(), TopK("relevance")]
    expected = compare(
        Problem.load(problem_file), solvers, [FacilityLocation(), MaxMin()], budgets=[2, 3], progress=False
    )
    columns = ["problem", "budget", "objective", "solver", "value", "selected"]
    found = study.where(solver=[solver.name for solver in solvers]).frame[columns]
    pd.testing.assert_frame_equal(found, expected.frame[columns])
    assert set(study.frame["solver"]) == {"Greedy", "TopK(signal=relevance)", "vispruner"}
    assert len(pd.read_csv(out / "study.csv")) == 12


def test_a_finished_run_is_not_repeated_and_json_is_all_of_stdout(
    prunescope, problem_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = ["compare", problem_file, "--solvers", "Greedy", "--out", out, "--json"]
    first = json.loads(prunescope(*command).stdout)
    written = {path: path.stat().st_mtime_ns for path in (out / "runs").iterdir()}
    again = json.loads(prunescope(*command).stdout)
    assert again == first  # seconds too: they are those of the first run
    assert {path: path.stat().st_mtime_ns for path in (out / "runs").iterdir()} == written
    (run,) = first["runs"]
    assert (run["problem"], run["solver"], run["budget"], len(run["selected"])) == ("small", "Greedy", 3, 3)
    wider = json.loads(prunescope(*command, "--budgets", "3,4").stdout)
    assert [entry["budget"] for entry in wider["runs"]] == [3, 4]
    assert wider["runs"][0] == run


def test_the_default_is_an_embedded_problem(prunescope, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = prunescope("compare", "--solvers", "TopK", "--budgets", "8", "--objective", "Saliency", "--out", out)
    assert done.exit_code == 0, done.output
    assert Study.load(out / "study.parquet").frame["problem"].tolist() == ["mini_vqa_000"]


def test_what_a_solver_cannot_run_is_told(prunescope, tmp_path: Path) -> None:
    path = tmp_path / "bare.npz"
    Problem.from_features([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], 2).save(path)
    done = prunescope("compare", path, "--solvers", "Greedy,TopK", "--out", tmp_path / "out")
    assert done.exit_code == 0
    assert "TopK did not run everywhere: unknown signal 'cls'" in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["mini_vqa_01"], "unknown problem 'mini_vqa_01'; did you mean 'mini_vqa_0"),
        (["nothing.npz"], "no problem file at nothing.npz"),
        (["--budgets", "700"], "`budget` must be in [1, 576], got 700"),
        (["--budgets", "many"], "`--budgets` must be integers such as 64,32, got 'many'"),
        (["--solvers", "Greedi"], "unknown solver 'Greedi'; did you mean 'Greedy'?"),
        (["--objective", "Facility"], "unknown objective 'Facility'; did you mean 'FacilityLocation'?"),
        (["--time-limit", "0"], "`time_limit` must be positive"),
        (["mini_vqa_001", "mini_vqa_001"], "problems must have distinct ids, got 'mini_vqa_001' more than once"),
    ],
)
def test_mistakes_are_one_line(prunescope, tmp_path: Path, options: list[str], message: str) -> None:
    done = prunescope("compare", "--out", tmp_path / "out", *options)
    assert done.exit_code == 2
    assert done.stdout == ""
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("prunescope")]
    assert message in line


def test_a_damaged_problem_file_is_named(prunescope, tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(b"PK\x03\x04 and then nothing")
    done = prunescope("compare", tmp_path / "x.npz", "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert "x.npz is damaged or not a problem file" in done.stderr
