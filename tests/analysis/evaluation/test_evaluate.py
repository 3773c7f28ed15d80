"""Evaluation end to end: rows, equality with the stock model inside `prune`, refusals."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.evaluation import cost, evaluate
from analysis.evaluation.chunk import Chunk
from analysis.evaluation.settings import settings_of
from analysis.models import Vlm
from analysis.pruning import prune, pruners
from solvers.provenance import provenance

from .same_rows import same

ROOT = Path(__file__).parents[3]
COLUMNS = [
    *("model", "pruner", "keep", "kept", "visual_tokens", "tokens_by_layer", "position_ids", "tiles", "separators"),
    *("seed", "image_id"),
    *("question_id", "task", "question", "answer", "prediction", "correct", "n_visual", "n_text", "flops", "kv_bytes"),
    "select_ms",
]
QUIET: dict[str, Any] = {"max_new_tokens": 3, "progress": False}
FOUR = (pruners.VisPruner(), pruners.CDPruner(), pruners.Random(), pruners.Oracle())


@pytest.mark.parametrize("policy", ["keep", "compact"])
def test_predictions_are_those_of_the_stock_model_inside_prune(
    tiny_vlm: Vlm, toy_task: Callable[..., Any], policy: str
) -> None:
    task = toy_task(3)
    frame = evaluate(tiny_vlm, task, FOUR, (9, 4), position_ids=policy, seeds=(0, 5), **QUIET)
    for (name, keep, seed), rows in frame[frame["pruner"] != "none"].groupby(["pruner", "keep", "seed"]):
        expected = []
        for sample in task:
            asked = [question.question for question in sample.questions]
            needed = [question.needed for question in sample.questions]
            with prune(tiny_vlm, name, keep, position_ids=policy, seed=seed, needed=needed):
                expected += tiny_vlm.answer([sample.image] * len(asked), asked, 3)
        assert rows["prediction"].tolist() == expected
    stock = frame[frame["pruner"] == "none"]
    questions = [(sample.image, question.question) for sample in task for question in sample.questions]
    answers = tiny_vlm.answer([image for image, _ in questions], [words for _, words in questions], 3)
    assert stock["prediction"].tolist() == answers


def test_questions_in_front_of_the_image_share_nothing_and_are_answered_too(
    tiny_vlm: Vlm, toy_task: Callable[..., Any]
) -> None:
    vlm = replace(tiny_vlm, processor=copy.copy(tiny_vlm.processor))
    vlm.processor.chat_template = (
        "{% for message in messages %}USER: {{ message['content'][1]['text'] }} <image> {% endfor %}ASSISTANT:"
    )
    frame = evaluate(vlm, toy_task(3), ["vispruner"], (5,), **QUIET)
    expected = []
    for sample in toy_task(3):
        asked = [question.question for question in sample.questions]
        with prune(vlm, "vispruner", 5):
            expected += vlm.answer([sample.image] * len(asked), asked, 3)
    assert frame.loc[frame["pruner"] == "vispruner", "prediction"].tolist() == expected
    assert len(set(expected)) > 2


def test_a_row_per_question_and_setting(tiny_vlm: Vlm, toy_task: Callable[..., Any]) -> None:
    task = toy_task(4)
    frame = evaluate(tiny_vlm, task, ("vispruner", "random"), (9, 4), seeds=(0, 1), **QUIET)
    questions = sum(len(sample.questions) for sample in task)
    assert frame.columns.tolist() == [*COLUMNS, *provenance()]
    assert len(frame) == questions * (1 + 2 * 2 * 2)
    assert not frame.duplicated(["pruner", "keep", "seed", "question_id"]).any()
    assert frame["correct"].dtype == bool
    assert set(frame["model"]) == {"tiny"}
    stock = frame[frame["pruner"] == "none"]
    assert len(stock) == questions
    assert stock["keep"].eq(36).all()
    first = frame[(frame["pruner"] == "vispruner") & (frame["keep"] == 4)].iloc[0]
    assert (first["image_id"], first["question_id"], first["task"], first["answer"]) == (100, 0, "exist", "no")
    assert first["n_text"] == 9  # <s> USER: is there a red square ? ASSISTANT:
    assert first["flops"] == cost(tiny_vlm, 4, 9).flops
    assert first["kv_bytes"] == cost(tiny_vlm, 4, 9).kv_bytes
    assert (frame["select_ms"] > 0).equals(frame["pruner"] != "none")


def test_correct_is_the_tasks_own_verdict(tiny_vlm: Vlm, toy_task: Callable[..., Any]) -> None:
    blank = evaluate(tiny_vlm, toy_task(3), [], **QUIET)
    right = {row.question_id: row.prediction for row in blank.itertuples()}

    class Knowing(toy_task):  # type: ignore[misc,valid-type]
        def correct(self, question: Any, prediction: str) -> bool:
            return prediction == right[question.question_id] and question.task != "color"

    frame = evaluate(tiny_vlm, Knowing(3), [], **QUIET)
    assert (frame["correct"] == (frame["task"] != "color")).all()


def test_kept_is_what_the_pruner_really_kept(tiny_vlm: Vlm, toy_task: Callable[..., Any]) -> None:
    frame = evaluate(tiny_vlm, toy_task(2), ["fopru_rows"], (10,), **QUIET)
    rows = frame[frame["pruner"] == "fopru_rows"]
    assert rows["keep"].eq(10).all()
    assert rows["kept"].eq(12).all()  # two rows of six
    assert (rows["flops"] == [cost(tiny_vlm, 12, text).flops for text in rows["n_text"]]).all()


def test_seeds_only_move_pruners_that_draw(tiny_vlm: Vlm, toy_task: Callable[..., Any]) -> None:
    frame = evaluate(tiny_vlm, toy_task(6), ("random", "vispruner"), (4,), seeds=(0, 1, 2), **QUIET)
    by_seed = frame.groupby(["pruner", "seed"])["prediction"].agg(tuple)
    assert by_seed["vispruner"].nunique() == 1
    assert by_seed["random"].nunique() > 1


def test_parameters_that_are_no_fields_are_refused(tiny_vlm: Vlm, toy_task: Callable[..., Any], tmp_path: Path) -> None:
    class Hidden(pruners.Random):
        def __init__(self, power: float) -> None:
            self.power = power

    with pytest.raises(TypeError, match="Hidden must be a frozen dataclass and 'power' one of its fields"):
        evaluate(tiny_vlm, toy_task(2), [Hidden(2.0)], (4,), store=tmp_path / "s", **QUIET)


def test_a_dict_names_one_method_with_several_hyper_parameters(
    tiny_vlm: Vlm, toy_task: Callable[..., Any], tmp_path: Path
) -> None:
    ratios = {"diverse": pruners.VisPruner(0.0), "important": pruners.VisPruner(1.0), "by name": "fastervlm"}
    frame = evaluate(tiny_vlm, toy_task(6), ratios, (6,), store=tmp_path / "s", **QUIET)
    assert frame["pruner"].unique().tolist() == ["none", *ratios]
    answers = frame.groupby("pruner")["prediction"].agg(tuple)
    assert answers["important"] == answers["by name"] != answers["diverse"]


def test_ground_truth_is_only_for_those_who_ask(tiny_vlm: Vlm, toy_task: Callable[..., Any]) -> None:
    class Finer(toy_task):  # type: ignore[misc,valid-type]
        needed_grid = (24, 24)

        def __iter__(self) -> Any:
            for sample in super().__iter__():
                asked = tuple(replace(question, needed=np.array([575])) for question in sample.questions)
                yield replace(sample, questions=asked)

    task = toy_task(2)
    same(
        evaluate(tiny_vlm, Finer(2), ["cdpruner"], (4,), **QUIET), evaluate(tiny_vlm, task, ["cdpruner"], (4,), **QUIET)
    )
    with pytest.raises(ValueError, match=r"states on a grid of \(24, 24\); this model has \(6, 6\)"):
        evaluate(tiny_vlm, Finer(2), ["oracle"], (4,), **QUIET)


def test_wrong_arguments_are_refused(tiny_vlm: Vlm, toy_task: Callable[..., Any], tmp_path: Path) -> None:
    task = toy_task(2)
    for keep in (0, 37):
        with pytest.raises(ValueError, match=rf"`keep` must be in \[1, 36\], got {keep}"):
            evaluate(tiny_vlm, task, ["random"], (4, keep), **QUIET)
    with pytest.raises(ValueError, match="`keeps` and `seeds` must not be empty"):
        evaluate(tiny_vlm, task, ["random"], (), **QUIET)
    with pytest.raises(ValueError, match=r"`keeps` must be a sequence of numbers, got 4: write \(4,\)"):
        evaluate(tiny_vlm, task, ["random"], 4, **QUIET)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"`pruner` must be a pruner or its name, got .*: write Random\(\)"):
        evaluate(tiny_vlm, task, pruners.Random, (4,), **QUIET)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"`images` must be in \[1, 2\], the images of task 'toy', got 3"):
        evaluate(tiny_vlm, task, ["random"], (4,), images=3, **QUIET)
    with pytest.raises(ValueError, match="`pruners` must have different names, got vispruner more than once"):
        evaluate(tiny_vlm, task, ["vispruner", pruners.VisPruner(important_ratio=0.1)], (4,), **QUIET)
    with pytest.raises(KeyError, match="unknown pruner 'visprunr'; did you mean 'vispruner'"):
        evaluate(tiny_vlm, task, "visprunr", (4,), **QUIET)
    with pytest.raises(KeyError, match="unknown task 'mini_vqq'; did you mean 'mini_vqa'"):
        evaluate(tiny_vlm, "mini_vqq", "random", (4,), **QUIET)
    with pytest.raises(KeyError, match="unknown position_ids policy 'kep'; did you mean 'keep'"):
        evaluate(tiny_vlm, task, "random", (4,), position_ids="kep", **QUIET)


def test_progress_goes_to_standard_error(
    tiny_vlm: Vlm, toy_task: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate(tiny_vlm, toy_task(2), "random", (4,), max_new_tokens=1)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "4/4" in shown.err
    evaluate(tiny_vlm, toy_task(2), "random", (4,), max_new_tokens=1, progress=False)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["visionzip", "prumerge", "trim", "pooling"])
@pytest.mark.parametrize("policy", ["keep", "compact"])
def test_merged_tokens_are_answered_as_inside_prune(
    tiny_vlm: Vlm, toy_task: Callable[..., Any], name: str, policy: str
) -> None:
    frame = evaluate(tiny_vlm, toy_task(3), [name, "fastervlm"], (9,), position_ids=policy, **QUIET)
    expected = []
    for sample in toy_task(3):
        asked = [question.question for question in sample.questions]
        with prune(tiny_vlm, name, 9, position_ids=policy) as log:
            expected += tiny_vlm.answer([sample.image] * len(asked), asked, 3)
        assert (log.visual_tokens == 9).all()
    assert frame.loc[frame["pruner"] == name, "prediction"].tolist() == expected
    assert set(frame.loc[frame["pruner"] == name, "tokens_by_layer"]) == {"3x9"}
    assert frame.loc[frame["pruner"] == name, "visual_tokens"].eq(9).all()


def test_every_method_has_its_own_position_ids_unless_told_otherwise(
    tiny_vlm: Vlm, toy_task: Callable[..., Any]
) -> None:
    frame = evaluate(tiny_vlm, toy_task(1), ("vispruner", "greedyprune"), (9,), **QUIET)
    own = frame.groupby("pruner")["position_ids"].unique().map(list).to_dict()
    assert own == {"none": ["keep"], "vispruner": ["compact"], "greedyprune": ["keep"]}


@pytest.mark.parametrize("name", [None, "random", "cdpruner", "oracle"])
def test_generated_answers_are_the_packed_ones(tiny_vlm: Vlm, toy_task: Callable[..., Any], name: str | None) -> None:
    task = toy_task(2)
    stock, *others = settings_of(tiny_vlm, task, [name] if name else [], (9,), (3,), "keep")
    setting = others[0] if others else stock
    assert setting.packed
    both = [Chunk(tiny_vlm, task, list(task), [way], 3).run(way) for way in (setting, replace(setting, packed=False))]
    same(*both)
    assert both[1]["select_ms"].isna().all()
