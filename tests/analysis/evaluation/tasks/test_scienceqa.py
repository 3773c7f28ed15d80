"""ScienceQA-IMG in its official files, with LLaVA's published prompts or those built by lmms-eval."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analysis.evaluation import ScienceQa

DIRECTLY = "Answer with the option's letter from the given choices directly."


def problems() -> dict[str, dict[str, Any]]:
    common = {"split": "test", "image": "image.png", "hint": ""}
    return {
        "11": common | {"question": "Where?", "choices": ["here", "there"], "answer": 1, "subject": "social science"},
        "12": common | {"question": "No picture?", "choices": ["a", "b"], "answer": 0, "image": None},
        "13": common | {"question": "Why?", "choices": ["a", "b", "c"], "answer": 2, "hint": "Think."},
    }


@pytest.fixture
def science_folder(write: Callable[[str, Any], Path], png: Callable[[int], bytes], tmp_path: Path) -> Path:
    write("problems.json", problems())
    write("pid_splits.json", {"test": ["13", "12", "11"], "val": ["12"]})
    for name in ("11", "13"):
        write(f"images/test/{name}/image.png", png(5))
    said = {"11": "Where?\nA. here\nB. there\n<image>", "13": "<image>\nContext: Think.\nWhy?\nA. a\nB. b\nC. c"}
    write(
        "llava_test_CQM-A.json",
        [
            {"id": key, "image": f"{key}/image.png", "conversations": [{"from": "human", "value": value}]}
            for key, value in said.items()
        ],
    )
    return tmp_path


def test_only_questions_with_a_picture(science_folder: Path) -> None:
    assert list(ScienceQa(science_folder).questions) == ["13/image.png", "11/image.png"]


@pytest.mark.parametrize("prompt", ["llava", "lmms-eval"])
def test_prompts(science_folder: Path, prompt: str) -> None:
    task = ScienceQa(science_folder, prompt=prompt)
    [why], [where] = task.questions.values()
    assert why.question == f"Context: Think.\nWhy?\nA. a\nB. b\nC. c\n{DIRECTLY}"
    assert where.question == f"Where?\nA. here\nB. there\n{DIRECTLY}"
    assert (why.answer, why.task, where.answer, where.task) == ("C", "scienceqa", "B", "social science")
    assert task.identity["prompt"] == prompt


def test_each_scorer_has_its_prompt(science_folder: Path) -> None:
    assert ScienceQa(science_folder, scorer="lmms-eval").prompt_name == "lmms-eval"
    (science_folder / "llava_test_CQM-A.json").unlink()
    assert len(ScienceQa(science_folder, scorer="lmms-eval")) == 2
    with pytest.raises(FileNotFoundError, match=r"there is no file of LLaVA's prompts \(or say prompt='lmms-eval'\)"):
        len(ScienceQa(science_folder))


@pytest.mark.parametrize(("reply", "llava", "lmms"), [("C.", False, True), ("c", False, True), ("C. c", True, True)])
def test_scorers(science_folder: Path, reply: str, llava: bool, lmms: bool) -> None:
    question = ScienceQa(science_folder).questions["13/image.png"][0]
    assert ScienceQa(science_folder).correct(question, reply) is llava
    assert ScienceQa(science_folder, scorer="lmms-eval").correct(question, reply) is lmms


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answer": 3}, r"problem 13 of .* must have an answer in \[0, 2\], got 3"),
        ({"answer": "C"}, "must have at most 5 choices and an integer under 'answer'"),
        ({"choices": []}, "must have at least one under 'choices', got 0"),
        ({"choices": list("abcdef")}, "must have at most 5 choices"),
        ({"image": "../../x.png"}, "it must be a path below the folder of the pictures"),
    ],
)
def test_refuses_malformed_problems(
    science_folder: Path, write: Callable[[str, Any], Path], change: dict[str, Any], message: str
) -> None:
    write("problems.json", problems() | {"13": problems()["13"] | change})
    with pytest.raises(ValueError, match=message):
        len(ScienceQa(science_folder))


def test_refuses_other_splits_and_missing_entries(science_folder: Path, write: Callable[[str, Any], Path]) -> None:
    with pytest.raises(KeyError, match="unknown split 'tst'; did you mean 'test'"):
        len(ScienceQa(science_folder, split="tst"))
    with pytest.raises(KeyError, match="unknown prompt 'lmms'; did you mean 'lmms-eval'"):
        ScienceQa(science_folder, prompt="lmms")
    with pytest.raises(ValueError, match="holds no question"):
        len(ScienceQa(science_folder, split="val"))
    write("pid_splits.json", {"test": ["14"]})
    with pytest.raises(ValueError, match=r"problems\.json lacks '14'"):
        len(ScienceQa(science_folder))
    write("pid_splits.json", {"test": ["13", "13"]})
    with pytest.raises(ValueError, match="question '13' occurs twice"):
        len(ScienceQa(science_folder))
    write("pid_splits.json", {"test": ["13"]})
    write("llava_test_CQM-A.json", [{"id": "11", "conversations": [{"value": "x"}]}])
    with pytest.raises(ValueError, match="has no prompt for problem 13"):
        len(ScienceQa(science_folder))
