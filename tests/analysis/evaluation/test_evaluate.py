"""Evaluation end to end: rows, equality with the stock model inside `prune`, resuming, refusals."""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import torch

from analysis.evaluation import cost, evaluate
from analysis.evaluation.chunk import Chunk
from analysis.evaluation.settings import settings_of
from analysis.evaluation.store import ResultStore
from analysis.models import Vlm
from analysis.pruning import AbstractPruner, VisualTokens, prune, pruners
from solvers.provenance import provenance

ROOT = Path(__file__).parents[3]
COLUMNS = [
    *("model", "pruner", "keep", "kept", "visual_tokens", "tokens_by_layer", "position_ids", "seed", "image_id"),
    *("question_id", "task", "question", "answer", "prediction", "correct", "n_visual", "n_text", "flops", "kv_bytes"),
    "select_ms",
]
QUIET: dict[str, Any] = {"max_new_tokens": 3, "progress": False}
FOUR = (pruners.VisPruner(), pruners.CDPruner(), pruners.Random(), pruners.Oracle())


def same(frame: pd.DataFrame, other: pd.DataFrame) -> None:
    """Equal but for the wall time of the selection, and for when and where the rows were computed."""
    fleeting = ["select_ms", *provenance()]
    pd.testing.assert_frame_equal(frame.drop(columns=fleeting), other.drop(columns=fleeting))


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int]]:
    """(pruner, keep, images) of each part that is really computed."""
    ran: list[tuple[str, int, int]] = []
    stock_run = Chunk.run

    def run(self: Chunk, setting: Any) -> pd.DataFrame:
        ran.append((setting.name, setting.keep, len(self.samples)))
        return stock_run(self, setting)

    monkeypatch.setattr(Chunk, "run", run)
    return ran


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


def test_more_images_pruners_or_budgets_compute_only_what_is_new(
    tiny_vlm: Vlm, toy_task: Callable[..., Any], tmp_path: Path, answered: list[tuple[str, int, int]]
) -> None:
    store = tmp_path / "accuracy"
    task = toy_task(36)
    first = evaluate(tiny_vlm, task, ["vispruner"], (4,), store=store, images=20, **QUIET)
    assert answered == [("none", 36, 16), ("vispruner", 4, 16), ("none", 36, 4), ("vispruner", 4, 4)]
    answered.clear()
    same(evaluate(tiny_vlm, task, ["vispruner"], (4,), store=store, images=20, **QUIET), first)
    assert answered == []
    evaluate(tiny_vlm, task, ["vispruner", "fastervlm"], (4, 9), store=store, images=20, **QUIET)
    assert {entry[:2] for entry in answered} == {("vispruner", 9), ("fastervlm", 4), ("fastervlm", 9)}
    answered.clear()
    whole = evaluate(tiny_vlm, task, ["vispruner"], (4,), store=store, **QUIET)
    assert [entry[2] for entry in answered] == [
        16,
        16,
        4,
        4,
    ]  # only the short part is not reused
    same(whole, evaluate(tiny_vlm, task, ["vispruner"], (4,), **QUIET))
    same(whole[whole["image_id"] < 120].reset_index(drop=True), first)


def test_hyper_parameters_and_policies_have_their_own_parts(
    tiny_vlm: Vlm, toy_task: Callable[..., Any], tmp_path: Path
) -> None:
    def run(pruner: AbstractPruner, policy: str = "keep", store: Path | None = tmp_path / "s") -> pd.DataFrame:
        return evaluate(tiny_vlm, toy_task(4), pruner, (6,), store=store, position_ids=policy, **QUIET)

    run(pruners.VisPruner())
    for pruner, policy in ((pruners.VisPruner(important_ratio=0.0), "keep"), (pruners.VisPruner(), "compact")):
        same(run(pruner, policy), run(pruner, policy, store=None))


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


