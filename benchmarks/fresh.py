"""Measurements that need a process of their own: `python -m benchmarks.fresh NAME ...` prints one JSON object."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def fresh(*arguments: str, timeout: float | None = None) -> dict[str, Any]:
    """What `python -m benchmarks.fresh ARGUMENTS` measures.

    Raises
    ------
    RuntimeError
        If it fails; the message is its last line.
    """
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.fresh", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    lines = (done.stderr or done.stdout).strip().splitlines()
    if done.returncode:
        raise RuntimeError(lines[-1] if lines else f"exit status {done.returncode}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _importing(module: str) -> dict[str, float]:
    """Seconds that importing `module` takes."""
    cpu, wall = time.process_time(), time.perf_counter()
    __import__(module)
    return {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}


def _first_call() -> dict[str, float]:
    """Seconds of the first and of a later selection of 64 of 576 tokens, loading compiled loops included."""
    import numpy as np

    from solvers import FacilityLocation, Greedy, Problem

    rows = np.random.default_rng(0).standard_normal((576, 64))
    problem = Problem.from_features(rows, 64)
    times: dict[str, float] = {}
    for name in ("first", "later"):
        cpu, wall = time.process_time(), time.perf_counter()
        Greedy().solve(problem, FacilityLocation())
        times |= {f"{name}_cpu": time.process_time() - cpu, f"{name}_wall": time.perf_counter() - wall}
    return times


def _pmedian(path: str, keep: str, limit: str) -> dict[str, Any]:
    """One run of pbp-pmedian. Its HiGHS binding breaks in a process that has imported OR-Tools before it."""
    from .peers import load, pbp_pmedian

    load("pbp_pmedian", "pbp-pmedian")
    import numpy as np

    costs = np.load(path, allow_pickle=False)
    cpu, wall = time.process_time(), time.perf_counter()
    found = pbp_pmedian(costs, int(keep), float(limit))
    return found | {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}


MEASUREMENTS = {"import": _importing, "first-call": _first_call, "pmedian": _pmedian}

if __name__ == "__main__":
    name, *rest = sys.argv[1:]
    measurement: Any = MEASUREMENTS[name]
    print(json.dumps(measurement(*rest)))
