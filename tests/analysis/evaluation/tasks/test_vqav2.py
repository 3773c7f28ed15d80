"""VQAv2 in its official pair of files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.evaluation import VqaV2


def questions() -> list[dict[str, Any]]:
    return [
        {"question_id": 9001, "image_id": 9, "question": "Who?"},
        {"question_id": 9002, "image_id": 9, "question": "2?"},
    ]


def annotations() -> list[dict[str, Any]]:
    return [
        {
            "question_id": key,
            "image_id": 9,
            "answer_type": kind,
            "multiple_choice_answer": answers[0],
            "answers": [{"answer": answer, "answer_id": i} for i, answer in enumerate(answers, 1)],
        }
        for key, kind, answers in ((9002, "number", ["2"] * 9 + [""]), (9001, "other", ["the cat"] * 10))
    ]


@pytest.fixture
def write_split(write: Callable[[str, Any], Path], png: Callable[[int], bytes], tmp_path: Path) -> Callable[..., Path]:
    def written(asked: list[dict[str, Any]], answered: list[dict[str, Any]]) -> Path:
        write("v2_OpenEnded_mscoco_val2014_questions.json", {"questions": asked})
        write("v2_mscoco_val2014_annotations.json", {"annotations": answered})
        write("val2014/COCO_val2014_000000000009.jpg", png(1))
        return tmp_path

    return written


def test_questions_meet_their_answers_by_id(write_split: Callable[..., Path]) -> None:
    task = VqaV2(write_split(questions(), annotations()))
    first, second = task.questions["COCO_val2014_000000000009.jpg"]
    assert first.question == "Who?\nAnswer the question using a single word or phrase."
    assert (first.answer, first.task, len(first.answers)) == ("the cat", "other", 10)
    assert (second.answer, second.task, second.answers[9]) == ("2", "number", "")


def test_scorers_differ_where_all_ten_agree(
    write_split: Callable[..., Path], rows_of: Callable[..., pd.DataFrame]
) -> None:
    folder = write_split(questions(), annotations())
    rows = rows_of(VqaV2(folder), ["the cat", "two"])
    assert rows["score"].tolist() == [0, 1]
    again = VqaV2(folder, scorer="lmms-eval").rescored(rows)
    assert again["score"].tolist() == [1, 1]
    assert again["scorer"].unique().tolist() == ["lmms-eval"]
    assert "correct" not in again.columns


def test_refusals(write_split: Callable[..., Path]) -> None:
    folder = write_split(questions(), annotations()[:1])
    with pytest.raises(ValueError, match="has 2 questions and 1 answers"):
        len(VqaV2(folder))
    write_split(questions(), [annotations()[0], annotations()[1] | {"question_id": 7}])
    with pytest.raises(ValueError, match=r"entry 1 of .*questions\.json has no answers"):
        len(VqaV2(folder))
    write_split([questions()[0]] * 2, annotations())
    with pytest.raises(ValueError, match="question '9001' occurs twice in"):
        len(VqaV2(folder))
    write_split(questions()[:1], [annotations()[1] | {"answers": [{"answer": "a"}] * 3}])
    with pytest.raises(ValueError, match=r"entry 1 of .*annotations\.json must have exactly 10 under 'answers', got 3"):
        len(VqaV2(folder))
    write_split([questions()[0] | {"image_id": "nine"}], annotations()[1:])
    with pytest.raises(ValueError, match="must have an integer under 'image_id', got 'nine'"):
        len(VqaV2(folder))
    (folder / "v2_mscoco_val2014_annotations.json").unlink()
    with pytest.raises(FileNotFoundError, match="those of test splits are not public"):
        len(VqaV2(folder))
