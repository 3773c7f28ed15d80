"""What can be promised before solving: curvature, submodularity ratio, and which guarantee applies and why."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .arrays import Float64Array
from .baselines import FarthestFirst, TopK
from .constraints import AbstractConstraint, Cardinality, Partition
from .dpp import DppMap
from .exact import BruteForce, Exact
from .greedy import Greedy, LazyGreedy, StochasticGreedy, ThresholdGreedy
from .local_search import LocalSearch
from .objectives import AbstractObjective, FacilityLocation, LogDet, MaxMin, Saliency
from .objectives.facility_location import coverage
from .problem import Problem
from .solver import ROUNDING, AbstractSolver

MOST_TOKENS = 12
"""Largest problem whose submodularity ratio is found by looking at all pairs of sets."""


@dataclass(frozen=True)
class Assumption:
    """A condition of a theorem, and whether it holds: None where that needs a problem and none was given."""

    text: str
    holds: bool | None = True


@dataclass(frozen=True)
class Guarantee:
    """What a solver is certain to reach.

    Parameters
    ----------
    factor
        The value is at least `factor` times the optimum; 0 where no theorem applies or an assumption fails.
    theorem
        The statement and its source, or why there is none.
    assumptions
        What the theorem needs. Those with `holds` None are still to be checked on a problem.
    expected
        Whether the factor holds for the mean over seeds only.
    """

    factor: float
    theorem: str
    assumptions: tuple[Assumption, ...] = ()
    expected: bool = False

    def __bool__(self) -> bool:
        return self.factor > 0

    def summary(self) -> str:
        """One paragraph for people."""
        marks = {True: "holds", False: "fails", None: "to be checked"}
        lines = "; ".join(f"{item.text}: {marks[item.holds]}" for item in self.assumptions)
        mean = " in expectation" if self.expected else ""
        return f"at least {self.factor:.4f} of the optimum{mean}. {self.theorem}" + (
            f" Needs {lines}." if lines else ""
        )


def guarantee(
    objective: AbstractObjective[Any],
    constraint: AbstractConstraint,
    solver: AbstractSolver,
    problem: Problem | None = None,
) -> Guarantee:
    """The largest factor of the optimum that a theorem promises for `solver`.

    Parameters
    ----------
    objective, constraint, solver
        What is combined. Only exactly the classes of this package are known: a subclass may do something else.
    problem
        Instance on which the assumptions are checked and the factor is sharpened by budget and curvature; its own
        constraint does not matter. Without one the factor is that of the worst instance that keeps the assumptions.

    Examples
    --------
    >>> round(guarantee(FacilityLocation(), Cardinality(), Greedy()).factor, 4)
    0.6321
    >>> guarantee(MaxMin(), Cardinality(), FarthestFirst()).factor, guarantee(LogDet(), Cardinality(), Greedy()).factor
    (0.25, 0.0)
    """
    if type(constraint) not in solver.constraints:
        return Guarantee(0.0, f"{type(solver).__name__} cannot keep the constraint {constraint!r}.")
    if type(solver) in (Exact, BruteForce):
        return Guarantee(1.0, "Proven optimal.", (Assumption("the status of the solution is OPTIMAL", None),))
    if type(solver) is LocalSearch:
        return _local_search(objective, constraint, solver, problem)
    if type(objective) is Saliency:
        modular = type(solver) in (Greedy, LazyGreedy) or (type(solver) is TopK and solver.signal == objective.signal)
        if modular and type(constraint) in (Cardinality, Partition):
            return Guarantee(
                1.0, "Greedy is optimal for modular functions over matroids (Edmonds, 1971, Math. Prog. 1)."
            )
    if type(objective) is MaxMin and type(constraint) is Cardinality and type(solver) in (Greedy, FarthestFirst):
        return _farthest_first(objective, solver, problem)
    if _is_greedy(solver, objective) or type(solver) in (StochasticGreedy, ThresholdGreedy):
        return _submodular(objective, constraint, solver, problem)
    return Guarantee(0.0, f"No theorem is known here for {type(solver).__name__} under {objective.name}.")


def _is_greedy(solver: AbstractSolver, objective: AbstractObjective[Any]) -> bool:
    if type(solver) is DppMap:
        return type(objective) is LogDet and solver.kernel in (None, objective)
    return type(solver) in (Greedy, LazyGreedy)


def _submodular(
    objective: AbstractObjective[Any], constraint: AbstractConstraint, solver: AbstractSolver, problem: Problem | None
) -> Guarantee:
    if not objective.submodular:
        return Guarantee(0.0, f"Theorems on greedy need submodularity, which {objective.name} does not have.")
    assumptions = (
        Assumption("submodular"),
        Assumption("worth 0 without tokens", None if problem is None else objective.value(problem, []) == 0.0),
        Assumption("monotone", objective.monotone or (None if problem is None else is_monotone(problem, objective))),
    )
    # Without a problem, only what the class declares counts: log-determinants are not monotone on most instances.
    if not (objective.monotone or assumptions[2].holds):
        return Guarantee(0.0, f"The factor 1 - 1/e needs a monotone function; {objective.name} is not.", assumptions)
    if assumptions[1].holds is False:
        return Guarantee(0.0, "The factor 1 - 1/e needs a function that is 0 without tokens.", assumptions)
    if type(constraint) is Partition:
        return Guarantee(0.5, "Greedy over a matroid (Fisher, Nemhauser and Wolsey, 1978).", assumptions)
    if type(constraint) is not Cardinality:
        return Guarantee(0.0, f"No theorem is known here for {constraint!r}.", assumptions)
    if isinstance(solver, (StochasticGreedy, ThresholdGreedy)):
        factor, chance = max(0.0, 1 - math.exp(-1) - solver.epsilon), isinstance(solver, StochasticGreedy)
        source = "Mirzasoleiman et al., 2015, Theorem 1" if chance else "Badanidiyuru and Vondrak, 2014"
        return Guarantee(factor, f"1 - 1/e - epsilon ({source}).", assumptions, expected=chance)
    if problem is None:
        return Guarantee(1 - math.exp(-1), "1 - 1/e (Nemhauser, Wolsey and Fisher, 1978).", assumptions)
    total, k = total_curvature(problem, objective), problem.budget
    by_total = (1 - (1 - total / k) ** k) / total if total > 0 else 1.0
    by_greedy = 1 - greedy_curvature(problem, objective) * (k - 1) / k
    kind = "total" if by_total >= by_greedy else "greedy"
    theorem = f"Greedy under the {kind} curvature of this instance (Conforti and Cornuejols, 1984)."
    return Guarantee(max(by_total, by_greedy), theorem, assumptions)


def _farthest_first(objective: MaxMin, solver: AbstractSolver, problem: Problem | None) -> Guarantee:
    anywhere = isinstance(solver, FarthestFirst) and solver.first is not None
    metric = Assumption(
        "the chord is a metric, as it is for every positive semidefinite similarity",
        None if problem is None else _semidefinite(problem),
    )
    several = Assumption("at least two tokens are kept", None if problem is None else problem.budget > 1)
    assumptions = (metric, several) if anywhere else (metric,)
    text = (
        "Farthest-first reaches half the largest smallest distance of a metric (Ravi, Rosenkrantz and Tayi, 1994): all "
        "tokens are within its value of the first k - 1 picks, so two of any k share one of these."
    )
    if any(item.holds is False for item in assumptions):
        return Guarantee(0.0, text, assumptions)
    if objective.distance == "chord":
        return Guarantee(0.5, text, assumptions)
    return Guarantee(0.25, f"{text} 1 - cos is half the squared chord, so of it a quarter is left.", assumptions)


def _local_search(
    objective: AbstractObjective[Any], constraint: AbstractConstraint, solver: LocalSearch, problem: Problem | None
) -> Guarantee:
    start = guarantee(objective, constraint, solver.start, problem)
    if not (objective.submodular and objective.monotone and type(constraint) is Cardinality):
        return start
    k = math.inf if problem is None else problem.budget
    factor = 0.5 if math.isinf(k) else k / (2 * k - 1)
    if start.factor >= factor:
        return start
    assumptions = (
        Assumption("submodular"),
        Assumption("worth 0 without tokens", None if problem is None else objective.value(problem, []) == 0.0),
        Assumption("monotone"),
        Assumption("no swap was left: neither the time limit nor `max_moves` ended the search", None),
    )
    if assumptions[1].holds is False:
        return start
    return Guarantee(factor, "k / (2 k - 1) at a swap optimum (Nemhauser, Wolsey and Fisher, 1978).", assumptions)


def _semidefinite(problem: Problem) -> bool:
    if problem.features is not None:
        return True
    values = np.linalg.eigvalsh(problem.similarity)
    return bool(values[0] >= -ROUNDING * max(1.0, values[-1]))


def last_gains(problem: Problem, objective: AbstractObjective[Any]) -> Float64Array:
    """Gain of each token over all the others [token]: the smallest that a submodular objective can ever give it."""
    n = problem.tokens
    if type(objective) is FacilityLocation:
        cover = coverage(problem).astype(np.float64)
        if n == 1:
            return cover[0].copy()
        best = np.argmax(cover, axis=1)
        lead = cover[np.arange(n), best] - np.partition(cover, n - 2, axis=1)[:, n - 2]
        return np.bincount(best, weights=lead, minlength=n).astype(np.float64)
    if type(objective) is LogDet:
        # det of the kernel without j over det of the kernel is entry j, j of its inverse.
        quality = objective.quality(problem)
        inverse = np.linalg.inv(problem.similarity + objective.ridge * np.eye(n))
        gains: Float64Array = 2.0 * np.log(quality) - np.log(np.diag(inverse))
        return gains
    everything = np.arange(n)
    full = objective.value(problem, everything)
    return np.array([full - objective.value(problem, np.delete(everything, token)) for token in range(n)])


def is_monotone(problem: Problem, objective: AbstractObjective[Any]) -> bool:
    """Whether no token ever lowers the value of a submodular `objective` on this problem: no last gain is negative.

    Raises
    ------
    ValueError
        If the objective is not submodular: last gains do not decide then.
    """
    _check_submodular(objective, "monotonicity is decided by last gains")
    return objective.monotone or bool(last_gains(problem, objective).min() >= 0.0)


def total_curvature(problem: Problem, objective: AbstractObjective[Any]) -> float:
    """c = 1 - min over tokens of last gain / first gain, in [0, 1] (Conforti and Cornuejols, 1984).

    0 for a modular function, 1 where the others make some token worthless. Greedy reaches (1 - (1 - c/k)^k) / c, which
    is at least (1 - e^-c) / c, of the optimum. Tokens without a first gain do not count.

    Raises
    ------
    ValueError
        If the objective is not monotone and submodular on this problem.
    """
    _check_curvature(problem, objective)
    return _curvature(objective.gains(objective.start(problem)), last_gains(problem, objective))


def greedy_curvature(problem: Problem, objective: AbstractObjective[Any]) -> float:
    """As the total curvature, over the tokens left after each of the first k - 1 picks of greedy, in [0, 1].

    Conforti and Cornuejols, 1984, Discrete Applied Mathematics 7(3). Greedy reaches 1 - c (k - 1) / k of the optimum: a
    pick gains at least 1 - c of the first gain of every token left, and the first pick all of it.

    Raises
    ------
    ValueError
        If the objective is not monotone and submodular on this problem.
    """
    _check_curvature(problem, objective)
    state = objective.start(problem)
    first = objective.gains(state).copy()
    worst = 0.0
    for _ in range(problem.budget - 1):
        state = objective.add(state, int(np.argmax(objective.gains(state))))
        left = np.isfinite(objective.gains(state))
        worst = max(worst, _curvature(first[left], objective.gains(state)[left]))
    return worst


def _curvature(first: Float64Array, last: Float64Array) -> float:
    counts = first > 0
    if not counts.any():
        return 0.0
    return float(np.clip(1.0 - (last[counts] / first[counts]).min(), 0.0, 1.0))


def submodularity_ratio(problem: Problem, objective: AbstractObjective[Any]) -> float:
    """Smallest (sum of single gains over L) / (joint gain over L) of k or fewer tokens S outside L, for |L| <= k.

    Das and Kempe, 2011, arXiv:1102.3975, Definition 2.3, over all L of at most k tokens, so that greedy reaches
    1 - e^-ratio of the optimum of a monotone function that is 0 without tokens (Theorem 3.2). 1 for submodular
    functions, capped there. Every pair of sets is looked at.

    Raises
    ------
    ValueError
        For more than 12 tokens, or if the objective is not monotone on this problem.
    """
    n, k = problem.tokens, problem.budget
    if n > MOST_TOKENS:
        raise ValueError(f"the exact submodularity ratio looks at 3^n pairs; tokens must be at most 12, got {n}")
    sets = np.arange(1 << n)
    values = np.array([objective.value(problem, [j for j in range(n) if s >> j & 1]) for s in sets.tolist()])
    sizes = np.array([s.bit_count() for s in sets.tolist()])
    noise = ROUNDING * max(1.0, float(np.abs(values).max()))
    gains = np.stack([np.where(sets >> j & 1, 0.0, values[sets | 1 << j] - values) for j in range(n)], axis=1)
    if gains.min() < -noise:
        raise ValueError(f"the submodularity ratio needs a monotone objective, got {objective.name}")
    members = (sets[:, None] >> np.arange(n) & 1).astype(np.float64)
    ratio = 1.0
    for base in sets[sizes <= k].tolist():
        added = sets[(sets & base == 0) & (sizes <= k) & (sizes > 0)]
        joint = values[added | base] - values[base]
        counts = joint > noise
        if counts.any():
            ratio = min(ratio, float((members[added[counts]] @ gains[base] / joint[counts]).min()))
    return ratio


def _check_submodular(objective: AbstractObjective[Any], why: str) -> None:
    if not objective.submodular:
        raise ValueError(f"{why} for submodular objectives only, got {objective.name}")


def _check_curvature(problem: Problem, objective: AbstractObjective[Any]) -> None:
    _check_submodular(objective, "curvature is defined")
    if not is_monotone(problem, objective):
        raise ValueError(f"curvature is defined for monotone objectives only; {objective.name} is not on {problem.id}")
