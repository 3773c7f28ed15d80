"""Bytes that the greedy loops must move, the bandwidth of this machine, and how near to it they come."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from solvers import AbstractObjective, AbstractSolver, DppMap, FarthestFirst, Greedy
from solvers.arrays import FloatArray, IntArray
from solvers.objectives.facility_location import coverage

from .setting import Setting
from .timing import Timing, interleaved
from .works import DPP, FL, SPREAD, choosing


class Traffic(NamedTuple):
    """How near a loop comes to the limit that memory sets."""

    loop: str
    n: int
    keep: int
    formula: str
    mbytes: float
    """Megabytes that have to be read or written."""
    gbytes_per_s: float
    """What the loop moves in a second of processor time."""
    limit_gbytes_per_s: float
    """What a bare read of an array as large as the one it works on moves, measured in the same turns."""
    fraction: float
    """Achieved share of that."""


def traffic(setting: Setting) -> list[Traffic]:
    """The three greedy loops at both sizes, without the checks before and the value after that `solve` adds."""
    found = []
    for tiles, keep in ((1, 64), (5, 192)):
        problem = setting.problem(keep, tiles=tiles)
        n, k = problem.tokens, problem.budget
        moved = served_anew(coverage(problem), Greedy().solve(problem, FL).selected)
        DppMap().solve(problem, DPP)
        loops: list[tuple[str, AbstractSolver, AbstractObjective[Any], str, float, float]] = [
            ("facility location greedy", Greedy(), FL, "4 n (n + k + tokens served anew)",
             4.0 * n * (n + k + moved), 4.0 * n * n),
            ("DPP MAP", DppMap(), DPP, "8 n k (k + 3) / 2", 8.0 * n * k * (k + 3) / 2, 8.0 * n * k),
            ("max-min greedy", FarthestFirst(first=0), SPREAD, "8 n k", 8.0 * n * k, 8.0 * n * n),
        ]  # fmt: skip
        for loop, solver, objective, formula, size, held in loops:
            seconds, limit = _seconds_and_limit(setting, choosing(solver, problem, objective), held)
            achieved = size / seconds / 1e9
            found.append(Traffic(loop, n, k, formula, size / 1e6, achieved, limit, achieved / limit))
    return found


def _seconds_and_limit(setting: Setting, call: Callable[[], list[int]], held: float) -> tuple[float, float]:
    """Processor seconds of a call, and gigabytes per second that a dot product reads of an array of `held` bytes."""
    array = np.ones(max(1, int(held) // 4), dtype=np.float32)
    times = interleaved({"loop": call, "read": lambda: float(np.dot(array, array))}, setting.samples)
    own, read = times["loop"], times["read"]
    assert isinstance(own, Timing)
    assert isinstance(read, Timing)
    return own.cpu, array.nbytes / read.cpu / 1e9


def served_anew(matrix: FloatArray, picks: IntArray) -> int:
    """How many times a pick covers a token better than all before it; each time its row of `matrix` is read."""
    best, count = np.zeros(len(matrix), dtype=matrix.dtype), 0
    for token in picks.tolist():
        count += int(np.count_nonzero(matrix[token] > best))
        best = np.maximum(best, matrix[token])
    return count
