"""What is measured before the first selection: imports, the first call of a process, the similarity itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from solvers import Problem
from solvers.arrays import FloatArray
from solvers.objectives.facility_location import coverage

from .fresh import fresh
from .rows import Row
from .setting import Setting, forget

FIRST_CALL = 1.0
"""Seconds that count as costing seconds."""

PEER_MODULES = (("submodlib-py", "submodlib"), ("apricot-select", "apricot"))


def cold_start(setting: Setting) -> list[Row]:
    """First call in a fresh process whose compiled loops are on disk; one process before it has put them there."""
    fresh("first-call")
    runs = [fresh("first-call") for _ in range(3)]
    first = sorted(runs, key=lambda run: run["first_cpu"])[1]
    target = setting.target("seconds", FIRST_CALL, at_most=True)
    verdict = "" if target is None else "pass" if target.met(first["first_cpu"]) else "below"
    row = Row(
        "first call, compiled loops on disk", n=576, keep=64, ours="Greedy.solve",
        ours_cpu=first["first_cpu"], ours_wall=first["first_wall"], ours_samples=len(runs), target=target,
        measured=first["first_cpu"], verdict=verdict, note=f"a later call: {1e3 * first['later_cpu']:.3g} ms cpu",
    )  # fmt: skip
    return [row, *_imports(setting)]


def _imports(setting: Setting) -> list[Row]:
    runs = sorted((fresh("import", "solvers") for _ in range(3)), key=lambda run: run["cpu"])
    own = Row("import", ours="import solvers", ours_cpu=runs[1]["cpu"], ours_wall=runs[1]["wall"], ours_samples=3)
    rows = []
    for package, module in PEER_MODULES if setting.peers else ():
        try:
            other = sorted((fresh("import", module) for _ in range(3)), key=lambda run: run["cpu"])[1]
        except RuntimeError as error:
            rows.append(dataclasses.replace(own, peer=package, verdict="no peer", note=str(error)))
        else:
            times = {"peer_cpu": other["cpu"], "peer_wall": other["wall"], "peer_samples": 3}
            rows.append(dataclasses.replace(own, peer=package, **times))
    return rows or [own]


def similarity(setting: Setting) -> list[Row]:
    """What comes before a selection: cosines in float64, equal for equal tokens, and coverage on the fixed-point grid.

    The peer is a bare product of unit rows in float32, half the bytes and no promises.
    """
    rows = []
    for tiles in (1, 5):
        problem = setting.problem(64, tiles=tiles)
        assert problem.features is not None
        unit = problem.features / np.linalg.norm(problem.features, axis=1, keepdims=True)
        row = Row("similarity from features", problem.id, problem.tokens, problem.budget, ours="Problem.similarity")
        product = partial(_ready, partial(np.matmul, unit, unit.T))
        rows += setting.against(
            row, partial(_anew, problem, "similarity"), {"numpy float32 product": (product, None)}, None
        )
        row = dataclasses.replace(row, work="coverage from similarity", ours="coverage")
        copy = partial(_ready, partial(problem.similarity.astype, np.float32))
        rows += setting.against(row, partial(_anew, problem, "coverage"), {"numpy float32 copy": (copy, None)}, None)
    return rows


def _anew(problem: Problem, name: str) -> FloatArray:
    forget(problem, name)
    return problem.similarity if name == "similarity" else coverage(problem)


def _ready(call: Callable[[], Any]) -> Callable[[], Any]:
    """Setup of a call that needs none."""
    return call
