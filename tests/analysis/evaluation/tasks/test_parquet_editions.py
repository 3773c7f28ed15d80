"""The parquet editions of the benchmarks against their official files, made from the same questions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.evaluation import (
    AbstractBenchmark,
    Gqa,
    MmBench,
    Mme,
    Pope,
    Question,
    ScienceQa,
    TextVqa,
    VqaV2,
    evaluate,
    task,
)
from analysis.models import Vlm

Write = Callable[[str, Any], Path]
Shards = Callable[..., Path]
Png = Callable[[int], bytes]
TEN = ["red"] * 4 + ["dark red"] * 6


def said(question: Question) -> tuple[Any, ...]:
    return question.question_id, question.question, question.answer, question.task, question.answers, question.options


def asked(benchmark: AbstractBenchmark) -> dict[Any, tuple[Any, ...]]:
    """Everything about each question, with the colour of the picture it is asked about."""
    return {
        question.question_id: (*said(question), np.asarray(sample.image)[0, 0].tolist())
        for sample in benchmark
        for question in sample.questions
    }


def pictures(benchmark: AbstractBenchmark) -> list[Any]:
    return [sample.image_id for sample in benchmark]


@pytest.fixture
def pope_rows(pope_folder: Path) -> list[dict[str, Any]]:
    rows = []
    for category in ("adversarial", "popular", "random"):
        for line in (pope_folder / f"coco_pope_{category}.json").read_text().splitlines():
            record = json.loads(line)
            rows.append(
                {
                    "id": str(len(rows)),
                    "question_id": str(record["question_id"]),
                    "question": record["text"],
                    "answer": record["label"],
                    "image_source": record["image"].removesuffix(".jpg"),
                    "image": (pope_folder / "val2014" / record["image"]).read_bytes(),
                    "category": category,
                }
            )
    return rows


def test_pope(pope_folder: Path, pope_rows: list[dict[str, Any]], write_shards: Shards) -> None:
    folder = write_shards(pope_rows, "hub/data/test").parent
    official, parquet = Pope(pope_folder), Pope(folder)
    assert asked(parquet) == asked(official)
    assert sorted(pictures(parquet)) == sorted(pictures(official))
    assert parquet.label == official.label
    assert asked(Pope(folder, split="popular")) == asked(Pope(pope_folder, split="popular"))
    assert task("pope", folder=folder).checksum == parquet.checksum


def test_pope_scores_alike(
    pope_folder: Path,
    pope_rows: list[dict[str, Any]],
    write_shards: Shards,
    rows_of: Callable[..., pd.DataFrame],
) -> None:
    official, parquet = Pope(pope_folder), Pope(write_shards(pope_rows, "test"))
    rows = rows_of(official, ["Yes.", "no", "qwerty", "NO", "yes", "No", "", "not"])
    again = parquet.rescored(rows)
    pd.testing.assert_frame_equal(again, rows)
    pd.testing.assert_frame_equal(parquet.summary(again), official.summary(rows))


@pytest.mark.parametrize("whole", [True, False])
def test_gqa(write: Write, write_shards: Shards, png: Png, tmp_path: Path, whole: bool) -> None:
    kinds = {"1": "query", "2": "verify", "3": "query", "4": "choose"}
    entries = {
        key: {
            "question": f"What is {key}?",
            "answer": "red",
            "imageId": f"n{int(key) % 2}",
            "isBalanced": key != "3",
            "types": {"structural": kind, "semantic": "attr", "detailed": "x"},
        }
        for key, kind in kinds.items()
    }
    write("testdev_balanced_questions.json", entries)
    for number in (0, 1):
        write(f"images/n{number}.jpg", png(number))
    rows = [{"id": key, **entry} for key, entry in entries.items()]
    if not whole:
        rows = [{name: row[name] for name in row if name != "isBalanced"} for row in rows if row["id"] != "3"]
    write_shards(rows, "hub/testdev_balanced_instructions/testdev", shards=1)
    images = [{"id": f"n{number}", "image": png(number)} for number in (0, 1)]
    write_shards(images, "hub/testdev_balanced_images/testdev")
    official, parquet = Gqa(tmp_path), Gqa(tmp_path / "hub")
    assert asked(parquet) == asked(official)
    assert pictures(parquet) == pictures(official)
    assert parquet.checksum == official.checksum


def test_gqa_refuses_pictures_that_do_not_fit(write_shards: Shards, png: Png, tmp_path: Path) -> None:
    row = {"id": "1", "imageId": "n1", "question": "Who?", "answer": "me", "types": {"structural": "query"}}
    write_shards([row], "testdev_balanced_instructions/testdev", shards=1)
    with pytest.raises(FileNotFoundError, match=r"there are no parquet files in .*testdev_balanced_images"):
        len(Gqa(tmp_path))
    write_shards([{"id": "n2", "image": png(2)}], "testdev_balanced_images/testdev", shards=1)
    with pytest.raises(FileNotFoundError, match=r"1 of the 1 pictures of gqa are not in .*, first 'n1\.jpg'"):
        len(Gqa(tmp_path))
    write_shards([{"id": "n1", "image": png(number)} for number in (1, 2)], "testdev_balanced_images/testdev", shards=1)
    with pytest.raises(ValueError, match=r"row 1 of .* has the picture n1\.jpg again"):
        len(Gqa(tmp_path))
    with pytest.raises(ValueError, match="`pictures` must be None for parquet, which holds its pictures, got 'images'"):
        len(Gqa(tmp_path, pictures="images"))


@pytest.mark.parametrize(("scorer", "ocr"), [("llava", True), ("llava", False), ("lmms-eval", True)])
def test_textvqa(write: Write, write_shards: Shards, png: Png, tmp_path: Path, scorer: str, ocr: bool) -> None:
    entries = [
        {"question_id": 7, "image_id": "a", "question": "which NY year?", "answers": TEN, "ocr_tokens": ["19", "99"]},
        {"question_id": 8, "image_id": "b", "question": "who?", "answers": ["me"] * 10, "ocr_tokens": []},
        {"question_id": 9, "image_id": "a", "question": "where?", "answers": ["here"] * 10, "ocr_tokens": ["x"]},
    ]
    write("TextVQA_0.5.1_val.json", {"data": entries})
    lines = [{"question_id": e["image_id"], "text": f"{e['question']}\nReference OCR token: x"} for e in entries]
    write("llava_textvqa_val_v051_ocr.jsonl", lines)
    content = {"a": png(1), "b": png(2)}
    for name, picture in content.items():
        write(f"train_images/{name}.jpg", picture)
    rows = [entry | {"image": content[entry["image_id"]]} for entry in entries]
    folder = write_shards(rows, "hub/validation", shards=1)
    write("hub/llava_textvqa_val_v051_ocr.jsonl", lines)
    official = TextVqa(tmp_path, scorer=scorer, ocr=ocr)
    (file,) = folder.glob("*.parquet")
    for place in (folder, file):
        parquet = TextVqa(place, scorer=scorer, ocr=ocr)
        assert asked(parquet) == asked(official)
        assert (parquet.checksum, parquet.label) == (official.checksum, official.label)


def test_vqav2(write: Write, write_shards: Shards, png: Png, tmp_path: Path) -> None:
    answers = [{"answer": answer, "answer_confidence": "yes", "answer_id": i} for i, answer in enumerate(TEN, 1)]
    answered = [
        {
            "question_id": 10 * image,
            "image_id": image,
            "question_type": "what",
            "answer_type": kind,
            "multiple_choice_answer": "dark red",
            "answers": answers,
        }
        for image, kind in ((3, "other"), (4, "number"), (5, "yes/no"))
    ]
    asked_of = [{"question_id": e["question_id"], "image_id": e["image_id"], "question": "Which?"} for e in answered]
    write("v2_OpenEnded_mscoco_val2014_questions.json", {"questions": asked_of})
    write("v2_mscoco_val2014_annotations.json", {"annotations": answered})
    for image in (3, 4, 5):
        write(f"val2014/COCO_val2014_{image:012d}.jpg", png(image))
    rows = [e | {"question": "Which?", "image": png(e["image_id"])} for e in answered]
    official, parquet = VqaV2(tmp_path), VqaV2(write_shards(rows, "hub/data/validation").parent)
    assert asked(parquet) == asked(official)
    assert pictures(parquet) == pictures(official)
    assert parquet.checksum == official.checksum
    open_rows = write_shards([row | {"answers": None} for row in rows], "hub/data/testdev")
    with pytest.raises(ValueError, match="must have exactly 10 under 'answers', got None"):
        len(VqaV2(open_rows, split="testdev"))


@pytest.mark.parametrize("prefix", ["code_reasoning/", ""])
def test_mme(write: Write, write_shards: Shards, png: Png, tmp_path: Path, prefix: str) -> None:
    words = ("Is it one? Please answer yes or no.", "Is it two? Please answer yes or no.")
    rows = []
    for category in ("commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning"):
        for number in (1, 2):
            content = png(number)
            write(f"{category}/000{number}.png", content)
            write(f"{category}/000{number}.txt", f"{words[0]}\tYes\n{words[1]}\tNo\n")
            name = f"{category if prefix else ''}{'/' if prefix else ''}000{number}.png"
            common = {"question_id": name, "image": content, "category": category}
            rows += [common | {"question": w, "answer": a} for w, a in zip(words, ("Yes", "No"), strict=True)]
    official = Mme(tmp_path, split="cognition")
    parquet = Mme(write_shards(rows, "hub/data/test").parent, split="cognition")
    assert asked(parquet) == asked(official)
    assert pictures(parquet) == pictures(official)
    assert len(Mme(tmp_path / "hub")) == 8  # all categories that are there


def test_mme_refuses_what_is_not_of_it(write_shards: Shards, png: Png) -> None:
    row = {"question_id": "1.png", "image": png(1), "category": "OCR", "question": "Is it?", "answer": "Yes"}
    with pytest.raises(ValueError, match=r"must hold the two questions of OCR/1\.png, got 3"):
        len(Mme(write_shards([row] * 3, "a/test")))
    for number, change in enumerate(({"category": "smell"}, {"answer": "maybe"})):
        with pytest.raises(ValueError, match=r"row 0 of .* must have a category of MME and Yes or No, got"):
            len(Mme(write_shards([row | change, row], f"b{number}/test")))


def test_scienceqa(write: Write, write_shards: Shards, png: Png, tmp_path: Path) -> None:
    common = {"split": "test", "image": "image.png", "hint": "", "subject": "social science"}
    problems = {
        "0": common | {"question": "Where?", "choices": ["here", "there"], "answer": 1},
        "1": common | {"question": "No picture?", "choices": ["a", "b"], "answer": 0, "image": None},
        "2": common | {"question": "Why?", "choices": ["a", "b", "c"], "answer": 2, "hint": "Think.", "subject": "art"},
    }
    write("problems.json", problems)
    write("pid_splits.json", {"test": list(problems)})
    for name in ("0", "2"):
        write(f"images/test/{name}/image.png", png(int(name)))
    rows = [entry | {"image": entry["image"] and png(int(name))} for name, entry in problems.items()]
    folder = write_shards(rows, "hub/ScienceQA-FULL/test", group=1)
    official = ScienceQa(tmp_path, scorer="lmms-eval")
    parquet = ScienceQa(folder, scorer="lmms-eval")
    assert asked(parquet) == asked(official)
    assert pictures(parquet) == ["test/0", "test/2"]
    assert ScienceQa(folder, prompt="lmms-eval").scorer == "llava"
    with pytest.raises(ValueError, match="does not name its problems, so that LLaVA's prompts cannot be found"):
        len(ScienceQa(folder))


def test_mmbench(
    mmbench_table: list[dict[str, Any]],
    write_table: Callable[..., Path],
    write_shards: Shards,
    png: Png,
    rows_of: Callable[..., pd.DataFrame],
) -> None:
    shades = {5: 7, 1000005: 7, 2000005: 7, 6: 8}
    rows = [
        {key: value or None for key, value in row.items()} | {"image": png(shades[row["index"]])}
        for row in mmbench_table
    ]
    official = MmBench(write_table(mmbench_table))
    parquet = MmBench(write_shards(rows, "hub/en/dev"), split="dev")
    assert asked(parquet) == asked(official)
    assert pictures(parquet) == pictures(official) == ["5", "6"]
    assert parquet.checksum == official.checksum
    figures = ["subset", "circular", "vanilla", "unread", "questions", "empty"]
    replies = ["A", "C", "", "B"]
    found, expected = parquet.summary(rows_of(parquet, replies)), official.summary(rows_of(official, replies))
    pd.testing.assert_frame_equal(found[figures], expected[figures])


def test_mmbench_refuses_tests_and_other_splits(
    mmbench_table: list[dict[str, Any]], write_shards: Shards, png: Png
) -> None:
    rows = [row | {"image": png(1), "answer": None} for row in mmbench_table]
    folder = write_shards(rows, "en/test")
    with pytest.raises(ValueError, match="has no answer: only MMBench's server can score a test split"):
        len(MmBench(folder, split="test"))
    with pytest.raises(FileNotFoundError, match=r"there is no mmbench_dev\.tsv in .*, but test-00000-of-00002"):
        len(MmBench(folder, split="dev"))
    write_shards([rows[0] | {"index": None}], "cn/dev", shards=1)
    with pytest.raises(ValueError, match=r"column 'index' of .* must hold integers"):
        len(MmBench(folder.parent / "cn", split="dev"))


def test_refusals_name_their_place(pope_rows: list[dict[str, Any]], write_shards: Shards, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no parquet file at .*nothing\.parquet"):
        len(Pope(tmp_path / "nothing.parquet"))
    with pytest.raises(ValueError, match="question 'random/4' occurs twice in"):
        len(Pope(write_shards([*pope_rows, pope_rows[-1]], "twice/test")))
    changes = {
        "must have one of .* under 'category', got 'new'": {"category": "new"},
        "must have 'yes' or 'no' under 'answer', got 'maybe'": {"answer": "Maybe"},
        "must have a text that is not empty under 'question', got None": {"question": None},
        "must have a text that is not empty under 'image_source', got ''": {"image_source": ""},
    }
    for number, (message, change) in enumerate(changes.items()):
        with pytest.raises(ValueError, match=rf"row 3 of .*\.parquet {message}"):
            len(Pope(write_shards([*pope_rows[:3], pope_rows[3] | change], f"changed{number}/test")))
    lacking = [{key: value for key, value in row.items() if key != "category"} for row in pope_rows]
    with pytest.raises(ValueError, match=r"lacks the column\(s\) category; it has"):
        len(Pope(write_shards(lacking, "lacking/test")))
    broken = write_shards([row | {"image": b"\x89PNG but no more"} for row in pope_rows], "broken/test")
    with pytest.raises(ValueError, match=r"picture COCO_val2014_1\.jpg of .* is not a readable picture"):
        list(Pope(broken))
    bare = write_shards([row | {"image": None} for row in pope_rows[:-1]] + pope_rows[-1:], "bare/test", shards=1)
    with pytest.raises(ValueError, match=r"row 0 of .*\.parquet holds no picture"):
        list(Pope(bare))


def test_answers_that_are_not_public(write_shards: Shards, png: Png) -> None:
    row = {"question_id": 1, "image_id": "a", "question": "who?", "answers": [""] * 10, "image": png(1)}
    with pytest.raises(ValueError, match=r"row 0 of .* has no answers: those of the test split are not public"):
        len(TextVqa(write_shards([row], "test", shards=1), split="test", ocr=False))


def test_an_edition_is_evaluated_like_the_files(
    tiny_vlm: Vlm, pope_folder: Path, pope_rows: list[dict[str, Any]], write_shards: Shards
) -> None:
    options: dict[str, Any] = {"max_new_tokens": 2, "progress": False}
    frames = [
        evaluate(tiny_vlm, Pope(place), "vispruner", (4,), **options).set_index(["pruner", "question_id"])
        for place in (pope_folder, write_shards(pope_rows, "hub/test"))
    ]
    columns = ["image_id", "task", "question", "answer", "prediction", "correct", "kept", "scorer"]
    pd.testing.assert_frame_equal(frames[1].loc[frames[0].index, columns], frames[0][columns])
