"""Every compiled loop against its NumPy version, and whole solvers where numba is missing."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import solvers
from solvers import kernels
from solvers.kernels import plain

PUBLIC = {name: loop for name, loop in vars(plain).items() if inspect.isfunction(loop) and not name.startswith("_")}


def fixed(*arrays):
    for array in arrays:
        array.setflags(write=False)
    return arrays if len(arrays) > 1 else arrays[0]


def coverage_of(rng, n):
    """Symmetric multiples of 2**-5 with many ties, zeros and two equal tokens."""
    half = rng.integers(0, 33, (n, n))
    matrix = np.maximum(half, half.T).astype(np.float32) / 32
    matrix[-1], matrix[:, -1] = matrix[0], matrix[:, 0]
    matrix[-1, -1] = matrix[0, -1] = matrix[-1, 0] = matrix[0, 0]
    return fixed(matrix)


def kernel_of(rng, n):
    rows = rng.normal(size=(n, n))
    rows[-1] = rows[0]
    return fixed(rows @ rows.T / n + 1e-3 * np.eye(n))


def distances_of(rng, n):
    points = rng.integers(0, 5, (n, 2)).astype(np.float64)
    return fixed(np.abs(points[:, None] - points).sum(axis=2))


def arguments(name, n, k, seed):
    rng = np.random.default_rng(seed)
    coverage, kernel, distances = coverage_of(rng, n), kernel_of(rng, n), distances_of(rng, n)
    selected = np.sort(rng.choice(n, k, replace=False)).astype(np.int64)
    best, floor = coverage[selected].max(axis=0), np.full(n, 1e-3)
    worth = fixed(rng.integers(0, 65, (n + 3, n)) / 64.0)
    bits = coverage.view(np.int32)
    rows = fixed(rng.integers(1, 3, (n, 4)).astype(np.float64))
    token = int(rng.integers(n))
    return {
        "total_gains": lambda: (coverage,),
        "cover": lambda: (coverage, best, rng.integers(0, 9, n) / 8.0, token),
        "greedy_cover": lambda: (fixed((coverage * 2**20).astype(np.int32)), k),
        "fixed_point": lambda: (
            fixed(rng.normal(size=(n, n)).astype(np.float32)),
            np.float32(2.0**-20),
            np.empty((n, n), np.int32),
        ),
        "examined": lambda: (
            bits if seed % 2 else fixed(rng.integers(0, 9, (n, n)).astype(np.int32)),
            2**31 - 1,
            *rng.integers(-(2**62), 2**62, (2, n)) * 2 + 1,
        ),
        "assign": lambda: (coverage, selected),
        "covered": lambda: (coverage, selected),
        "steepest_swaps": lambda: (worth, fixed(worth.T.copy()), selected, 1 + seed),
        "eager_swaps": lambda: (worth, fixed(worth.T.copy()), selected, 1 + seed),
        "extend_cholesky": lambda: (kernel, rng.normal(size=(n, n)), np.diag(kernel).copy(), floor, k, token),
        "map_picks": lambda: (kernel, np.diag(kernel).copy(), floor, k),
        "greedy_map": lambda: (kernel, floor, k),
        "log_elementary_symmetric": lambda: (np.where(rng.random(n) < 0.2, -np.inf, rng.normal(size=n)), k),
        "clique_cover_size": lambda: (distances, float(seed), rng.permutation(n), k + 1),
        "farthest_first": lambda: (distances, token, k),
        "greedy_spread": lambda: (distances, (distances + 9 * np.eye(n)).min(axis=1), k),
        "spread_similarity": lambda: (kernel, seed % 2 == 0, k),
        "smallest_distance": lambda: (distances, selected),
        "saturated_gains": lambda: (coverage, rng.normal(size=n), np.empty(n)),
        "serve": lambda: (worth, worth[:, selected].max(axis=1), rng.integers(0, 9, n) / 8.0, token),
        "covering_radii": lambda: (distances, distances[token].copy(), np.empty(n)),
        "cosine": lambda: (rows, fixed(1.0 / np.linalg.norm(rows, axis=1)), token, seed % 2),
        "shared_radii": lambda: (distances, token, np.full(n, 4.0)),
    }[name]()


ROUNDED = {"extend_cholesky", "map_picks", "log_elementary_symmetric", "cosine"}
"""Sums of numbers off the grid, in another order; everything else is equal to the last bit."""


def compiled(name):
    for module in pkgutil.iter_modules(kernels.__path__):
        if module.name not in ("plain", "torch_selection"):
            loop = getattr(importlib.import_module(f"solvers.kernels.{module.name}"), name, None)
            if loop is not None:
                return loop
    raise AssertionError(f"no compiled loop is called {name}")


def flat(value):
    if value is None:
        return []
    return [part for item in value for part in flat(item)] if isinstance(value, tuple) else [np.asarray(value)]


@pytest.mark.parametrize("name", PUBLIC)
@pytest.mark.parametrize(("n", "k"), [(23, 6), (5, 5), (2, 1)])
@pytest.mark.parametrize("seed", range(4))
def test_plain_loops_equal_the_compiled_ones(name, n, k, seed):
    if name == "extend_cholesky" and k == n:
        k -= 1
    once, twice = arguments(name, n, k, seed), arguments(name, n, k, seed)
    results = compiled(name)(*once), PUBLIC[name](*twice)
    for by_loop, by_numpy in zip(flat((*once, results[0])), flat((*twice, results[1])), strict=True):
        if name in ROUNDED:
            np.testing.assert_allclose(by_numpy, by_loop, rtol=1e-10, atol=1e-12)
        else:
            np.testing.assert_array_equal(by_numpy, by_loop)


def test_a_kernel_that_is_not_definite_ends_early_in_both():
    kernel = fixed(np.array([[1.0, 2.0, 0.0], [2.0, 1.0, 0.0], [0.0, 0.0, -1.0]]))
    for loop in (compiled("map_picks"), plain.map_picks):
        picks = loop(kernel, np.diag(kernel).copy(), np.full(3, -np.inf), 3)
        assert picks.selected.tolist() == [0]
        assert picks.lowest == -1.0


SCRIPT = """
import json, sys
if sys.argv[1] == "without":
    sys.modules["numba"] = None
