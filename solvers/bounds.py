"""Upper bounds on what any selection of k tokens can be worth, so that every value carries a certified gap."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from .certificate import CoverageObjective
from .conflict_bounds import clique_maxima as clique_maxima
from .constraints import Cardinality, Forced, Partition, WholeRows
from .determinant_bounds import EPS as EPS
from .determinant_bounds import factorisation as factorisation
from .determinant_bounds import hadamard as hadamard
from .determinant_bounds import spectral as spectral
from .exact.matroid_saliency import best_tokens
from .kernels import warm_up
from .kernels.dispersion import clique_cover_size
from .kernels.gains import shared_radii
from .lagrangian_dual import LagrangianBound as LagrangianBound
from .lagrangian_dual import lagrangian as lagrangian
from .objectives import (
    AbstractObjective,
    CoveringRadius,
    FacilityLocation,
    GramLogDet,
    GraphCut,
    LogDet,
    MaxMin,
    MaxSum,
    Mixture,
    MultimodalFacilityLocation,
    RelevanceMinusRedundancy,
    Saliency,
    SaturatedCoverage,
    WeightedFacilityLocation,
)
from .objectives.client_coverage import ClientCoverage
from .objectives.log_det import KernelLogDet
from .objectives.pairwise import PairwiseObjective
from .problem import Problem
from .quadratic_bounds import concave as concave
from .solution import Bound as Bound
from .solver import ROUNDING, checked_time_limit


def upper_bound(
    problem: Problem,
    objective: AbstractObjective[Any],
    *,
    values: Iterable[float] = (),
    time_limit: float | None = None,
) -> Bound:
    """Best bound that this package can prove at moderate cost, about half a second for 64 of 576 tokens.

    Every constraint keeps exactly k tokens, so a bound on all selections of k tokens holds under each of them. Only
    that of saliency looks at the constraint, and is exact but under conflicts.

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
        Value and name of the method. Saliency: the k largest values that are allowed, exact; under conflicts those or
        clique maxima. Facility location, also weighted or multimodal: Lagrangian dual. LogDet and GramLogDet:
        factorisation, spectral or Hadamard bound, whichever is smallest. MaxMin: clique cover or clustering.
        CoveringRadius: packing. MaxSum, GraphCut, RelevanceMinusRedundancy: concave form or best partners.
        SaturatedCoverage: data-dependent along greedy. Mixture: sum of the bounds of its parts, or data-dependent.
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
    warm_up()  # compiling is not bounding time
    bound = _bound(problem, objective, math.inf if time_limit is None else time.perf_counter() + time_limit)
    for value in values:
        if value > bound.value + ROUNDING * max(1.0, abs(value)):
            raise RuntimeError(f"the {bound.method} bound {bound.value!r} is below the value {value!r} of a selection")
    return bound


def _bound(problem: Problem, objective: AbstractObjective[Any], deadline: float) -> Bound:
    # Exactly this class: a subclass may value selections otherwise, and a proof about its parent is none about it.
    method = METHODS.get(type(objective))
    if method is not None:
        return method(problem, objective, deadline)
    return data_dependent(problem, objective) if objective.submodular else Bound(math.inf, "none")


def greedy_bound(problem: Problem, objective: AbstractObjective[Any]) -> Bound:
    """Smallest data-dependent bound over the empty set and, for monotone objectives, over every prefix of greedy."""
    best = data_dependent(problem, objective)
    if not objective.monotone:
        return best
    state, reached = objective.start(problem), 0.0
    for size in range(1, problem.budget + 1):
        gains = objective.gains(state)
        token = int(np.argmax(gains))
        reached += float(gains[token])
        state = objective.add(state, token)
        left = np.maximum(np.sort(objective.gains(state))[-problem.budget :], 0.0)
        slack = size * EPS * abs(reached)  # of the running sum
        best = min(best, Bound(reached + slack + math.fsum(left), best.method))
    return best


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
    """The k largest values that the constraint allows: the optimum, but under conflicts a bound by clique maxima."""
    if type(problem.constraint) in (Cardinality, Partition, Forced, WholeRows):
        return Bound(objective.value(problem, best_tokens(problem, objective)), "k largest")
    best = np.argsort(-problem.signal(objective.signal), kind="stable")[: problem.budget]
    return min(Bound(objective.value(problem, best), "k largest"), clique_maxima(problem, objective))


