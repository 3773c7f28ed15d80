"""MMBench in its official table: rotations, both prompts, CircularEval."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.evaluation import MmBench

Table = list[dict[str, Any]]
DIRECTLY = "Answer with the option's letter from the given choices directly."


def test_rotations_share_their_picture(mmbench_table: Table, write_table: Callable[..., Path]) -> None:
    task = MmBench(write_table(mmbench_table))
    assert {picture: [q.question_id for q in asked] for picture, asked in task.questions.items()} == {
        "5": [5, 1000005, 2000005],
        "6": [6],
    }
    first, second = task
    assert first.image.getpixel((0, 0)) == (7, 0, 0)
    assert second.image.getpixel((0, 0)) == (8, 0, 0)


def test_prompts(mmbench_table: Table, write_table: Callable[..., Path]) -> None:
    folder = write_table(mmbench_table)
    plain, hinted = MmBench(folder).questions["5"][0], MmBench(folder).questions["6"][0]
    assert plain.question == f"What is it?\nA. cat\nB. dog\nC. cow\n{DIRECTLY}"
    assert hinted.question == f"Look up.\nWhat is it?\nA. sun\nB. moon\n{DIRECTLY}"
    lmms = MmBench(folder, scorer="lmms-eval").questions["6"][0].question
    assert lmms == f"Look up. What is it? There are several options:\nA. sun\nB. moon\n\n{DIRECTLY}"
    chinese = MmBench(folder, language="cn")
    assert chinese.questions["5"][0].question.endswith("C. cow\n请直接回答选项字母。")
    assert chinese.prompt_name == "llava cn"


def test_all_rotations_must_be_right(
    mmbench_table: Table, write_table: Callable[..., Path], rows_of: Callable[..., pd.DataFrame]
) -> None:
    task = MmBench(write_table(mmbench_table))
    rows = rows_of(task, ["A", "the cat", "none", "B."])
    assert rows["correct"].tolist() == [True, True, False, True]
    table = task.summary(rows).set_index("subset")
    assert table.loc["all", ["circular", "vanilla"]].tolist() == [50, 100]
    assert table.loc["object", ["circular", "vanilla"]].tolist() == [0, 100]
    assert table.loc["scene", "circular"] == 100
    assert table["unread"].tolist() == [1, 1, 0]
    right = rows_of(task, ["A", "C", "B", "B"])
    assert task.summary(right).set_index("subset").loc["all", "circular"] == 100


def test_some_rotations_are_no_question(
    mmbench_table: Table, write_table: Callable[..., Path], rows_of: Callable[..., pd.DataFrame]
) -> None:
    task = MmBench(write_table(mmbench_table))
    rows = rows_of(task, ["A", "C", "B", "B"])
    with pytest.raises(ValueError, match="must hold all 3 rotations of question 5, got 2"):
        task.summary(rows.iloc[1:])


def test_scorers(mmbench_table: Table, write_table: Callable[..., Path]) -> None:
    folder = write_table(mmbench_table)
    question = MmBench(folder).questions["5"][0]
    assert not MmBench(folder).correct(question, "A or B")
    assert MmBench(folder, scorer="lmms-eval").correct(question, "A or B")


def test_an_option_called_none_is_absent_as_in_the_scripts(
    mmbench_table: Table, write_table: Callable[..., Path]
) -> None:
    folder = write_table([mmbench_table[0] | {"C": "None"}])
    assert MmBench(folder).questions["5"][0].options == ("cat", "dog")


def test_names_of_tables_without_regard_to_capitals(mmbench_table: Table, write_table: Callable[..., Path]) -> None:
    folder = write_table(mmbench_table, "MMBench_DEV_EN.tsv")
    assert len(MmBench(folder, split="dev_en")) == 2
    with pytest.raises(
        FileNotFoundError, match=r"there is no mmbench_dev_20230712\.tsv in .*, but MMBench_DEV_EN\.tsv"
    ):
        len(MmBench(folder))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answer": ""}, "row 5 of .* has no answer: only MMBench's server can score a test split"),
        ({"answer": "D"}, "row 5 of .* must have an answer out of ABC, got 'D'"),
        ({"B": ""}, "must have a question and at least two options"),
        ({"question": ""}, "must have a question and at least two options"),
        ({"index": "five"}, "column 'index' of .* must hold integers"),
        ({"index": 6}, "question 6 occurs twice"),
    ],
)
def test_refuses_malformed_rows(
    mmbench_table: Table, write_table: Callable[..., Path], change: dict[str, Any], message: str
) -> None:
    folder = write_table([mmbench_table[0] | change, *mmbench_table[3:]])
    with pytest.raises(ValueError, match=message):
        len(MmBench(folder))


def test_refuses_damaged_pictures_and_tables(mmbench_table: Table, write_table: Callable[..., Path]) -> None:
    folder = write_table([mmbench_table[0] | {"image": "not base64!" * 9}])
    with pytest.raises(ValueError, match=r"picture 5 of .* is not in base64"):
        list(MmBench(folder))
    write_table([mmbench_table[0] | {"image": base64.b64encode(b"no picture" * 9).decode()}])
    with pytest.raises(ValueError, match=r"picture 5 of .* is not a readable picture"):
        list(MmBench(folder))
    write_table([{"index": 1, "question": "x"}])
    with pytest.raises(ValueError, match=r"lacks the column\(s\) A, B, answer, image; it has"):
        len(MmBench(folder))
    (folder / "mmbench_dev_20230712.tsv").write_bytes(b"index\tquestion\n1\tcaf\xe9\n")
    with pytest.raises(ValueError, match="must be UTF-8 text"):
        len(MmBench(folder))
    (folder / "mmbench_dev_20230712.tsv").write_bytes(b"")
    with pytest.raises(ValueError, match="is not a table with tabs"):
        len(MmBench(folder))
    with pytest.raises(KeyError, match="unknown language 'de'"):
        MmBench(folder, language="de")
