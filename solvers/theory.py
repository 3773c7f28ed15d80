"""What can be promised before solving: curvature, submodularity ratio, and which guarantee applies and why."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .baselines import FarthestFirst, TopK
from .constraints import AbstractConstraint, Cardinality, Forced, Partition
from .curvature import greedy_curvature as greedy_curvature
from .curvature import is_monotone as is_monotone
from .curvature import last_gains as last_gains
from .curvature import total_curvature as total_curvature
from .dpp import DppMap
from .exact import BruteForce, Exact
from .greedy import Greedy, LazyGreedy, StochasticGreedy, ThresholdGreedy
from .local_search import LocalSearch
from .objectives import AbstractObjective, LogDet, MaxMin, Saliency
from .problem import Problem
from .published import PublishedRule
from .solver import ROUNDING, AbstractSolver
from .submodularity import MOST_TOKENS as MOST_TOKENS
from .submodularity import SampledRatio as SampledRatio
from .submodularity import sampled_submodularity_ratio as sampled_submodularity_ratio
from .submodularity import submodularity_ratio as submodularity_ratio

DIVPRUNE, CDPRUNER = PublishedRule("divprune"), PublishedRule("cdpruner")
"""The rules that are a solver of this package under another name."""


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
    >>> from solvers import FacilityLocation
    >>> round(guarantee(FacilityLocation(), Cardinality(), Greedy()).factor, 4)
    0.6321
    >>> guarantee(MaxMin(), Cardinality(), FarthestFirst()).factor, guarantee(LogDet(), Cardinality(), Greedy()).factor
    (0.25, 0.0)
    """
    if type(constraint) not in solver.constraints:
        return Guarantee(0.0, f"{type(solver).__name__} cannot keep the constraint {constraint!r}.")
    if type(solver) is Exact:
        reason = solver.refusal(objective, constraint)
        if reason is not None:
            return Guarantee(0.0, f"{reason}.")
    if type(solver) in (Exact, BruteForce):
        return Guarantee(1.0, "Proven optimal.", (Assumption("the status of the solution is OPTIMAL", None),))
    if type(solver) is LocalSearch:
        return _local_search(objective, constraint, solver, problem)
    if type(objective) is Saliency:
        modular = type(solver) in (Greedy, LazyGreedy) or (type(solver) is TopK and solver.signal == objective.signal)
        if modular and type(constraint) in (Cardinality, Partition, Forced):
            return Guarantee(
                1.0, "Greedy is optimal for modular functions over matroids (Edmonds, 1971, Math. Prog. 1)."
            )
    farthest_first = type(solver) in (Greedy, FarthestFirst) or solver == DIVPRUNE
    if type(objective) is MaxMin and type(constraint) is Cardinality and farthest_first:
        return _farthest_first(objective, solver, problem)
    if type(objective) is LogDet and solver == CDPRUNER:
        return _cdpruner(objective, problem)
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
        return _by_ratio(objective, constraint, solver, problem)
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
    if type(constraint) is not Cardinality:
        return _over_matroid(constraint, solver, assumptions)
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


def _over_matroid(
    constraint: AbstractConstraint, solver: AbstractSolver, assumptions: tuple[Assumption, ...]
) -> Guarantee:
    rest = constraint.within if isinstance(constraint, Forced) else constraint
    if isinstance(solver, (StochasticGreedy, ThresholdGreedy)) or type(rest) not in (Cardinality, Partition):
        return Guarantee(0.0, f"No theorem is known here for {solver.name} under {constraint!r}.", assumptions)
    factor, source = 0.5, "Greedy over a matroid (Fisher, Nemhauser and Wolsey, 1978)"
    if type(rest) is Cardinality:
        factor, source = 1 - math.exp(-1), "1 - 1/e (Nemhauser, Wolsey and Fisher, 1978)"
    if rest is not constraint:
        # What the forced tokens are worth is in both values, and what is added to them is such a function again.
        source += ", for what is added to the tokens that must stay; these are in every selection"
    return Guarantee(factor, f"{source}.", assumptions)


def _by_ratio(
    objective: AbstractObjective[Any], constraint: AbstractConstraint, solver: AbstractSolver, problem: Problem | None
) -> Guarantee:
    """By the submodularity ratio of the instance, where it is small enough to have it exactly."""
    none = Guarantee(0.0, f"Theorems on greedy need submodularity, which {objective.name} does not have.")
    if not objective.monotone or type(constraint) is not Cardinality or type(solver) is not Greedy:
        return none
    if problem is None or problem.tokens > MOST_TOKENS or objective.value(problem, []) != 0.0:
        return none
    ratio = submodularity_ratio(problem, objective)
    assumptions = (
        Assumption("monotone"),
        Assumption("worth 0 without tokens"),
        Assumption(f"submodularity ratio {ratio:.4f} over all pairs of sets, positive", ratio > 0.0),
    )
    theorem = "1 - e^-ratio (Das and Kempe, 2011; Bian, Buhmann, Krause and Tschiatschek, 2017)."
    return Guarantee(max(0.0, 1 - math.exp(-ratio)), theorem, assumptions)


def _cdpruner(objective: LogDet, problem: Problem | None) -> Guarantee:
    text = (
        "CDPruner is greedy for a log-determinant, but the factor 1 - 1/e needs a monotone function. Its relevance is "
        "rescaled to at most 1, so every gain is the logarithm of at most 1: no token raises the value, the optimum "
        "is negative, and a factor of a negative number says nothing about how far a selection is from it."
    )
    holds = None if problem is None else is_monotone(problem, objective)
    note = f" {objective.name} is monotone here, but is not the function that the rule climbs." if holds else ""
    return Guarantee(0.0, text + note, (Assumption("submodular"), Assumption("monotone", holds)))


def _farthest_first(objective: MaxMin, solver: AbstractSolver, problem: Problem | None) -> Guarantee:
    anywhere = isinstance(solver, FarthestFirst) and solver.first is not None
    metric = Assumption(
        "the chord is a metric, as it is for every positive semidefinite similarity",
        None if problem is None else _semidefinite(problem),
    )
    several = Assumption("at least two tokens are kept", None if problem is None else problem.budget > 1)
    assumptions = (metric, several) if anywhere else (metric,)
    if solver == DIVPRUNE:
        same = None if problem is None else problem.features is not None and problem.metric == "cosine"
        assumptions = (*assumptions, Assumption("the distances are those of the rule, 1 - cos of the features", same))
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
