"""GQA in its official file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.evaluation import Gqa


@pytest.fixture
def gqa_folder(write: Callable[[str, Any], Path], png: Callable[[int], bytes], tmp_path: Path) -> Path:
    entries = {
        "201": ("What is worn?", "t-shirt", "n1", True, "query"),
        "202": ("Is it red?", "yes", "n1", True, "verify"),
        "203": ("Unbalanced?", "no", "n1", False, "verify"),
        "204": ("Which side?", "left", "n2", True, "choose"),
    }
    write(
        "testdev_balanced_questions.json",
        {
            key: {"question": q, "answer": a, "imageId": i, "isBalanced": b, "types": {"structural": s}}
            for key, (q, a, i, b, s) in entries.items()
        },
    )
    for name in ("n1", "n2"):
        write(f"images/{name}.jpg", png(3))
    return tmp_path


def test_balanced_questions_by_picture(gqa_folder: Path) -> None:
    task = Gqa(gqa_folder)
    assert {picture: [q.question_id for q in asked] for picture, asked in task.questions.items()} == {
        "n1.jpg": ["201", "202"],
        "n2.jpg": ["204"],
    }
    first, second = task.questions["n1.jpg"]
    assert first.question == "What is worn?\nAnswer the question using a single word or phrase."
    assert (first.task, second.task, task.questions["n2.jpg"][0].task) == ("open", "binary", "binary")


@pytest.mark.parametrize(
    ("reply", "llava", "lmms"),
    [
        ("T-Shirt.", True, True),
        ("t-shirt", True, True),
        ("tshirt", False, True),  # lmms-eval drops punctuation on both sides
        ("t-shirt!", False, True),
        ("t-shirt..", True, True),
        ("t shirt", False, False),
        ("", False, False),
    ],
)
def test_scorers(gqa_folder: Path, reply: str, llava: bool, lmms: bool) -> None:
    question = Gqa(gqa_folder).questions["n1.jpg"][0]
    assert Gqa(gqa_folder).correct(question, reply) is llava
    assert Gqa(gqa_folder, scorer="lmms-eval").correct(question, reply) is lmms


def test_summary_is_over_questions_not_over_kinds(gqa_folder: Path, rows_of: Callable[..., pd.DataFrame]) -> None:
    task = Gqa(gqa_folder)
    table = task.summary(rows_of(task, ["t-shirt", "no", ""])).set_index("subset")
    assert table["accuracy"].to_dict() == pytest.approx({"all": 100 / 3, "open": 100, "binary": 0})
    assert table["questions"].to_dict() == {"all": 3, "open": 1, "binary": 2}
    assert table["empty"].to_dict() == {"all": 1, "open": 0, "binary": 1}


def test_refusals(gqa_folder: Path, write: Callable[[str, Any], Path]) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no GQA file of the split 'val' at .*val_questions\.json"):
        len(Gqa(gqa_folder, split="val"))
    write("testdev_balanced_questions.json", '{"1": {"question": "a"}, "1": {}}')
    with pytest.raises(ValueError, match="names '1' twice"):
        len(Gqa(gqa_folder))
    write("testdev_balanced_questions.json", {"1": {"question": "a", "answer": "b", "imageId": "n1"}})
    with pytest.raises(ValueError, match=r"question 1 of .* lacks 'types'"):
        len(Gqa(gqa_folder))
    write("testdev_balanced_questions.json", [1])
    with pytest.raises(ValueError, match="must be an object"):
        len(Gqa(gqa_folder))
