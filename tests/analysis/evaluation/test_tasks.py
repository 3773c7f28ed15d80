"""The embedded benchmark and the files it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.evaluation import TASKS, MiniVqa, task

KINDS = {"exist_random", "exist_popular", "exist_adversarial", "attribute", "count", "spatial", "text", "tiny"}


def test_reads_questions_by_image_in_order_of_appearance(benchmark_file: Callable[..., Path]) -> None:
    samples = list(MiniVqa(path=benchmark_file()))
    assert [sample.image_id for sample in samples] == [7, 3]
    first, second = samples
    assert [question.question_id for question in first.questions] == [0, 2]
    assert first.questions[1].question == "what color is the ring ?"
    assert (first.questions[1].answer, first.questions[1].task) == ("red", "attribute")
    assert first.questions[0].needed.dtype == np.int64
    assert first.questions[0].needed.tolist() == [5, 9]
    assert second.questions[0].needed.size == 0
    assert first.image.getpixel((0, 0)) == (10, 0, 0)
    assert second.image.getpixel((0, 0)) == (200, 0, 0)


def test_fewer_images_are_the_first_ones_of_the_same_data(benchmark_file: Callable[..., Path]) -> None:
    path = benchmark_file()
    some = MiniVqa(path=path, images=1)
    assert [sample.image_id for sample in some] == [7]
    assert len(some) == 1
    assert some.checksum == MiniVqa(path=path).checksum


def test_the_checksum_follows_the_data(benchmark_file: Callable[..., Path]) -> None:
    before = MiniVqa(path=benchmark_file()).checksum
    assert MiniVqa(path=benchmark_file(answer=["yes", "5", "red"])).checksum != before


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ({"needed": None, "task": None}, "lacks the column.s. task, needed; it has"),
        ({"answer": ["yes", None, "red"]}, "column 'answer' of .* holds nulls"),
        ({"question_id": [1, 1, 2]}, "column 'question_id' of .* must not repeat"),
        ({"image_id": ["a", "b", "a"]}, "column 'image_id' of .* must hold integers, got .*string"),
        ({"needed": ["5", "", "5"]}, "column 'needed' of .* must hold lists of integers, got .*string"),
        ({"image": ["a", "b", "a"]}, "column 'image' of .* must hold bytes, got"),
        ({"image": [b"no picture"] * 3}, "image 7 of .* is not a readable picture"),
    ],
)
def test_refuses_files_of_another_shape(
    benchmark_file: Callable[..., Path], replaced: dict[str, list[object]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        list(MiniVqa(path=benchmark_file(**replaced)))


def test_refuses_what_is_no_parquet(tmp_path: Path) -> None:
    path = tmp_path / "benchmark.parquet"
    with pytest.raises(FileNotFoundError, match=r"there is no benchmark file at .*benchmark\.parquet"):
        len(MiniVqa(path=path))
    path.write_bytes(b"PAR1 and nothing else")
    with pytest.raises(ValueError, match="is not a readable parquet file"):
        len(MiniVqa(path=path))


def test_refuses_a_file_cut_off(benchmark_file: Callable[..., Path]) -> None:
    path = benchmark_file()
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match="is not a readable parquet file"):
        len(MiniVqa(path=path))


def test_refuses_an_empty_file(benchmark_file: Callable[..., Path]) -> None:
    path = benchmark_file()
    empty = path.with_name("empty.parquet")
    pd.read_parquet(path).iloc[:0].to_parquet(empty)
    with pytest.raises(ValueError, match="holds no question"):
        len(MiniVqa(path=empty))


def test_refuses_wrong_numbers_and_names(benchmark_file: Callable[..., Path]) -> None:
    with pytest.raises(ValueError, match="`images` must be at least 1, got 0"):
        MiniVqa(images=0)
    with pytest.raises(ValueError, match=r"`images` must be in \[1, 2\], .*, got 3"):
        len(MiniVqa(path=benchmark_file(), images=3))
    with pytest.raises(KeyError, match="unknown split 'tets'; did you mean 'test'"):
        MiniVqa(split="tets")
    with pytest.raises(KeyError, match="unknown task 'minivqa'; did you mean 'mini_vqa'"):
        task("minivqa")


def test_registered_tasks_have_names_of_their_own() -> None:
    assert len({kind.name for kind in TASKS}) == len(TASKS)
    assert isinstance(task("mini_vqa"), MiniVqa)


@pytest.mark.parametrize(("split", "images", "questions"), [("test", 1000, 12000), ("validation", 50, 500)])
def test_the_embedded_benchmark(split: str, images: int, questions: int) -> None:
    benchmark = task("mini_vqa", split=split)
    assert len(benchmark) >= images
    samples = list(benchmark)
    asked = [question for sample in samples for question in sample.questions]
    assert len(asked) >= questions
    assert {question.task for question in asked} == KINDS
    assert all(sample.image.size == (192, 192) for sample in samples)
    assert all((question.needed < 576).all() and (np.diff(question.needed) > 0).all() for question in asked)
    assert all(question.needed.size for question in asked if question.task in ("attribute", "text", "tiny"))


def test_the_embedded_benchmark_adds_a_verdict_and_nothing_else(benchmark_file: Callable[..., Path]) -> None:
    benchmark = MiniVqa(path=benchmark_file())
    question = next(iter(benchmark)).questions[0]
    assert benchmark.label == "mini_vqa"
    assert benchmark.marks(question, "Yes.") == {"correct": True}
    assert benchmark.marks(question, "") == {"correct": False}


def test_knobs_are_those_of_the_file_and_slice_by_question() -> None:
    benchmark = MiniVqa("validation")
    knobs = benchmark.knobs.set_index("question_id")
    asked = [question for sample in benchmark for question in sample.questions]
    assert len(knobs) == len(asked)
    for question in asked:
        digits = len(question.answer.split()) if question.task == "text" else 0
        assert knobs.loc[question.question_id, "text_length"] == digits
        if question.question == "how many objects are there ?":
            assert str(knobs.loc[question.question_id, "objects"]) == question.answer
    assert set(knobs["clutter"]) == {"low", "medium", "high"}
    assert {"clouds", "leaves", "stripes"} < set(knobs["background"])


def test_a_file_without_knobs_says_so(benchmark_file: Callable[..., Path]) -> None:
    with pytest.raises(ValueError, match="does not say how hard its questions are: it lacks background, clutter"):
        _ = MiniVqa(path=benchmark_file()).knobs


def test_exact_match_decides(benchmark_file: Callable[..., Path]) -> None:
    benchmark = MiniVqa(path=benchmark_file())
    question = next(iter(benchmark)).questions[0]
    assert benchmark.correct(question, " Yes.")
    assert not benchmark.correct(question, "no")
