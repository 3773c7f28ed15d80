"""What all benchmarks from local files share: rows of `evaluate`, stores, tables, scoring again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.evaluation import (
    TASKS,
    AbstractBenchmark,
    Manifest,
    Pope,
    accuracy_table,
    evaluate,
    task,
)
from analysis.models import Vlm

QUIET: dict[str, Any] = {"max_new_tokens": 2, "progress": False}


@pytest.fixture
def toy_manifest(write: Callable[[str, Any], Path], png: Callable[[int], bytes]) -> Path:
    """Three pictures with two questions each, in words that the tiny model has."""
    lines = []
    for number in range(3):
        write(f"{number}.png", png(80 * number))
        for words, answer in (("is there a red square ?", "no"), ("what color is the circle ?", "blue")):
            lines.append({"id": len(lines), "image": f"{number}.png", "question": words, "answers": [answer] * 10})
    return write("toy.jsonl", lines)


def test_rows_name_data_prompt_and_scorer(tiny_vlm: Vlm, toy_manifest: Path) -> None:
    frame = evaluate(tiny_vlm, Manifest(toy_manifest), ["vispruner"], (4,), **QUIET)
    assert len(frame) == 12
    named = frame[["benchmark", "split", "prompt", "scorer"]].drop_duplicates()
    assert named.to_numpy().tolist() == [["manifest", "toy", "as given", "exact"]]
    assert frame["correct"].dtype == bool
    assert (frame["score"] == frame["correct"]).all()
    assert frame["image_id"].unique().tolist() == ["0.png", "1.png", "2.png"]
    expected = [
        tiny_vlm.answer(sample.image, q.question, 2) for sample in Manifest(toy_manifest) for q in sample.questions
    ]
    assert frame.loc[frame["pruner"] == "none", "prediction"].tolist() == expected


def test_soft_rows_have_no_verdict_but_intervals(tiny_vlm: Vlm, toy_manifest: Path) -> None:
    frame = evaluate(tiny_vlm, Manifest(toy_manifest, scorer="soft"), [], **QUIET)
    assert "correct" not in frame.columns
    table = accuracy_table(frame.assign(score=[0.3, 0.6, 0.9, 1.0, 0.0, 0.8]))
    assert table.set_index("task").loc["toy", "estimate"] == pytest.approx(0.6)


def test_a_store_belongs_to_one_scorer(tiny_vlm: Vlm, toy_manifest: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    first = evaluate(tiny_vlm, Manifest(toy_manifest), [], store=store, **QUIET)
    again = evaluate(tiny_vlm, Manifest(toy_manifest), [], store=store, **QUIET)
    assert again["prediction"].tolist() == first["prediction"].tolist()
    with pytest.raises(ValueError, match=r"was made for task '.*scorer exact', this evaluation has '.*scorer soft'"):
        evaluate(tiny_vlm, Manifest(toy_manifest, scorer="soft"), [], store=store, **QUIET)


def test_a_store_belongs_to_one_set_of_pictures(
    tiny_vlm: Vlm, toy_manifest: Path, tmp_path: Path, write: Callable[[str, Any], Path], png: Callable[[int], bytes]
) -> None:
    evaluate(tiny_vlm, Manifest(toy_manifest), [], store=tmp_path / "store", **QUIET)
    write("2.png", png(161))
    with pytest.raises(ValueError, match="was made for task checksum"):
        evaluate(tiny_vlm, Manifest(toy_manifest), [], store=tmp_path / "store", **QUIET)


def test_scorers_are_not_averaged(pope_folder: Path, rows_of: Callable[..., pd.DataFrame]) -> None:
    replies = ["Yes.", "no"] * 4
    llava, lmms = Pope(pope_folder), Pope(pope_folder, scorer="lmms-eval")
    rows = rows_of(llava, replies)
    assert accuracy_table(rows)["estimate"].iloc[-1] == 1
    with pytest.raises(
        ValueError, match="must have one scorer, or its numbers must not be averaged, got llava, lmms-eval"
    ):
        accuracy_table(pd.concat([rows, rows_of(lmms, replies)]))
    with pytest.raises(ValueError, match="`rows` must have scorer 'lmms-eval', got 'llava'"):
        lmms.summary(rows)


def test_the_embedded_kind_of_rows_may_stand_beside(pope_folder: Path, rows_of: Callable[..., pd.DataFrame]) -> None:
    rows = rows_of(Pope(pope_folder), ["Yes.", "no"] * 4)
    plain = rows[["model", "pruner", "keep", "position_ids", "seed", "image_id", "question_id", "correct", "kept",
                  "flops", "kv_bytes", "select_ms"]].assign(task="count", correct=False)  # fmt: skip
    table = accuracy_table(pd.concat([rows, plain])).set_index("task")
    assert table.loc["count", "estimate"] == 0
    assert table.loc["mean", "estimate"] == pytest.approx(3 / 4)


def test_scoring_again_asks_nothing_again(pope_folder: Path, rows_of: Callable[..., pd.DataFrame]) -> None:
    llava, lmms = Pope(pope_folder), Pope(pope_folder, scorer="lmms-eval")
    replies = ["Yes.", "no", "qwerty", "NO", "yes", "No", "", "not"]
    again = lmms.rescored(rows_of(llava, replies))
    pd.testing.assert_frame_equal(again, rows_of(lmms, replies))
    pd.testing.assert_frame_equal(llava.rescored(again), rows_of(llava, replies))
    with pytest.raises(ValueError, match=r"holds 8 question\(s\) that are not in .*: 'other/1'"):
        lmms.rescored(again.assign(question_id=[f"other/{number}" for number in range(1, 9)]))
    with pytest.raises(ValueError, match="`rows` must have split 'random', got 'all'"):
        Pope(pope_folder, split="random").rescored(again)


def test_summaries_keep_settings_and_seeds_apart(pope_folder: Path, rows_of: Callable[..., pd.DataFrame]) -> None:
    task = Pope(pope_folder)
    right = rows_of(task, ["yes", "no"] * 4)
    wrong = rows_of(task, ["no", "yes"] * 4).assign(pruner="random", keep=64, seed=3)
    table = task.summary(pd.concat([right, wrong]))
    means = table[table["subset"] == "mean"]
    assert means[["pruner", "keep", "seed", "accuracy"]].to_numpy().tolist() == [
        ["none", 576, 0, 100],
        ["random", 64, 3, 0],
    ]
    assert means["scorer"].eq("llava").all()


def test_summaries_refuse_what_they_cannot_read(pope_folder: Path, rows_of: Callable[..., pd.DataFrame]) -> None:
    task = Pope(pope_folder)
    rows = rows_of(task, [""] * 8)
    assert task.summary(rows)["empty"].tolist() == [4, 2, 2, 8]
    with pytest.raises(ValueError, match="`rows` must not be empty"):
        task.summary(rows.iloc[:0])
    with pytest.raises(ValueError, match=r"`rows` lacks the column\(s\) score, parsed"):
        task.summary(rows.drop(columns=["score", "parsed"]))


def test_the_checksum_follows_questions_answers_and_pictures(
    toy_manifest: Path, write: Callable[[str, Any], Path], png: Callable[[int], bytes]
) -> None:
    before = Manifest(toy_manifest).checksum
    text = toy_manifest.read_text()
    for old, new in (("blue", "green"), ("square", "star"), ('"id": 3', '"id": 33')):
        toy_manifest.write_text(text.replace(old, new))
        assert Manifest(toy_manifest).checksum != before
    toy_manifest.write_text(text)
    assert Manifest(toy_manifest, scorer="soft").checksum == before
    write("1.png", png(81))
    assert Manifest(toy_manifest).checksum != before


@pytest.mark.parametrize("kind", [kind for kind in TASKS if issubclass(kind, AbstractBenchmark)])
def test_a_benchmark_needs_its_folder(kind: type[AbstractBenchmark]) -> None:
    with pytest.raises(
        ValueError, match=rf"task '{kind.name}' needs (folder|path).*: write {kind.__name__}\((folder|path)=\.\.\."
    ):
        task(kind.name)
    needed = {"path" if kind is Manifest else "folder": "nowhere"} | ({"ocr": True} if kind.name == "textvqa" else {})
    built = task(kind.name, **needed)
    assert isinstance(built, kind)
    assert built.label.startswith(f"benchmark {kind.name}, split ")
    with pytest.raises(FileNotFoundError, match=r"there (is|are) no .*nowhere"):
        len(built)