import numpy as np
import solvers
from solvers.kernels.jit import COMPILED
features = np.random.default_rng(0).normal(size=(20, 6)) + 0.5
features[7] = features[3]
problem = solvers.Problem.from_features(features, 5)
picks = {"COMPILED": COMPILED}
for objective, kinds in (
    (solvers.FacilityLocation(), (solvers.Greedy, solvers.LazyGreedy, solvers.LocalSearch, solvers.Exact)),
    (solvers.LogDet(), (solvers.Greedy, solvers.DppMap, solvers.LocalSearch, solvers.KDpp)),
    (solvers.MaxMin(), (solvers.Greedy, solvers.FarthestFirst, solvers.LocalSearch)),
    (solvers.SaturatedCoverage(), (solvers.Greedy,)),
    (solvers.CoveringRadius(), (solvers.Greedy,)),
    (solvers.WeightedFacilityLocation("w"), (solvers.Greedy,)),
):
    if isinstance(objective, solvers.WeightedFacilityLocation):
        problem = solvers.Problem.from_features(features, 5, signals={"w": np.arange(1.0, 21.0)})
    for kind in kinds:
        picks[f"{objective.name} {kind.__name__}"] = kind().solve(problem, objective).selected.tolist()
    bound = solvers.bounds.upper_bound(problem, objective)
    picks[f"{objective.name} bound"] = bound.method
for objective in (solvers.FacilityLocation(), solvers.LogDet(), solvers.MaxMin()):
    batch = np.stack([problem.similarity] * 2)
    picks[f"{objective.name} batch"] = solvers.select_batch(batch, 5, objective, threads=2).tolist()
print(json.dumps(picks))
"""


def test_solvers_pick_the_same_tokens_without_numba():
    environment = os.environ | {"PYTHONPATH": str(Path(solvers.__file__).parents[1])}
    shown = {}
    for mode in ("with", "without"):
        command = [sys.executable, "-W", "error", "-c", SCRIPT, mode]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        shown[mode] = json.loads(done.stdout)
    assert (shown["with"].pop("COMPILED"), shown["without"].pop("COMPILED")) == (True, False)
    assert shown["without"] == shown["with"]
