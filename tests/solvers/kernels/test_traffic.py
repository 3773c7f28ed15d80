"""Bytes counted by the formulas against bytes counted by going through the picks."""

from __future__ import annotations

import numpy as np

from solvers import FacilityLocation, Greedy
from solvers.kernels import traffic
from solvers.objectives.facility_location import coverage


def test_rows_are_counted_as_the_loops_read_them(make_problem):
    problem = make_problem(rows=5, columns=6, budget=7)
    matrix, picks = coverage(problem), Greedy().solve(problem, FacilityLocation()).selected
    best, changed = np.zeros(30), 0
    for pick in picks:
        changed += int((matrix[pick] > best).sum())
        best = np.maximum(best, matrix[pick])
    assert traffic.changes(matrix, picks) == changed > 30
    assert traffic.greedy_cover(30, changed) == traffic.once(30) + changed * 30 * 4
    assert traffic.greedy_map(30, 7) == sum(8 * 30 * (earlier + 2) for earlier in range(7))
    assert traffic.greedy_spread(30, 7) == sum(8 * 30 for _ in picks)
