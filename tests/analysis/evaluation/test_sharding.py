"""Evaluation in several processes: the rows are those of one process, whatever is interrupted on the way."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from analysis.evaluation import MiniVqa, Sample, evaluate
from analysis.evaluation.linear import fast_linear
from analysis.evaluation.run import _shards
from analysis.evaluation.settings import settings_of
from analysis.evaluation.sharding import Reader, Source
from analysis.evaluation.store import ResultStore
from analysis.models import Vlm, load

from .same_rows import same

ROOT = Path(__file__).parents[3]
QUIET: dict[str, Any] = {"max_new_tokens": 3, "progress": False}
PRUNERS = ["vispruner", "cdpruner", "random", "oracle", "fastv"]
IMAGES = 36


@pytest.fixture(scope="module")
def expected(saved_vlm: Vlm, toy_file: MiniVqa) -> pd.DataFrame:
    return evaluate(saved_vlm, toy_file, PRUNERS, (9, 4), n_jobs=1, **QUIET)


def test_several_processes_give_the_rows_of_one(
    saved_vlm: Vlm, toy_file: MiniVqa, expected: pd.DataFrame, tmp_path: Path
) -> None:
    whole = evaluate(saved_vlm, toy_file, PRUNERS, (9, 4), n_jobs=2, store=tmp_path, **QUIET)
    same(whole, expected)
    assert not whole.duplicated(["pruner", "keep", "question_id"]).any()
    assert len(list(tmp_path.rglob("*.parquet"))) == 3 * (1 + 2 * len(PRUNERS))
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}
    same(evaluate(saved_vlm, toy_file, PRUNERS, (9, 4), n_jobs=2, store=tmp_path, **QUIET), expected)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")} == files
    same(evaluate(saved_vlm, toy_file, PRUNERS, (9, 4), n_jobs=2, **QUIET), expected)  # in memory


def test_processes_of_earlier_work_are_not_used(saved_vlm: Vlm, toy_file: MiniVqa) -> None:
    """joblib would take one that then loads a model for a memory leak."""
    earlier = set(joblib.Parallel(n_jobs=2)(joblib.delayed(os.getpid)() for _ in range(4)))
    evaluate(saved_vlm, toy_file, "random", (4,), images=20, n_jobs=2, **QUIET)
    for process in earlier:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


def test_a_bar_moves(saved_vlm: Vlm, toy_file: MiniVqa, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate(saved_vlm, toy_file, "random", (4,), images=20, max_new_tokens=1, n_jobs=2)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "40/40" in shown.err


def test_threads_share_a_model_one_after_the_other(saved_vlm: Vlm, toy_file: MiniVqa, expected: pd.DataFrame) -> None:
    threads = torch.get_num_threads()
    with joblib.parallel_config(backend="threading", n_jobs=3):
        same(evaluate(saved_vlm, toy_file, PRUNERS, (9, 4), **QUIET), expected)
    assert torch.get_num_threads() == threads


def test_a_failure_of_a_worker_is_raised_here(saved_vlm: Vlm, toy_file: MiniVqa, tmp_path: Path) -> None:
    def rule(features: Any, keep: int) -> Any:
        raise ArithmeticError("on purpose")

    # Threads, because joblib ends processes after a failure, and new ones take long to start.
    with joblib.parallel_config(backend="threading"), pytest.raises(ArithmeticError, match="on purpose"):
        evaluate(saved_vlm, toy_file, [rule], (4,), n_jobs=2, store=tmp_path, **QUIET)
    assert list(tmp_path.rglob("none-*/*.parquet"))
    assert not list(tmp_path.rglob("rule-*/*.parquet"))


def test_what_finished_before_an_interruption_stays(
    saved_vlm: Vlm, toy_file: MiniVqa, expected: pd.DataFrame, tmp_path: Path
) -> None:
    """Ctrl-C in a main process while others are at work; a child, so that it cannot hit the tests themselves."""
    run = subprocess.run(
        [sys.executable, Path(__file__).with_name("interrupted_evaluation.py"), saved_vlm.id, toy_file.file, tmp_path],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 130, run.stderr
    done = len(list(tmp_path.rglob("[!.]*.parquet")))
    assert 3 <= done < 3 * (1 + 2 * len(PRUNERS))
    same(evaluate(saved_vlm, toy_file, PRUNERS, (9, 4), n_jobs=1, store=tmp_path, **QUIET), expected)


def test_a_model_of_this_process_only_is_refused(tiny_vlm: Vlm, toy_file: MiniVqa) -> None:
    with pytest.raises(ValueError, match=r"`n_jobs` must be 1 for a model that other .* got 'tiny': save model and"):
        evaluate(tiny_vlm, toy_file, "random", (4,), n_jobs=2, **QUIET)


def test_a_model_that_was_changed_since_is_refused(saved_vlm: Vlm, toy_file: MiniVqa) -> None:
    changed = load(saved_vlm.id)
    with torch.no_grad():
        changed.model.lm_head.weight.mul_(1.01)
    threads = {"backend": "threading", "n_jobs": 2}
    message = r"has model weights '.*', and the caller '.*': save the changed"
    with joblib.parallel_config(**threads), pytest.raises(RuntimeError, match=message):
        evaluate(changed, toy_file, "random", (4,), **QUIET)
    other = load(saved_vlm.id)
    other.model.generation_config.suppress_tokens = [5]
    message = r"has generation settings .*'suppress_tokens': \[3\]"
    with joblib.parallel_config(**threads), pytest.raises(RuntimeError, match=message):
        evaluate(other, toy_file, "random", (4,), **QUIET)


def test_what_is_sent_to_processes_is_small(saved_vlm: Vlm, toy_file: MiniVqa) -> None:
    assert len(list(toy_file)) == IMAGES  # now it holds its file
    source = Source.of(saved_vlm, toy_file, 3, None)
    assert set(vars(source.task)) == {"split", "images", "path"}
    assert source == replace(source, id="another name of the same call")
    assert source != Source.of(saved_vlm, toy_file, 3, None)


@pytest.mark.parametrize("jobs", [1, 2, 5])
def test_shards_hold_every_part_once(tiny_vlm: Vlm, toy_task: Callable[..., Any], jobs: int) -> None:
    spans = [(0, 16), (16, 20)]
    settings = settings_of(tiny_vlm, toy_task(20), ["random", "vispruner"], (9, 4, 2), (0,), None)
    results = ResultStore(None, {})
    results.put(settings[2].part(0, 16), pd.DataFrame())
    shards = _shards(settings, spans, results, jobs)
    parts = [(shard.start, shard.stop, setting) for shard in shards for setting in shard.settings]
    everything = {(*span, setting) for span in spans for setting in settings}
    assert len(parts) == len(everything) - 1
    assert set(parts) == everything - {(0, 16, settings[2])}
    assert len(shards) == 2 if jobs == 1 else len(shards) >= jobs


def test_a_reader_goes_back_if_it_must(toy_task: Callable[..., Any]) -> None:
    begun = []

    @dataclass(frozen=True)
    class Counted(toy_task):  # type: ignore[misc,valid-type]
        def __iter__(self) -> Iterator[Sample]:
            begun.append(True)
            return super().__iter__()

    reader = Reader(Counted(9))
    found = [[sample.image_id for sample in reader.read(*span)] for span in ((2, 4), (2, 4), (6, 9), (0, 1), (0, 2))]
    assert found == [[102, 103], [102, 103], [106, 107, 108], [100], [100, 101]]
    assert len(begun) == 3


@torch.inference_mode()
@pytest.mark.parametrize("bias", [True, False])
def test_fast_layers_compute_the_same_and_leave_no_trace(bias: bool) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(48, 80, bias=bias), nn.GELU(), nn.Linear(80, 24, bias=bias))
    half = nn.Linear(24, 8).to(torch.bfloat16)
    before = [vars(module).copy() for module in model]
    for shape in ((3, 200, 48), (1, 48), (7, 48)):
        inputs = torch.randn(*shape)
        strided = torch.randn(*shape[:-1], 96)[..., ::2]
        stock = model(inputs), model(strided), half(stock_input := torch.randn(90, 24).to(torch.bfloat16))
        with fast_linear(nn.ModuleList([model, half])):
            fast = model(inputs), model(strided), half(stock_input)
        for own, other in zip(fast, stock, strict=True):
            torch.testing.assert_close(own, other, atol=1e-5, rtol=1e-5)
    assert [vars(module) for module in model] == before


def test_layers_are_as_they_were_after_an_exception() -> None:
    model = nn.Linear(4, 4)
    with pytest.raises(ArithmeticError), fast_linear(model), fast_linear(model):
        raise ArithmeticError
    assert "forward" not in vars(model)
    inputs = torch.randn(99, 4, requires_grad=True)
    with fast_linear(model):
        model(inputs).sum().backward()
    assert np.isfinite(inputs.grad.numpy()).all()
