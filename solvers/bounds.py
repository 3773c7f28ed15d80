"""Upper bounds on what any selection of k tokens can be worth, so that every value carries a certified gap."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from .arrays import Float64Array, FloatArray, IntArray
from .greedy import greedy_picks
from .kernels.coverage import assign, covered, interchange
from .kernels.dispersion import clique_cover_size
from .kernels.lagrangian import SMALLEST_SCALE, Search, begin, descend
from .objectives import AbstractObjective, FacilityLocation, LogDet, MaxMin, Saliency
from .objectives.facility_location import coverage, grid_step
from .problem import Problem
from .solution import Certificate
from .solver import ROUNDING, checked_time_limit

EPS = float(np.finfo(np.float64).eps)
WORST_ROUNDING = 1e-3
"""Largest relative rounding error of an eigenvalue with which the factorisation bound is still claimed."""


class Bound(NamedTuple):
    """An upper bound on the objective of every allowed selection."""

    value: float
    """The bound; inf where none is known."""
    method: str
    """Name of the method that proved it."""


class LagrangianBound(NamedTuple):
    """Dual and primal side of facility location after the subgradient method."""

    search: Search
    """Multipliers, the bound they prove (exact in float64), and where to go on."""
    selected: IntArray
    """Best selection met on the way [budget]."""
    reached: float
    """Value of `selected`."""

    @property
    def value(self) -> float:
        """The upper bound."""
        return self.search.bound

    @property
    def converged(self) -> bool:
        """Whether further rounds are pointless."""
        return self.search.scale < SMALLEST_SCALE or self.value <= self.reached

    def certificate(self) -> Certificate:
        """The multipliers as a proof that can be checked on its own."""
        return Certificate(self.value, self.search.multipliers.astype(np.float64))


def upper_bound(
    problem: Problem,
    objective: AbstractObjective[Any],
    *,
    values: Iterable[float] = (),
    time_limit: float | None = None,
) -> Bound:
    """Best bound that this package can prove at moderate cost, about half a second for 64 of 576 tokens.

    Parameters
    ----------
    problem, objective
        What is to be bounded.
    values
        Values of known selections. They never enter the proof; a value above the bound found would expose a defect
        and raises.
    time_limit
        Seconds after which iterative methods return what they have; None runs their fixed number of iterations, which
        makes the bound reproducible.

    Returns
    -------
    Bound
        Value and name of the method. Saliency: the k largest values, exact. Facility location: Lagrangian dual.
        LogDet: factorisation, spectral or Hadamard bound, whichever is smallest. MaxMin: clique cover or clustering.
        Other submodular objectives, subclasses of these included: the k largest gains of single tokens. Else inf.

    Raises
    ------
    ValueError
        If the objective is not defined on the problem, or `time_limit` is not positive.
    RuntimeError
        If one of `values` exceeds the bound.
    """
    time_limit = checked_time_limit(time_limit)
    reason = objective.supports(problem)
    if reason is not None:
        raise ValueError(f"no bound for {objective.name} on {problem.id}: {reason}")
    deadline = math.inf if time_limit is None else time.perf_counter() + time_limit
    bound = Bound(math.inf, "none")
    # Exactly this class: a subclass may value selections otherwise, and a proof about its parent is none about it.
    method = METHODS.get(type(objective))
    if method is not None:
        bound = method(problem, objective, deadline)
    elif objective.submodular:
        bound = data_dependent(problem, objective)
    for value in values:
        if value > bound.value + ROUNDING * max(1.0, abs(value)):
            raise RuntimeError(f"the {bound.method} bound {bound.value!r} is below the value {value!r} of a selection")
    return bound


def data_dependent(problem: Problem, objective: AbstractObjective[Any], selected: Iterable[int] = ()) -> Bound:
    """Value of a set plus the k largest gains over it (Minoux, 1978; Leskovec et al., 2007).

    Valid for submodular objectives at the empty set, and for monotone submodular ones at every `selected` set.

    Raises
    ------
    ValueError
        If the objective's facts do not make the bound valid.
    """
    start = list(selected)
    if not objective.submodular or (start and not objective.monotone):
        raise ValueError(f"the data-dependent bound needs a monotone submodular objective, got {objective.name}")
    state = objective.start(problem)
    for token in start:
        state = objective.add(state, token)
    gains = np.sort(objective.gains(state))[::-1][: problem.budget]
    if start:
        gains = np.maximum(gains, 0.0)
    return Bound(objective.value(problem, start) + math.fsum(gains), "data-dependent")


def modular(problem: Problem, objective: Saliency) -> Bound:
    """The k largest values: attained, hence the optimum."""
    best = np.argsort(-problem.signal(objective.signal), kind="stable")[: problem.budget]
    return Bound(objective.value(problem, best), "k largest")


def lagrangian(
    problem: Problem,
    *,
    rounds: int = 12,
    iterations: int = 250,
    deadline: float = math.inf,
    start: LagrangianBound | None = None,
) -> LagrangianBound:
    """Lagrangian dual of facility location by a subgradient method, with swap search on the primal side.

    Relaxes that every token is served once (Cornuejols, Fisher and Nemhauser, 1977, Management Science 23(8)).
    The arithmetic is exact (see `coverage`), so the bound needs no safety margin.

    Parameters
    ----------
    problem
        The instance.
    rounds, iterations
        Rounds, and subgradient steps in each; after each round the multipliers suggest selections.
    deadline
        Moment of `time.perf_counter` at which no further round starts.
    start
        A former result to go on from.
    """
    matrix, k = coverage(problem), problem.budget
    grid = grid_step(matrix)
    best = start or _first_primal(problem, matrix)
    for _ in range(rounds):
        search = descend(matrix, k, best.reached, iterations, grid, best.search)
        selected, reached = best.selected, best.reached
        for guess in (search.worth, search.frequency):
            candidate = interchange(matrix, np.argsort(-guess, kind="stable")[:k], 200)
            value = covered(matrix, candidate)
            if value > reached:
                selected, reached = candidate, value
        best = LagrangianBound(search, selected, reached)
        if best.converged or time.perf_counter() > deadline:
            break
    return best


def _first_primal(problem: Problem, matrix: FloatArray) -> LagrangianBound:
    selected = interchange(matrix, greedy_picks(problem, FacilityLocation()), 500)
    reached = assign(matrix, selected)
    # Between best and second best coverage each token is served by about one kept token, as the dual wants it.
    halfway = (reached.best.astype(np.float64) + reached.second) / 2
    grid = grid_step(matrix)
    multipliers = (np.round(halfway / grid) * grid).astype(np.float32)
    return LagrangianBound(begin(multipliers), selected, covered(matrix, selected))


def _facility_location(problem: Problem, objective: FacilityLocation, deadline: float) -> Bound:
    return Bound(lagrangian(problem, deadline=deadline).value, "Lagrangian dual")


def spectral(problem: Problem, objective: LogDet) -> Bound:
    """Sum of the k largest log eigenvalues of the kernel (Ko, Lee and Queyranne, 1995), by interlacing."""
    values = np.linalg.eigvalsh(objective.kernel(problem))
    # A computed eigenvalue is off by at most about n eps times the largest one, which matters near the ridge.
    slack = problem.tokens * EPS * values[-1]
    return Bound(math.fsum(np.log(np.maximum(values[-problem.budget :], 0.0) + slack)), "spectral")


def hadamard(problem: Problem, objective: LogDet) -> Bound:
    """Sum of the k largest log diagonal entries: a determinant is at most the product of its diagonal."""
    diagonal = np.sort(np.diag(objective.kernel(problem)))[-problem.budget :]
    return Bound(math.fsum(np.log(diagonal)), "Hadamard")


def _log_det(problem: Problem, objective: LogDet, deadline: float) -> Bound:
    cheap = min(spectral(problem, objective), hadamard(problem, objective))
    return min(cheap, factorisation(problem, objective, deadline=deadline))


def factorisation(problem: Problem, objective: LogDet, *, iterations: int = 16, deadline: float = math.inf) -> Bound:
    """Factorisation bound of maximum-entropy sampling (Nikolov, 2015; Li and Xie, 2020, arXiv:2001.08537, Section 2).

    For weights x in [0, 1] with sum k, the concave function phi(x) = Gamma_k(spectrum of diag(x)^1/2 L diag(x)^1/2)
    equals log det L_S at the indicator of S. Its tangent at any x lies above it, so phi(x) + max over S of
    gradient . (1_S - x) bounds every selection. Multiplicative steps x <- x gradient^3, rescaled, tighten it.

    Parameters
    ----------
    problem, objective
        What is to be bounded.
    iterations
        Number of weights tried; each costs one partial eigendecomposition [token, token].
    deadline
        Moment of `time.perf_counter` after which no further weights are tried.

    Notes
    -----
    Where rounding drowns the smallest eigenvalues that count (a quality over many orders of magnitude and a budget that
    reaches its lower end), no bound is claimed: the value is inf.
    """
    kernel, k = objective.kernel(problem), problem.budget
    weights = np.full(problem.tokens, k / problem.tokens)
    best = math.inf
    for _ in range(iterations):
        tangent = _tangent(kernel, weights, k)
        if tangent is None:
            break
        reach = math.fsum(np.sort(tangent.gradient)[-k:]) - float(tangent.gradient @ weights)
        best = min(best, tangent.value + tangent.slack + reach)
        if best - tangent.value < 1e-4 * max(1.0, abs(best)) or time.perf_counter() > deadline:
            break
        weights = _capped(weights * tangent.gradient**3, k)
    return Bound(best, "factorisation")


class _Tangent(NamedTuple):
    value: float
    gradient: Float64Array
    slack: float
    """Bound on the rounding error of `value`: that of the smallest eigenvalue, in each of k logarithms."""


def _tangent(kernel: Float64Array, weights: Float64Array, k: int) -> _Tangent | None:
    """Gamma_k of the weighted kernel and its gradient [token], or None if rounding could be larger than either.

    Gamma_k keeps the `large` leading eigenvalues and replaces the rest by k - large copies of their sum over k - large,
    where `large` is the smallest number for which that mean is at least the next eigenvalue.
    """
    from scipy.linalg import eigh  # a third of a second to import

    n = len(weights)
    root = np.sqrt(weights)
    weighted = root[:, None] * kernel * root
    trace = float(np.trace(weighted))
    values, vectors = eigh(weighted, subset_by_index=[n - k, n - 1], check_finite=False)
    values, vectors = values[::-1], vectors[:, ::-1]
    means = (trace - np.concatenate([[0.0], np.cumsum(values)[:-1]])) / np.arange(k, 0, -1)
    fits = means >= values
    fits[-1] = True  # true in exact arithmetic, where the sum of the rest contains the k-th value
    large = int(np.argmax(fits))
    tail = float(max(means[large], values[large]))
    # Eigenvalues are off by about n eps trace at most.
    rounding = n * EPS * trace
    if rounding > WORST_ROUNDING * tail:
        return None
    value = math.fsum(np.log(values[:large])) + (k - large) * math.log(tail)
    loading = (kernel @ (root[:, None] * vectors[:, :large])) ** 2 / values[:large]
    gradient = np.maximum(np.diag(kernel) / tail + loading @ (1.0 / values[:large] - 1.0 / tail), 0.0)
    return _Tangent(value, gradient, k * rounding / tail)


def _capped(weights: Float64Array, k: int) -> Float64Array:
    """Non-negative `weights` scaled to sum k, with none above one."""
    order = np.sort(weights)[::-1]
    remaining = np.cumsum(order[::-1])[::-1]
    for full in range(k):
        scale = (k - full) / remaining[full]
        if scale * order[full] <= 1.0:
            return np.minimum(weights * scale, 1.0)
    return np.minimum(weights / order[k - 1], 1.0)


def clique_cover(problem: Problem, objective: MaxMin) -> Bound:
    """Largest distance at which a greedy clique cover still allows k tokens that far apart.

    For a distance d, cover all tokens by groups whose members are closer than d to one another. Fewer than k groups
    prove that every selection of k tokens has two in one group, hence a value below d. Bisection over the distances
    that occur finds a small such d; the value is then at most the next smaller distance.
    """
    distances, k = objective.distances(problem), problem.budget
    levels = np.unique(distances[np.triu_indices(problem.tokens, 1)])
    near = np.sort(distances, axis=1)
    orders = [np.arange(problem.tokens)]
    for rank in {1, problem.tokens // k, problem.tokens // 2}:
        orders += [np.argsort(near[:, rank], kind="stable"), np.argsort(-near[:, rank], kind="stable")]
    # Outlying tokens first: they need groups of their own, the crowded middle fills in afterwards.
    for token in np.linspace(0, problem.tokens - 1, 32).astype(np.int64):
        orders.append(np.argsort(-distances[token], kind="stable"))
    low, high = 0, levels.size
    while low < high:
        middle = (low + high) // 2
        if any(clique_cover_size(distances, levels[middle], order, k) < k for order in orders):
            high = middle
        else:
            low = middle + 1
    return Bound(float(levels[max(high - 1, 0)]), "clique cover")


def clustering(problem: Problem, objective: MaxMin) -> Bound:
    """Largest diameter among k - 1 complete-linkage clusters: two of any k tokens share a cluster."""
    from scipy.cluster.hierarchy import linkage  # half a second to import
    from scipy.spatial.distance import squareform

    tree = linkage(squareform(objective.distances(problem), checks=False), method="complete")
    return Bound(float(tree[problem.tokens - problem.budget, 2]), "clustering")


def _max_min(problem: Problem, objective: MaxMin, deadline: float) -> Bound:
    if problem.budget == 1:
        return Bound(float(objective.isolation(problem).max()), "largest isolation")
    return min(clique_cover(problem, objective), clustering(problem, objective))


METHODS: dict[type[Any], Callable[[Problem, Any, float], Bound]] = {
    Saliency: lambda problem, objective, deadline: modular(problem, objective),
    FacilityLocation: _facility_location,
    LogDet: _log_det,
    MaxMin: _max_min,
}
"""Which function bounds which objective; a new method is one entry."""
