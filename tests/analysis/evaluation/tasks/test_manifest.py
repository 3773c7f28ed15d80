"""Questions of one's own, from JSON lines and from parquet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.evaluation import Manifest

LINES = [
    {"id": "a", "image": "x/1.png", "question": "Who?", "answers": ["me", "I"], "category": "people"},
    {"id": 2, "image": "x/2.png", "question": "What?", "answers": ["tea"]},
    {"id": "c", "image": "x/1.png", "question": "Where?", "answers": ["here"], "category": None},
]


@pytest.fixture
def manifest(write: Callable[[str, Any], Path], png: Callable[[int], bytes]) -> Path:
    for number in (1, 2):
        write(f"x/{number}.png", png(number))
    return write("mine.jsonl", LINES)


def test_questions_by_picture(manifest: Path) -> None:
    task = Manifest(manifest)
    assert {p: [q.question_id for q in asked] for p, asked in task.questions.items()} == {
        "x/1.png": ["a", "c"],
        "x/2.png": ["2"],
    }
    first, third = task.questions["x/1.png"]
    assert (first.question, first.answer, first.task) == ("Who?", "me", "people")
    assert third.task == "mine"
    assert [sample.image.getpixel((0, 0))[0] for sample in task] == [1, 2]
    assert task.identity == {"benchmark": "manifest", "split": "mine", "prompt": "as given", "scorer": "exact"}


def test_any_of_the_answers_is_right(manifest: Path, rows_of: Callable[..., pd.DataFrame]) -> None:
    task = Manifest(manifest)
    rows = rows_of(task, ["i.", "there", "Tea"])
    assert rows["correct"].tolist() == [True, False, True]
    assert task.summary(rows).set_index("subset")["accuracy"].to_dict() == pytest.approx(
        {"all": 200 / 3, "people": 100, "mine": 50}
    )


def test_soft_scores_need_ten_answers(manifest: Path, write: Callable[[str, Any], Path]) -> None:
    with pytest.raises(ValueError, match=r"line 1 of .* must have exactly 10 under 'answers', got 2"):
        len(Manifest(manifest, scorer="soft"))
    write("mine.jsonl", [LINES[0] | {"answers": ["two"] * 2 + ["three"] * 8}])
    task = Manifest(manifest, scorer="soft")
    marks = task.marks(task.questions["x/1.png"][0], "2")
    assert marks["score"] == 0.6
    assert "correct" not in marks


def test_a_verdict_does_not_outlive_scoring_again(
    manifest: Path, write: Callable[[str, Any], Path], rows_of: Callable[..., pd.DataFrame]
) -> None:
    write("mine.jsonl", [LINES[0] | {"answers": ["two"] * 2 + ["three"] * 8}])
    exact, soft = Manifest(manifest), Manifest(manifest, scorer="soft")
    again = soft.rescored(rows_of(exact, ["2"]))
    pd.testing.assert_frame_equal(again, rows_of(soft, ["2"]))
    assert exact.rescored(again)["correct"].tolist() == [False]


@pytest.mark.parametrize("wrapped", [False, True])
def test_parquet_with_the_pictures_inside(tmp_path: Path, png: Callable[[int], bytes], wrapped: bool) -> None:
    pictures = [png(1), png(2), png(1)]
    images = [{"bytes": picture, "path": None} for picture in pictures] if wrapped else pictures
    path = tmp_path / "mine.parquet"
    table = pd.DataFrame([{**line, "id": str(line["id"])} for line in LINES]).assign(image=images)
    table.to_parquet(path, index=False)
    task = Manifest(path)
    assert [[q.question_id for q in sample.questions] for sample in task] == [["a", "c"], ["2"]]
    assert [sample.image.getpixel((0, 0))[0] for sample in task] == [1, 2]


def test_parquet_with_paths(manifest: Path) -> None:
    path = manifest.with_suffix(".parquet")
    pd.DataFrame([{**line, "id": str(line["id"])} for line in LINES]).to_parquet(path, index=False)
    assert Manifest(path).checksum == Manifest(manifest).checksum


def test_a_byte_order_mark_is_no_text(manifest: Path) -> None:
    before = Manifest(manifest).checksum
    manifest.write_bytes(b"\xef\xbb\xbf" + manifest.read_bytes())
    assert Manifest(manifest).checksum == before


def test_lines_end_at_line_feeds_alone(manifest: Path) -> None:
    line = '{"id": 1, "image": "x/1.png", "question": "a\u2028b\u0085c", "answers": ["d"]}'
    manifest.write_text(line + "\r\n" + line.replace("1,", "2,"), encoding="utf-8")
    assert [q.question for q in Manifest(manifest).questions["x/1.png"]] == ["a\u2028b\u0085c"] * 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answers": []}, "line 1 of .* must have at least one under 'answers', got 0"),
        ({"answers": ["me", " "]}, "must have no empty text under 'answers'"),
        ({"answers": "me"}, "must have a list of texts under 'answers', got 'me'"),
        ({"question": ""}, "must have a text that is not empty under 'question', got ''"),
        ({"id": "c"}, "question 'c' occurs twice"),
        ({"id": None}, "must have an integer or a text under 'id', got None"),
        ({"image": "x/../../1.png"}, "it must be a path below the folder of the pictures"),
        ({"image": 3}, "must have a text that is not empty under 'image', got 3"),
        ({"category": 1}, "must have a text that is not empty under 'category', got 1"),
    ],
)
def test_refuses_malformed_lines(
    manifest: Path, write: Callable[[str, Any], Path], change: dict[str, Any], message: str
) -> None:
    write("mine.jsonl", [LINES[0] | change, *LINES[1:]])
    with pytest.raises(ValueError, match=message):
        len(Manifest(manifest))


def test_refuses_missing_and_damaged_files(manifest: Path, tmp_path: Path, write: Callable[[str, Any], Path]) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no manifest at .*yours\.jsonl"):
        len(Manifest(tmp_path / "yours.jsonl"))
    write("mine.parquet", b"PAR1")
    with pytest.raises(ValueError, match="is not a readable parquet file"):
        len(Manifest(tmp_path / "mine.parquet"))
    write("x/2.png", b"\x89PNG but no more")
    with pytest.raises(ValueError, match=r"picture x/2\.png of .* is not a readable picture"):
        list(Manifest(manifest))
    (tmp_path / "x" / "2.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"there is no picture 'x/2\.png' of .*mine\.jsonl at"):
        len(Manifest(manifest))
    with pytest.raises(KeyError, match="unknown scorer 'exat'; did you mean 'exact'"):
        Manifest(manifest, scorer="exat")
