"""MME in its released folders: pairs, points, sums."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.evaluation import Mme
from analysis.evaluation.tasks.mme import COGNITION, PERCEPTION


@pytest.fixture
def mme_folder(write: Callable[[str, Any], Path], png: Callable[[int], bytes], tmp_path: Path) -> Path:
    """Cognition with files side by side and perception with folders of their own; two pictures of each category."""
    text = "Is it one? Please answer yes or no.\tYes\nIs it two? Please answer yes or no.\tNo\n"
    for category in COGNITION:
        for name in ("0001", "0002"):
            write(f"{category}/{name}.png", png(1))
            write(f"{category}/{name}.txt", text)
    for category in PERCEPTION:
        for name in ("a", "b"):
            write(f"{category}/images/{name}.jpg", png(2))
            write(f"{category}/questions_answers_YN/{name}.txt", text)
    write("eval_tool/readme.txt", "not a category")
    return tmp_path


def test_both_layouts_are_read(mme_folder: Path) -> None:
    task = Mme(mme_folder)
    assert len(task) == 28
    asked = task.questions["code_reasoning/0002.png"]
    assert [question.question_id for question in asked] == ["code_reasoning/0002/1", "code_reasoning/0002/2"]
    assert asked[0].question == "Is it one?\nAnswer the question using a single word or phrase."
    assert [question.answer for question in asked] == ["yes", "no"]
    assert "OCR/images/a.jpg" in task.questions
    assert len(Mme(mme_folder, split="cognition")) == 8
    assert next(iter(task)).image.size == (8, 8)


def test_points(mme_folder: Path, rows_of: Callable[..., pd.DataFrame]) -> None:
    task = Mme(mme_folder, split="cognition")
    replies = ["yes", "no"] * 8
    replies[1] = "yes"  # one of four questions of commonsense_reasoning
    table = task.summary(rows_of(task, replies)).set_index("subset")
    points = table.loc["commonsense_reasoning", ["accuracy", "accuracy_plus", "score"]]
    assert points.tolist() == [75, 50, 125]
    assert table.loc["cognition", "score"] == 125 + 3 * 200
    assert table.loc["cognition", "questions"] == 16
    assert "all" not in table.index


def test_sums_of_everything(mme_folder: Path, rows_of: Callable[..., pd.DataFrame]) -> None:
    task = Mme(mme_folder)
    table = task.summary(rows_of(task, ["yes", "no"] * 28)).set_index("subset")
    assert table.loc[["perception", "cognition", "all"], "score"].tolist() == [2000, 800, 2800]


def test_always_yes_has_half_of_the_accuracy_alone(mme_folder: Path, rows_of: Callable[..., pd.DataFrame]) -> None:
    task = Mme(mme_folder, split="perception")
    assert task.summary(rows_of(task, ["yes"] * 40)).set_index("subset").loc["perception", "score"] == 500


def test_sums_need_all_their_categories(mme_folder: Path, rows_of: Callable[..., pd.DataFrame]) -> None:
    task = Mme(mme_folder, split="perception")
    rows = rows_of(task, ["yes", "no"] * 20)
    some = task.summary(rows[rows["task"] != "OCR"])
    assert "perception" not in set(some["subset"])
    with pytest.raises(ValueError, match=r"must hold both questions of a picture, got 1 of 'existence/images/a\.jpg'"):
        task.summary(rows.iloc[1:])


def test_scorers(mme_folder: Path) -> None:
    question = Mme(mme_folder).questions["count/images/a.jpg"][0]
    assert not Mme(mme_folder).correct(question, "Y")
    assert Mme(mme_folder, scorer="lmms-eval").correct(question, "Y")


def test_refusals(mme_folder: Path, write: Callable[[str, Any], Path]) -> None:
    write("code_reasoning/0001.txt", "Is it?\tYes\n")
    with pytest.raises(ValueError, match=r"0001\.txt must hold the two questions of a picture, got 1"):
        len(Mme(mme_folder))
    write("code_reasoning/0001.txt", "Is it?\tYes\nIs it not?\tperhaps\n")
    with pytest.raises(ValueError, match=r"line 2 of .* must be a question, a tab and Yes or No"):
        len(Mme(mme_folder))
    (mme_folder / "code_reasoning" / "0001.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"there is no picture \(.jpg, .png, .jpeg\) for .*0001\.txt"):
        len(Mme(mme_folder))
    (mme_folder / "count").rename(mme_folder / "counting")
    with pytest.raises(FileNotFoundError, match="there are no questions of MME's category 'count'"):
        len(Mme(mme_folder))
    with pytest.raises(KeyError, match="unknown split 'perceptio'; did you mean 'perception'"):
        Mme(mme_folder, split="perceptio")
