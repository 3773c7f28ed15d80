"""Compiled loops over arrays. They check nothing and allocate little; their callers check for them."""

from __future__ import annotations

import functools

import numpy as np

from .coverage import assign, cover, covered, greedy_cover, total_gains
from .determinant import extend_cholesky, greedy_map, log_elementary_symmetric
from .determinant_search import search_determinants
from .dispersion import clique_cover_size, farthest_first, greedy_spread, smallest_distance
from .gains import covering_radii, saturated_gains, serve, shared_radii
from .independent_set import edge_clique_cover, relocate
from .interchange import eager_swaps, steepest_swaps
from .lagrangian import begin, descend, shortlists
from .lazy import lazy_farthest_first, lazy_greedy_map


@functools.cache
def warm_up() -> None:
    """Compile every loop, or load it from the disk cache, so that no measured time contains it. Once per process."""
    unit = np.eye(2, dtype=np.float32)
    unit.setflags(write=False)
    kernel = np.eye(2)
    kernel.setflags(write=False)
    gains = total_gains(unit)
    cover(unit, np.zeros(2, np.float32), gains, 0)
    saturated_gains(unit, np.zeros(2), np.zeros(2))
    serve(kernel, np.zeros(2), np.zeros(2), 0)
    covering_radii(kernel, np.zeros(2), np.zeros(2))
    shared_radii(kernel, 0, np.zeros(2))
    one = np.zeros(1, np.int64)
    eager_swaps(unit, unit, one, 1)
    steps = np.eye(2, dtype=np.int32)
    steps.setflags(write=False)
    greedy_cover(steps, 1)
    assign(unit, one)
    covered(unit, one)
    for worth in (unit, kernel):
        steepest_swaps(worth, worth, one, 1)
        descend(shortlists(worth, 1), 1, 1.0, 1, 2.0**-24, begin(np.zeros(2, worth.dtype), 2))
    extend_cholesky(kernel, np.empty((2, 2)), np.ones(2), np.zeros(2), 0, 0)
    greedy_map(kernel, np.zeros(2), 1)
    log_elementary_symmetric(np.zeros(2), 1)
    search_determinants(np.eye(2), np.zeros(2), 1, 0.0, 1)
    clique_cover_size(kernel, 1.0, np.arange(2), 2)
    farthest_first(kernel, 0, 1)
    greedy_spread(kernel, np.zeros(2), 1)
    smallest_distance(kernel, one)
    edge_clique_cover(kernel, 1.0)
    relocate(kernel, one, 1, 0)
    for rows in (unit, kernel):
        lazy_greedy_map(rows, np.ones(2), np.ones(2), 1e-6, 1)
        lazy_farthest_first(rows, np.ones(2), 0, 1)
