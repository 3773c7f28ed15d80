"""Evaluates in child processes that are killed at random moments, then to the end, as often as argv[2] says, into
stores below the folder argv[1]; run by test_random_kills.py.

A child is a fork of this process, which has imported and built everything: what is killed is the evaluation itself.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import torch

from analysis.evaluation import evaluate


def neighbour(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.parent.name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def started(store: Path, result: Path | None = None) -> int:
    """Id of a child that evaluates into `store`, and writes the whole table to `result`."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        frame = evaluate(vlm, task, ["vispruner", "random"], (9, 4), store=store, max_new_tokens=3, progress=False)
        if result is not None:
            frame.to_parquet(result, index=False)
        status = 0
    finally:
        os._exit(status)  # no clean-up of a process that it shares everything with


def ended(child: int) -> int:
    """Exit status of a child; negative if a signal ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def parts(store: Path) -> int:
    return len([path for path in store.rglob("*.parquet") if not path.name.startswith(".")])


def kill_at_random(store: Path, seconds: float, rng: np.random.Generator) -> bool:
    """Kill a child some time after it has written a random number of parts; False if it was done before."""
    after, moment = rng.integers(total), rng.uniform(0, seconds / total)
    child = started(store)
    while parts(store) < after and os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        time.sleep(0.001)
    time.sleep(moment)
    os.kill(child, signal.SIGKILL)
    return ended(child) == -signal.SIGKILL and parts(store) < total


torch.set_num_threads(1)  # a fork has none of its parent's threads
folder, kills = Path(sys.argv[1]), int(sys.argv[2])
here = Path(__file__).parent
vlm = neighbour(here.parent / "conftest.py").build_tiny_vlm()
task = neighbour(here / "conftest.py").ToyTask(40)
rng = np.random.default_rng(0)

began = time.perf_counter()
assert ended(started(folder / "whole", folder / "whole.parquet")) == 0
seconds, total = time.perf_counter() - began, parts(folder / "whole")
for number in range(kills):
    store = folder / f"killed{number}"
    while not kill_at_random(store, seconds, rng):
        store = folder / f"{store.name}again"  # that one was too late
    left = parts(store)
    assert ended(started(store, folder / f"resumed{number}.parquet")) == 0
    print(left, total)
