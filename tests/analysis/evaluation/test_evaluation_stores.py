"""Stores of an evaluation: what is computed again and what is not, killed runs, damaged and foreign folders."""

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

from analysis.evaluation import evaluate
from analysis.evaluation.chunk import Chunk
from analysis.evaluation.store import ResultStore
from analysis.models import Vlm
from analysis.pruning import AbstractPruner, VisualTokens, pruners

from .same_rows import same

ROOT = Path(__file__).parents[3]
QUIET: dict[str, Any] = {"max_new_tokens": 3, "progress": False}


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


@pytest.fixture(params=["disk", "memory"])
def empty_store(request: pytest.FixtureRequest, tmp_path: Path) -> ResultStore:
    return ResultStore(tmp_path / "deep" / "store" if request.param == "disk" else None, {"model": "a"})


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


def test_a_model_under_another_name_is_still_one_model(
    tiny_vlm: Vlm, toy_task: Callable[..., Any], tmp_path: Path
) -> None:
    task, moved = toy_task(20), replace(tiny_vlm, id="moved")
    evaluate(tiny_vlm, task, ["random"], (4,), store=tmp_path, images=16, **QUIET)
    continued = evaluate(moved, task, ["random"], (4,), store=tmp_path, **QUIET)
    same(continued, evaluate(moved, task, ["random"], (4,), **QUIET))
    assert set(continued["model"]) == {"moved"}


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


def test_a_store_returns_parts_in_the_order_asked_for(empty_store: ResultStore) -> None:
    assert "x/b" not in empty_store
    for name, value in (("x/b", 2), ("x/a", 1)):
        empty_store.put(name, pd.DataFrame({"value": [value]}))
    assert "x/b" in empty_store
    assert empty_store.read(["x/a", "x/b", "x/a"])["value"].tolist() == [1, 2, 1]


def test_parts_are_put_together_as_pandas_would(empty_store: ResultStore) -> None:
    parts = {
        "plain": pd.DataFrame({"n": [1, 2], "text": ["a", None], "right": [True, False]}),
        "missing": pd.DataFrame({"n": [0.5], "text": [None]}),
        "mixed": pd.DataFrame({"n": ["many"], "text": ["b"], "right": [True]}),
    }
    for name, part in parts.items():
        empty_store.put(name, part)
    for names in (["plain", "missing"], ["missing", "plain"], list(parts)):
        found = empty_store.read(names)
        expected = pd.concat([parts[name] for name in names], ignore_index=True)
        assert list(found.columns) == list(expected.columns)
        for column in expected:
            assert found[column].isna().tolist() == expected[column].isna().tolist()
            assert found[column].dropna().tolist() == expected[column].dropna().tolist()


def test_a_leftover_of_the_first_write_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / ".binding.json.123").write_text("{")
    assert "x" not in ResultStore(tmp_path, {"model": "a"})
    assert (tmp_path / "binding.json").is_file()


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
