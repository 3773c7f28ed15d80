"""What is measured of bounds and proofs: the certified gap at a time limit, and the time to a proven optimum."""

from __future__ import annotations

import dataclasses
import itertools
import tempfile
from functools import partial
from pathlib import Path

import numpy as np

from solvers import Exact, Greedy, LogDet, Problem, Solution, Status
from solvers.instances import load, names
from solvers.objectives.facility_location import coverage
from solvers.solution import relative_gap

from .fresh import fresh
from .rows import RATIO, Row, Target
from .setting import Setting
from .timing import Timing, timed
from .works import DPP, FL, about

LATE = 1.1
"""Factor by which processor seconds may exceed a time limit: the clock is looked at between rounds."""


OPEN = 128
"""Budget at which no optimum is demanded, but a gap."""


def certified_gap(setting: Setting) -> list[Row]:
    """Gap between value and proven bound of facility location at a time limit, on made and on recorded tokens."""
    cases = [(setting.problem(keep), 0.5, 0.06) for keep in (32, 64, 128, 192)]
    cases += [(setting.problem(keep, tiles=5), 5.0, 0.04) for keep in (32, 64, 128, 192)]
    if setting.shrink == 1:
        for problem in map(load, names()):
            cases.append((problem, *((0.5, 0.06) if problem.tokens <= 576 else (5.0, 0.04))))
    return [
        _gap_row(setting, problem, setting.seconds(limit), setting.target("gap %", gap, at_most=True))
        for problem, limit, gap in cases
    ]


def _gap_row(setting: Setting, problem: Problem, limit: float, target: Target | None) -> Row:
    timing, solution = _once(problem, limit)
    greedy = Greedy().solve(problem, FL)
    behind = 100 * relative_gap(greedy.value, solution.upper_bound)
    checked = solution.certificate is not None and solution.certificate.verify(problem)
    note = f"{limit:g} s allowed; certificate {'verified' if checked else 'NOT VERIFIED'}; greedy within {behind:.4f} %"
    row = _judged(_row("certified gap", problem, timing), target, 100 * solution.relative_gap)
    if row.verdict == "pass" and (not checked or timing.cpu > LATE * limit):
        row = dataclasses.replace(row, verdict="below")
    if timing.wall > LATE * limit:
        note += f"; {timing.wall:.2f} s elapsed"
    return dataclasses.replace(row, ours_value=solution.value, note=note)


def proven_optimum(setting: Setting) -> list[Row]:
    """Time to the proven optimum of facility location against pbp-pmedian, each run once, the peer in its own process.

    Where the peer answers, the times are compared; where it does not, the gap at the time limit is what counts.
    """
    rows = []
    for keep in (32, 64, 192, 128):
        problem, limit = setting.problem(keep), setting.seconds(60.0)
        timing, solution = _once(problem, limit)
        row = dataclasses.replace(
            _row("proven optimum, facility location", problem, timing),
            peer="pbp-pmedian",
            ours_value=solution.value,
            note=f"{solution.status.label}, gap {100 * solution.relative_gap:.5f} %",
        )
        rows.append(_against_pmedian(setting, row, problem, solution, limit))
    return rows


def _against_pmedian(setting: Setting, row: Row, problem: Problem, solution: Solution, limit: float) -> Row:
    fallback = setting.target("gap %", 0.01, at_most=True)
    try:
        if not setting.peers:
            raise RuntimeError("left out of this run")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "costs.npy"
            np.save(path, 1.0 - coverage(problem).astype(np.float64), allow_pickle=False)
            found = fresh("pmedian", str(path), str(problem.budget), str(limit), timeout=4 * limit + 60)
    except Exception as error:  # missing, or whatever it raises: a row either way
        return dataclasses.replace(row, verdict="no peer", note=f"{row.note}; {error}")
    row = dataclasses.replace(row, peer_cpu=found["cpu"], peer_wall=found["wall"], peer_samples=1)
    if found["selected"] is None or found["status"] != 0:
        note = f"{row.note}; the peer has no answer in {limit:g} s"
        row = _judged(dataclasses.replace(row, note=note), fallback, 100 * solution.relative_gap)
        return _unless_unproven(row, solution) if problem.budget != OPEN else row
    row = dataclasses.replace(row, peer_value=FL.value(problem, found["selected"]))
    return _unless_unproven(_judged(row, setting.target(RATIO, 1), row.ratio_cpu), solution)


def log_det_proof(setting: Setting) -> list[Row]:
    """Time to the proven optimum of a log-determinant, plain and weighted as in CDPruner; no peer has a method."""
    rows = []
    for (side, keep), objective in itertools.product(((12, 16), (24, 8)), (DPP, LogDet(signal="cls"))):
        problem = setting.problem(keep, side=side)
        Exact().solve(problem, objective, time_limit=1e-3)  # imports, compiled loops, kernel
        allowed = setting.seconds(4 * 15.0)  # elapsed seconds, of which a loaded machine gives us a part
        timing = timed(partial(Exact().solve, problem, objective, time_limit=allowed))
        solution: Solution = timing.result
        row = _row(f"proven optimum, {objective.name}", problem, timing)
        row = _judged(row, setting.target("seconds", 15.0, at_most=True), timing.cpu)
        row = _unless_unproven(row, solution)
        note = f"{solution.status.label}, gap {solution.gap:.3g} nats"
        rows.append(dataclasses.replace(row, ours_value=solution.value, note=note))
    return rows


def _once(problem: Problem, limit: float) -> tuple[Timing, Solution]:
    Exact().solve(problem, FL, time_limit=1e-3)  # imports, compiled loops, coverage
    timing = timed(partial(Exact().solve, problem, FL, time_limit=limit))
    return timing, timing.result


def _row(work: str, problem: Problem, timing: Timing) -> Row:
    row = about(work, problem, Exact())
    return dataclasses.replace(row, ours_cpu=timing.cpu, ours_wall=timing.wall, ours_samples=1)


def _unless_unproven(row: Row, solution: Solution) -> Row:
    """`row`, judged "not proven" where a time was judged that led to no proof."""
    return (
        dataclasses.replace(row, verdict="not proven") if row.verdict and solution.status is not Status.OPTIMAL else row
    )


def _judged(row: Row, target: Target | None, measured: float) -> Row:
    verdict = "" if target is None else "pass" if target.met(measured) else "below"
    return dataclasses.replace(row, target=target, measured=measured, verdict=verdict)