def test_a_killed_evaluation_goes_on(
    tiny_vlm: Vlm, toy_task: Callable[..., Any], tmp_path: Path, answered: list[tuple[str, int, int]]
) -> None:
    store = tmp_path / "accuracy"
    run = subprocess.run(
        [sys.executable, "-W", "error", Path(__file__).with_name("killed_evaluation.py"), store, "4"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == -signal.SIGKILL, run.stderr
    frame = evaluate(tiny_vlm, toy_task(20), ["vispruner"], (9, 4), store=store, **QUIET)
    assert len(answered) == 3  # of three settings in two parts each
    same(frame, evaluate(tiny_vlm, toy_task(20), ["vispruner"], (9, 4), **QUIET))


def test_a_store_belongs_to_one_model_and_task(tiny_vlm: Vlm, toy_task: Callable[..., Any], tmp_path: Path) -> None:
    store = tmp_path / "accuracy"
    evaluate(tiny_vlm, toy_task(2), [], store=store, **QUIET)
    retrained = copy.deepcopy(tiny_vlm.model)
    with torch.no_grad():
        retrained.lm_head.weight.mul_(1.01)
    for vlm, task, options, message in (
        (replace(tiny_vlm, config_hash="0123456789ab"), toy_task(2), {}, "made for model configuration '.*', this"),
        (replace(tiny_vlm, model=retrained), toy_task(2), {}, "made for model weights"),
        (tiny_vlm, toy_task(2, checksum="other"), {}, "made for task checksum 'toy', this evaluation has 'other'"),
        (tiny_vlm, toy_task(2), {"max_new_tokens": 4}, "made for max_new_tokens 3, this evaluation has 4"),
    ):
        with pytest.raises(ValueError, match=message):
            evaluate(vlm, task, [], store=store, **(QUIET | options))


def test_a_folder_of_something_else_is_refused(tiny_vlm: Vlm, toy_task: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(ValueError, match="is not empty and not a result store"):
        evaluate(tiny_vlm, toy_task(2), [], store=tmp_path, **QUIET)
    with pytest.raises(NotADirectoryError, match=r"`store` must be a folder, got the file .*thesis\.txt"):
        evaluate(tiny_vlm, toy_task(2), [], store=tmp_path / "thesis.txt", **QUIET)
    assert (tmp_path / "thesis.txt").read_text() == "precious"
    (tmp_path / "binding.json").write_text("{")
    with pytest.raises(ValueError, match=r"binding\.json is damaged"):
        evaluate(tiny_vlm, toy_task(2), [], store=tmp_path, **QUIET)


def test_a_damaged_part_is_named(tiny_vlm: Vlm, toy_task: Callable[..., Any], tmp_path: Path) -> None:
    store = tmp_path / "accuracy"
    evaluate(tiny_vlm, toy_task(2), [], store=store, **QUIET)
    [part] = store.rglob("*.parquet")
    part.write_bytes(b"PAR1")
    with pytest.raises(OSError, match=r"keep0036.*\.parquet cannot be read .* delete it to have it computed again"):
        evaluate(tiny_vlm, toy_task(2), [], store=store, **QUIET)
    part.unlink()
    same(evaluate(tiny_vlm, toy_task(2), [], store=store, **QUIET), evaluate(tiny_vlm, toy_task(2), [], **QUIET))


def test_parts_of_an_earlier_release_are_completed(
    tiny_vlm: Vlm, toy_task: Callable[..., Any], tmp_path: Path, answered: list[tuple[str, int, int]]
) -> None:
    store = tmp_path / "accuracy"
    expected = evaluate(tiny_vlm, toy_task(2), ["random"], (4,), store=store, **QUIET)
    for part in store.rglob("*.parquet"):
        pd.read_parquet(part).drop(columns="n_visual").to_parquet(part, index=False)
    answered.clear()
    same(evaluate(tiny_vlm, toy_task(2), ["random"], (4,), store=store, **QUIET), expected)
    assert answered == []
    more = evaluate(tiny_vlm, toy_task(2), ["random"], (4, 9), store=store, **QUIET)
    assert more["n_visual"].tolist() == [36] * len(more)


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


def test_a_failing_pruner_fails_the_evaluation_and_leaves_what_is_done(
    tiny_vlm: Vlm, toy_task: Callable[..., Any], tmp_path: Path
) -> None:
    @dataclass(frozen=True)
    class Broken(AbstractPruner):
        name: ClassVar[str] = "broken"
        needs: ClassVar[frozenset[str]] = frozenset()
        cite: ClassVar[str] = ""

        def _select(self, tokens: VisualTokens, keep: int) -> np.ndarray:
            raise ArithmeticError("on purpose")

    with pytest.raises(ArithmeticError, match="on purpose"):
        evaluate(tiny_vlm, toy_task(2), [Broken()], (4,), store=tmp_path / "s", **QUIET)
    assert len(list((tmp_path / "s").rglob("none-*/*.parquet"))) == 1
    assert not list((tmp_path / "s").rglob("broken-*/*.parquet"))


def test_progress_goes_to_standard_error(
    tiny_vlm: Vlm, toy_task: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate(tiny_vlm, toy_task(2), "random", (4,), max_new_tokens=1)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "4/4" in shown.err
    evaluate(tiny_vlm, toy_task(2), "random", (4,), max_new_tokens=1, progress=False)
    assert capsys.readouterr().err == ""


@pytest.fixture(params=["disk", "memory"])
def empty_store(request: pytest.FixtureRequest, tmp_path: Path) -> ResultStore:
    return ResultStore(tmp_path / "deep" / "store" if request.param == "disk" else None, {"model": "a"})


def test_a_store_returns_parts_in_the_order_asked_for(empty_store: ResultStore) -> None:
    assert "x/b" not in empty_store
    for name, value in (("x/b", 2), ("x/a", 1)):
        empty_store.put(name, pd.DataFrame({"value": [value]}))
    assert "x/b" in empty_store
    assert empty_store.read(["x/a", "x/b", "x/a"])["value"].tolist() == [1, 2, 1]


def test_a_leftover_of_the_first_write_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / ".binding.json.123").write_text("{")
    assert "x" not in ResultStore(tmp_path, {"model": "a"})
    assert (tmp_path / "binding.json").is_file()


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


def test_rules_of_ones_own_are_told_apart_by_their_code(
    tmp_path: Path, tiny_vlm: Vlm, toy_task: Callable[..., Any]
) -> None:
    def version(offset: int) -> Callable[..., Any]:
        def rule(keep: int) -> np.ndarray:
            return np.arange(offset, offset + keep)

        return rule

    first = evaluate(tiny_vlm, toy_task(2), version(0), (6,), store=tmp_path, **QUIET)
    second = evaluate(tiny_vlm, toy_task(2), [version(20)], (6,), store=tmp_path, **QUIET)
    assert first["pruner"].unique().tolist() == second["pruner"].unique().tolist() == ["none", "rule"]
    assert first["prediction"].tolist() != second["prediction"].tolist()
