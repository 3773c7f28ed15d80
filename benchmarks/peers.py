"""Other packages behind one shape: setup here, then a call without arguments that does the work to be timed.

Each function imports its package only when called and raises `NotInstalledError` where it is missing. A peer is
called as its documentation says, except for what the functions state.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from solvers.arrays import Float64Array, FloatArray, IntArray

Picks = list[int]
Call = Callable[[], Picks]


class NotInstalledError(Exception):
    """The package of a peer is missing."""


def load(module: str, package: str) -> Any:
    """Module of a peer.

    Raises
    ------
    NotInstalledError
        If it, or something that it needs, is missing.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise NotInstalledError(f"{package} is not installed: {error}") from error


def apricot_facility_location(coverage: FloatArray, keep: int, optimizer: str) -> Call:
    """apricot-select on a given similarity, float64 as its compiled loop demands.

    Its `fit` builds that loop as a closure and compiles it anew each time, over a second per image. Here the factory
    of the closure is memoised: same source, same compiler flags, compiled once. What is timed is the rest of `fit`.
    """
    module = load("apricot.functions.facilityLocation", "apricot-select")
    for name in ("calculate_gains", "calculate_gains_sieve"):
        factory = getattr(module, name)
        if not hasattr(factory, "cache_info"):
            setattr(module, name, functools.cache(factory))
    matrix = coverage.astype(np.float64)

    def call() -> Picks:
        selector = module.FacilityLocationSelection(keep, metric="precomputed", optimizer=optimizer)
        picks: Picks = selector.fit(matrix).ranking.tolist()
        return picks

    module.FacilityLocationSelection(1, metric="precomputed", optimizer=optimizer).fit(np.eye(4))  # compiles
    return call


def _submodlib(function: str, similarity: FloatArray | Float64Array, keep: int, optimizer: str, **options: Any) -> Call:
    """A function of submodlib, with the copy of the matrix into its C++ object as setup.

    It gives ties to the highest index and this project to the lowest. So it gets the tokens in reverse order, which
    makes the rules one.
    """
    module = load("submodlib", "submodlib-py")
    n = len(similarity)
    reverse = np.ascontiguousarray(similarity[::-1, ::-1])
    built = getattr(module, function)(n=n, mode="dense", sijs=reverse, **options)

    def call() -> Picks:
        return [n - 1 - token for token, _ in built.maximize(budget=keep, optimizer=optimizer, show_progress=False)]

    return call


def submodlib_facility_location(coverage: FloatArray, keep: int) -> Call:
    """submodlib's lazy greedy; its naive one is over ten times slower."""
    return _submodlib("FacilityLocationFunction", coverage, keep, "LazyGreedy", separate_rep=False)


def submodlib_log_det(similarity: Float64Array, ridge: float, keep: int) -> Call:
    """submodlib's lazy greedy; it adds the ridge itself."""
    return _submodlib("LogDeterminantFunction", similarity, keep, "LazyGreedy", lambdaVal=ridge)


def submodlib_max_min(similarity: Float64Array, keep: int) -> Call:
    """submodlib's naive greedy on 1 - similarity; its lazy one just counts down, as nothing bounds a gain."""
    return _submodlib("DisparityMinFunction", similarity, keep, "NaiveGreedy")


def kmedoids_fasterpam(coverage: FloatArray, start: Callable[[], IntArray]) -> Call:
    """FasterPAM on 1 - similarity, float32, one thread, from what `start` finds; `start` is timed with it."""
    module = load("kmedoids", "kmedoids")
    dissimilarity = np.float32(1.0) - coverage

    def call() -> Picks:
        found = module.fasterpam(dissimilarity, start().astype(np.uint64), n_cpu=1)
        picks: Picks = found.medoids.astype(np.int64).tolist()
        return picks

    return call


def dppy_k_dpp(kernel: FloatArray, keep: int) -> Call:
    """DPPy's exact k-DPP sampler. The first sample decomposes the kernel; it is drawn as setup."""
    module = load("dppy.finite_dpps", "dppy")
    process = module.FiniteDPP("likelihood", L=kernel.copy())

    def call() -> Picks:
        picks: Picks = process.sample_exact_k_dpp(size=keep, random_state=0)
        return picks

    call()
    return call


def pbp_pmedian(costs: Float64Array, keep: int, limit: float) -> dict[str, Any]:
    """One run of pbp-pmedian on costs [client, token]: value, or None, status, engine.

    Raises
    ------
    NotInstalledError
        If the package is missing.
    """
    module = load("pbp_pmedian", "pbp-pmedian")
    value, selected, _, status, engine = module.solve(costs, keep, time_limit=limit)
    picks = None if selected is None else sorted(int(token) for token in selected)
    return {"value": value, "selected": picks, "status": int(status), "engine": engine}