def _facility_location(problem: Problem, objective: CoverageObjective, deadline: float) -> Bound:
    return Bound(lagrangian(problem, objective, deadline=deadline).value, "Lagrangian dual")


def _client_coverage(problem: Problem, objective: ClientCoverage, deadline: float) -> Bound:
    return min(_facility_location(problem, objective, deadline), greedy_bound(problem, objective))


def linear_programme(problem: Problem, objective: CoverageObjective, *, deadline: float = math.inf) -> Bound:
    """Value of the strong linear relaxation of facility location: the smallest bound that any multipliers prove.

    At a `deadline` of `time.perf_counter`, the best bound so far. See `solvers.exact.cut_rounds`.
    """
    from .exact.cut_rounds import linear_bound  # OR-Tools takes half a second to import

    return Bound(linear_bound(problem, objective, deadline).value, "linear programme")


def _log_det(problem: Problem, objective: KernelLogDet, deadline: float) -> Bound:
    cheap = min(spectral(problem, objective), hadamard(problem, objective))
    return min(cheap, factorisation(problem, objective, deadline=deadline))


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


def packing(problem: Problem, objective: CoveringRadius) -> Bound:
    """No covering of k tokens has a radius below that of k + 1 tokens of which no two fit under one centre.

    Two of them share a centre, whichever k are kept, and the smallest radius at which tokens a and b can share one is
    min over centres j of max(d_aj, d_bj). The k + 1 tokens come from farthest-first on these radii, O(k n^2); no
    triangle inequality is used, so any distance will do.
    """
    distances, k = objective.distances(problem), problem.budget
    if k == problem.tokens:
        return Bound(objective.reach(problem), "packing")
    apart = np.full(problem.tokens, np.inf)
    token, radius = int(np.argmax(distances.max(axis=1))), math.inf  # an outlying token, hard to cover with another
    for _ in range(k):
        shared_radii(distances, token, apart)
        token = int(np.argmax(apart))
        radius = float(apart[token])
    return Bound(objective.reach(problem) - radius, "packing")


def best_partners(problem: Problem, objective: PairwiseObjective) -> Bound:
    """k largest of: the worth of a token plus half the worth of its k - 1 best partners. O(n^2)."""
    others = objective.pairs(problem).copy()
    np.fill_diagonal(others, -np.inf)
    partners = np.sort(others, axis=1)[:, problem.tokens - (problem.budget - 1) :]
    share = objective.linear(problem) + partners.sum(axis=1) / 2
    return Bound(math.fsum(np.sort(share)[-problem.budget :]), "best partners")


def _coverage(problem: Problem, objective: AbstractObjective[Any], deadline: float) -> Bound:
    return greedy_bound(problem, objective)


def _pairwise(problem: Problem, objective: PairwiseObjective, deadline: float) -> Bound:
    bound = min(best_partners(problem, objective), concave(problem, objective, deadline=deadline))
    return min(bound, greedy_bound(problem, objective)) if objective.submodular else bound


def _mixture(problem: Problem, objective: Mixture, deadline: float) -> Bound:
    weighted = zip(objective.weights, objective.parts, strict=True)
    total = math.fsum(weight * _bound(problem, part, deadline).value for weight, part in weighted)
    bound = Bound(total, "sum of parts" if total < math.inf else "none")
    known = all(type(part) in METHODS for part in objective.parts)
    return min(bound, greedy_bound(problem, objective)) if known and objective.submodular else bound


METHODS: dict[type[Any], Callable[[Problem, Any, float], Bound]] = {
    Saliency: lambda problem, objective, deadline: modular(problem, objective),
    FacilityLocation: _facility_location,
    LogDet: _log_det,
    GramLogDet: _log_det,
    MaxMin: _max_min,
    CoveringRadius: lambda problem, objective, deadline: packing(problem, objective),
    WeightedFacilityLocation: _client_coverage,
    MultimodalFacilityLocation: _client_coverage,
    SaturatedCoverage: _coverage,
    MaxSum: _pairwise,
    GraphCut: _pairwise,
    RelevanceMinusRedundancy: _pairwise,
    Mixture: _mixture,
}
"""Which function bounds which objective; a new method is one entry."""
