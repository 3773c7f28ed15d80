"""`prunescope evaluate` on the embedded model, and what a newcomer gets wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from analysis import accuracy_table, evaluate, load
from analysis.commands.model_option import embedded_folder
from analysis.evaluation import MiniVqa


def test_the_table_is_that_of_python_and_the_folder_continues(prunescope, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [
        "evaluate",
        "--pruners",
        "vispruner(important_ratio=1.0)",
        "--keeps",
        "16",
        "--images",
        "1",
        "--out",
        out,
    ]
    done = prunescope(*command)
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1].startswith(f"open {out / 'accuracy.csv'}")
    assert "data/mini_llava on mini_vqa" in done.stdout
    from analysis.pruning.pruners import VisPruner

    vlm = load(embedded_folder())
    rows = evaluate(vlm, MiniVqa(), [VisPruner(1.0)], (16,), images=1, progress=False)
    stored = pd.read_parquet(out / "answers.parquet")
    columns = ["pruner", "keep", "question_id", "prediction", "correct"]
    pd.testing.assert_frame_equal(stored[columns], rows[columns])

    parts = {path: path.stat().st_mtime_ns for path in (out / "answers").rglob("*.parquet")}
    wider = prunescope(*command, "--pruners", "random", "--json")
    assert wider.exit_code == 0, wider.output
    content = json.loads(wider.stdout)
    assert {path: path.stat().st_mtime_ns for path in parts} == parts
    estimates = {(row["pruner"], row["task"]): row["estimate"] for row in content["accuracy"]}
    table = accuracy_table(rows)
    for pruner, task, estimate in zip(table["pruner"], table["task"], table["estimate"], strict=True):
        assert estimates[pruner, task] == pytest.approx(estimate)
    assert ("random", "mean") in estimates


def test_questions_of_a_file(prunescope, tmp_path: Path) -> None:
    sample = next(iter(MiniVqa("validation")))
    sample.image.save(tmp_path / "scene.png")
    asked = [
        {"id": str(number), "image": "scene.png", "question": q.question, "answers": [q.answer]}
        for number, q in enumerate(sample.questions[:3])
    ]
    questions = tmp_path / "mine.jsonl"
    questions.write_text("\n".join(map(json.dumps, asked)))
    done = prunescope(
        "evaluate", "data/mini_llava", "--task", questions, "--pruners", "random", "--keeps", "9", "--out",
        tmp_path / "out", "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    rows = pd.read_parquet(tmp_path / "out" / "answers.parquet")
    assert rows["question"].unique().tolist() == [entry["question"] for entry in asked]
    assert {(row["pruner"], row["keep"]) for row in json.loads(done.stdout)["accuracy"]} == {
        ("none", 576),
        ("random", 9),
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--pruners", "visprunr"], "unknown pruner 'visprunr'; did you mean 'vispruner'?"),
        (["--keeps", "700"], "`keep` must be in [1, 576], got 700"),
        (["--keeps", "0"], "`keep` must be in [1, 576], got 0"),
        (["--keeps", "few"], "`--keeps` must be integers"),
        (["--task", "pop"], "unknown task 'pop'; did you mean 'pope'?"),
        (["--task", "pope"], "task 'pope' needs folder"),
        (["--task", "pope", "--folder", "nowhere"], "nowhere"),
        (["--task", "none.jsonl"], "none.jsonl"),
        (["--task", "manifest"], "`--task` must be the .jsonl or .parquet file of your questions"),
        (["--scorer", "llava"], "`--scorer` is nothing that task 'mini_vqa' has: it takes split, images, path"),
        (["--split", "tset"], "unknown split 'tset'; did you mean 'test'?"),
        (["--position-ids", "compct"], "did you mean 'compact'"),
        (["--device", "gpux"], "`--device` must be a device of PyTorch such as cpu or cuda, got 'gpux'"),
        (["data/mini_lava/"], "no model folder at 'data/mini_lava/'; did you mean 'data/mini_llava'?"),
        (["no/such/model"], "no model folder at 'no/such/model'"),
    ],
)
def test_mistakes_are_one_line(prunescope, tmp_path: Path, options: list[str], message: str) -> None:
    done = prunescope("evaluate", "--images", "1", "--out", tmp_path / "out", *options)
    assert done.exit_code == 2
    assert done.stdout == ""
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("prunescope")]
    assert message in line


@pytest.mark.parametrize("command", [["evaluate"], ["capture"], ["gate"], ["study", "--model"]])
def test_a_checkpoint_that_is_no_vlm_is_refused(prunescope, tmp_path: Path, command: list[str]) -> None:
    folder = tmp_path / "bert"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "bert", "architectures": ["BertModel"]}')
    done = prunescope(*command, folder, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert "unknown model type 'bert'" in done.stderr
    assert "known: gemma3" in done.stderr
    assert "Traceback" not in done.output


def test_a_folder_of_another_run_is_not_touched(prunescope, make_problem, tmp_path: Path) -> None:
    make_problem().save(tmp_path / "p.npz")
    assert prunescope("compare", tmp_path / "p.npz", "--solvers", "TopK", "--out", tmp_path / "out").exit_code == 0
    before = sorted(tmp_path.rglob("*"))
    done = prunescope("evaluate", "--images", "1", "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert (
        "holds results of command 'compare', this run has 'evaluate': give it another folder with --out" in done.stderr
    )
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_that_cannot_be_made_is_named(prunescope, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for out, message in (("file", "`--out` must be a folder, got the file"), ("file/out", "cannot write to")):
        done = prunescope("evaluate", "--images", "1", "--out", tmp_path / out)
        assert done.exit_code == 2
        assert done.stderr.splitlines()[-1].startswith(f"prunescope evaluate: {message}")
    assert (tmp_path / "file").read_text() == "mine"


def test_other_processes_find_the_embedded_model_from_any_folder(
    prunescope, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked: list[tuple[str, int]] = []

    def answered(vlm, *arguments, n_jobs: int, **options) -> pd.DataFrame:
        asked.append((vlm.id, n_jobs))
        return evaluate(vlm, *arguments, **options)

    monkeypatch.setattr("analysis.evaluation.evaluate", answered)
    for jobs in ("1", "2"):
        done = prunescope("evaluate", "--images", "1", "--pruners", "random", "--keeps", "9", "--n-jobs", jobs)
        assert done.exit_code == 0, done.output
        assert set(pd.read_parquet("out/evaluate/answers.parquet")["model"]) == {"data/mini_llava"}
    assert asked == [("data/mini_llava", 1), (str(embedded_folder()), 2)]


def test_an_interruption_says_that_it_continues(prunescope, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("analysis.evaluation.evaluate", interrupted)
    done = prunescope("evaluate", "--images", "1", "--out", tmp_path / "out")
    assert done.exit_code == 130
    assert done.stderr.splitlines()[-1] == "stopped; the same command continues from here"
