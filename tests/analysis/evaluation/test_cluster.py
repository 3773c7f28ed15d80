"""Evaluation on a cluster of two local worker processes through joblib's Dask backend; one of them is killed."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest

from analysis.evaluation import MiniVqa, evaluate
from analysis.models import Vlm
from solvers.provenance import provenance

distributed = pytest.importorskip("distributed")

QUIET: dict[str, Any] = {"max_new_tokens": 3, "progress": False}


@pytest.fixture
def client() -> Iterator[Any]:
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", silence_logs=logging.CRITICAL
        ) as cluster,
        distributed.Client(cluster) as connected,
    ):
        yield connected


def mortal(grave: str, caller: int) -> Callable[..., Any]:
    """A rule that kills the process which first asks for four tokens, unless it is the caller's."""

    def rule(features: Any, keep: int) -> Any:
        if keep == 4 and os.getpid() != caller and not Path(grave).exists():
            Path(grave).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return np.arange(keep)

    return rule


def test_a_killed_worker_loses_no_row_and_doubles_none(
    client: Any, saved_vlm: Vlm, toy_file: MiniVqa, tmp_path: Path
) -> None:
    rules = {"mortal": mortal(str(tmp_path / "grave"), os.getpid()), "random": "random"}
    with joblib.parallel_config(backend="dask"):
        frame = evaluate(saved_vlm, toy_file, rules, (9, 4), store=tmp_path / "store", **QUIET)
    assert (tmp_path / "grave").exists()
    assert not frame.duplicated(["pruner", "keep", "question_id"]).any()
    fleeting = ["select_ms", *provenance()]
    expected = evaluate(saved_vlm, toy_file, rules, (9, 4), n_jobs=1, **QUIET)
    pd.testing.assert_frame_equal(frame.drop(columns=fleeting), expected.drop(columns=fleeting))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("*.parquet")}
    with joblib.parallel_config(backend="dask"):
        again = evaluate(saved_vlm, toy_file, rules, (9, 4), store=tmp_path / "store", **QUIET)
    pd.testing.assert_frame_equal(again, frame)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("*.parquet")} == before
