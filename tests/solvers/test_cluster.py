"""compare on a cluster of two local worker processes through joblib's Dask backend; one of them is killed."""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections import Counter
from pathlib import Path

import joblib
import numpy as np
import pytest

from solvers import Greedy, Random, compare

distributed = pytest.importorskip("distributed")

MORTAL = '''
"""Solvers that leave a line behind for every run, and one that takes its worker process with it, once."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from solvers import Greedy


@dataclass(frozen=True)
class Noted(Greedy):
    folder: str = ""

    @property
    def name(self):
        return "Noted"

    def _solve(self, problem, objective, rng, time_limit):
        with open(Path(self.folder) / "runs", "a") as runs:
            runs.write(f"{problem.id} {os.getpid()}\\n")
        return super()._solve(problem, objective, rng, time_limit)


@dataclass(frozen=True)
class Mortal(Noted):
    victim: str = ""
    caller: int = 0

    @property
    def name(self):
        return "Mortal"

    def _solve(self, problem, objective, rng, time_limit):
        if problem.id == self.victim and os.getpid() != self.caller:
            try:
                (Path(self.folder) / "grave").touch(exist_ok=False)
            except FileExistsError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        return super()._solve(problem, objective, rng, time_limit)
'''


@pytest.fixture
def mortal(tmp_path, monkeypatch):
    """The module above, where worker processes find it too: they start with the caller's search path."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "mortal_solvers.py").write_text(MORTAL)
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    yield importlib.import_module("mortal_solvers")
    del sys.modules["mortal_solvers"]


@pytest.fixture
def client(mortal):
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", silence_logs=logging.CRITICAL
        ) as cluster,
        distributed.Client(cluster) as connected,
    ):
        yield connected


def comparable(study):
    """Rows as text, without what differs from run to run."""
    rows = study.frame.drop(columns=["seconds"])
    return rows.map(lambda x: repr(x.tolist() if isinstance(x, np.ndarray) else x)).to_dict("records")


def test_a_killed_worker_loses_no_row_and_doubles_none(client, mortal, make_problem, tmp_path):
    problems = [make_problem(seed=seed, id=f"p{seed}") for seed in range(4)]
    notes = str(tmp_path)
    chosen = [
        mortal.Noted(folder=notes),
        mortal.Mortal(folder=notes, victim="p1", caller=os.getpid()),
        Random(),
        Greedy(),
    ]
    run = {"budgets": [2, 4], "seeds": (0, 1), "progress": False}
    with joblib.parallel_config(backend="dask"):
        study = compare(problems, chosen, store=tmp_path / "store", **run)
    assert (tmp_path / "grave").exists()
    lines = [line.split() for line in (tmp_path / "runs").read_text().splitlines()]
    assert str(os.getpid()) not in {pid for _, pid in lines}
    # Every run once: the part that the killed worker had finished of its cell was kept, the others never started.
    assert Counter(problem for problem, _ in lines) == {f"p{seed}": 4 for seed in range(4)}
    assert len(study.frame) == 4 * 2 * (3 + 2)
    assert not study.frame.duplicated(["problem", "budget", "solver", "seed"]).any()
    assert comparable(study) == comparable(compare(problems, chosen, n_jobs=1, **run))

    before = {path: path.stat().st_mtime_ns for path in Path(tmp_path / "store").iterdir()}
    with joblib.parallel_config(backend="dask"):
        again = compare(problems, chosen, store=tmp_path / "store", **run)
    assert again.frame["seconds"].tolist() == study.frame["seconds"].tolist()
    assert {path: path.stat().st_mtime_ns for path in Path(tmp_path / "store").iterdir()} == before
