"""POPE in its official files: prompts, both scorers, figures per file, refusals."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.evaluation import Pope


def test_questions_of_the_three_files_meet_at_their_pictures(pope_folder: Path) -> None:
    task = Pope(pope_folder)
    assert [sample.image_id for sample in task] == ["COCO_val2014_1.jpg", "COCO_val2014_2.jpg"]
    first = next(iter(task))
    assert [question.question_id for question in first.questions] == [
        *("random/1", "random/2", "popular/1", "popular/2", "adversarial/1", "adversarial/2"),
    ]
    assert first.questions[0].question == (
        "Is there a random thing 1 in the image?\nAnswer the question using a single word or phrase."
    )
    assert (first.questions[1].answer, first.questions[1].task) == ("no", "random")
    assert len(first.image.getbands()) == 3


def test_figures_per_file_and_their_mean(
    pope_folder: Path, rows_of: Callable[..., pd.DataFrame], write: Callable[..., Path]
) -> None:
    task = Pope(pope_folder)
    # picture 1: random yes/no, popular yes/no, adversarial yes/no; picture 2: random yes/no
    rows = rows_of(task, ["Yes.", "Yes", "yes", "garbage", "yes", "no", "no", "No, none"])
    table = task.summary(rows).set_index("subset")
    assert table.index.tolist() == ["random", "popular", "adversarial", "mean"]
    # random: labels yes no yes no, read yes yes no no
    assert table.loc["random", ["accuracy", "precision", "recall", "f1", "yes_ratio"]].tolist() == [50] * 5
    # popular: garbage is a yes
    assert table.loc["popular", "f1"] == pytest.approx(200 / 3)
    assert table.loc["adversarial", "f1"] == 100
    assert table.loc["mean", "f1"] == pytest.approx((50 + 200 / 3 + 100) / 3)
    assert table.loc["mean", "questions"] == 8


def test_lmms_eval_pools_and_wants_a_bare_word(pope_folder: Path, rows_of: Callable[..., pd.DataFrame]) -> None:
    task = Pope(pope_folder, scorer="lmms-eval")
    rows = rows_of(task, ["Yes.", "Yes", "yes", "garbage", "yes", "no", "no", "No, none"])
    assert rows["correct"].tolist() == [False, False, True, False, True, True, False, False]
    pooled = task.summary(rows).set_index("subset").loc["all"]
    assert pooled["accuracy"] == pytest.approx(100 * 3 / 8)
    # "Yes." on a yes is neither found nor missed; one yes is missed, one no is said to be a yes
    assert pooled["precision"] == pytest.approx(100 * 2 / 3)
    assert pooled["recall"] == pytest.approx(100 * 2 / 3)
    assert pooled["yes_ratio"] == 50  # of the labels


def test_always_yes(pope_folder: Path, rows_of: Callable[..., pd.DataFrame]) -> None:
    task = Pope(pope_folder)
    mean = task.summary(rows_of(task, ["yes"] * 8)).set_index("subset").loc["mean"]
    assert mean["accuracy"] == 50
    assert mean["f1"] == pytest.approx(200 / 3)


def test_one_file_alone(pope_folder: Path) -> None:
    task = Pope(pope_folder, split="popular")
    assert [question.task for sample in task for question in sample.questions] == ["popular"] * 2
    assert len(task) == 1


def test_json_arrays_of_other_sources(pope_folder: Path) -> None:
    lines = (pope_folder / "coco_pope_popular.json").read_text().splitlines()
    (pope_folder / "coco_pope_popular.json").unlink()
    (pope_folder / "aokvqa_pope_seem_popular.json").write_text(json.dumps([json.loads(line) for line in lines]))
    assert len(Pope(pope_folder, split="popular").questions["COCO_val2014_1.jpg"]) == 2


def test_pictures_elsewhere(pope_folder: Path) -> None:
    before = Pope(pope_folder).checksum
    shutil.move(pope_folder / "val2014", pope_folder / "coco")
    assert Pope(pope_folder, pictures=pope_folder / "coco").checksum == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": "maybe"}, "line 1 of .* must have 'yes' or 'no' under 'label', got 'maybe'"),
        ({"label": None}, "must have a text that is not empty under 'label', got None"),
        ({"text": "  "}, "must have a text that is not empty under 'text'"),
        ({"question_id": 2}, "question 'random/2' occurs twice in"),
        ({"question_id": True}, "must have an integer or a text under 'question_id', got True"),
        ({"image": "../secret.jpg"}, "names the picture '../secret.jpg': it must be a path below the folder"),
        ({"image": "/etc/secret.jpg"}, "it must be a path below the folder"),
        ({"image": "C:\\secret.jpg"}, "it must be a path below the folder"),
        ({"image": "..\\secret.jpg"}, "it must be a path below the folder"),
    ],
)
def test_refuses_malformed_lines(pope_folder: Path, change: dict[str, Any], message: str) -> None:
    path = pope_folder / "coco_pope_random.json"
    first, *others = path.read_text().splitlines()
    path.write_text("\n".join([json.dumps(json.loads(first) | change), *others]))
    with pytest.raises(ValueError, match=message):
        len(Pope(pope_folder))


def test_refuses_what_is_not_there(pope_folder: Path, tmp_path: Path) -> None:
    (pope_folder / "val2014" / "COCO_val2014_2.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of the 2 pictures of pope are not in .*, first 'COCO_val2014_2"):
        len(Pope(pope_folder))
    (pope_folder / "coco_pope_popular.json").rename(pope_folder / "aokvqa_pope_random.json")
    with pytest.raises(FileNotFoundError, match=r"there is no POPE file \*pope\*_popular\.json in"):
        len(Pope(pope_folder, split="popular"))
    with pytest.raises(ValueError, match=r"must hold one POPE file for 'random', got aokvqa_.*, coco_pope_random"):
        len(Pope(pope_folder, split="random"))
    with pytest.raises(KeyError, match="unknown split 'populer'; did you mean 'popular'"):
        Pope(pope_folder, split="populer")
    with pytest.raises(KeyError, match="unknown scorer 'lava'; did you mean 'llava'"):
        Pope(pope_folder, scorer="lava")


def test_refuses_text_that_is_no_utf8_or_no_json(pope_folder: Path) -> None:
    path = pope_folder / "coco_pope_random.json"
    path.write_bytes(b'{"text": "caf\xe9"}')
    with pytest.raises(ValueError, match=r"coco_pope_random\.json must be UTF-8 text"):
        len(Pope(pope_folder))
    path.write_text('{"text": \n')
    with pytest.raises(ValueError, match=r"line 1 of .*coco_pope_random\.json is not JSON"):
        len(Pope(pope_folder))
    path.write_text("7\n")
    with pytest.raises(ValueError, match=r"line 1 of .* must be an object, got '7'"):
        len(Pope(pope_folder))
    path.write_text('{"label": "yes", "label": "no"}\n')
    with pytest.raises(ValueError, match="names 'label' twice"):
        len(Pope(pope_folder))
    path.write_text('{"label": "yes"}\n')
    with pytest.raises(ValueError, match="lacks 'text'; it has 'label'"):
        len(Pope(pope_folder))
    path.write_text("\n")
    with pytest.raises(ValueError, match="holds no question"):
        len(Pope(pope_folder, split="random"))


def test_a_corrupt_picture_is_named(pope_folder: Path) -> None:
    (pope_folder / "val2014" / "COCO_val2014_2.jpg").write_bytes(b"\xff\xd8 no picture")
    with pytest.raises(ValueError, match=r"picture COCO_val2014_2\.jpg of .* is not a readable picture"):
        list(Pope(pope_folder))
