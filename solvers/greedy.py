"""Greedy selection: take the token with the largest marginal gain, k times; exact, lazy, sampled, by thresholds."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .arrays import Float64Array, IntArray
from .constraints import (
    AbstractConstraint,
    Cardinality,
    Conflict,
    Forced,
    IndependenceSystem,
    Partition,
    WholeRows,
    dead_end,
)
from .kernels.coverage import greedy_cover
from .kernels.dispersion import greedy_spread
from .objectives.facility_location import FacilityLocation, coverage_steps
from .objectives.max_min import MaxMin
from .objectives.objective import AbstractObjective, State
from .problem import Problem
from .solver import AbstractSolver, Outcome


@dataclass(frozen=True)
class Greedy(AbstractSolver):
    """Exact greedy with incrementally maintained float64 gains; ties go to the lowest index.

    For a monotone submodular objective the value is at least 1 - 1/e of the optimum (Nemhauser, Wolsey and Fisher,
    1978, Mathematical Programming 14). The objective's state updates all gains after each pick, which costs far less
    than recomputing them: for facility location about 5 n^2 operations in all, nearly independent of k.

    Under a partition, forced tokens or conflicts it takes the best token that is still allowed, after those that must
    stay. For monotone submodular objectives and a partition that is at least half the optimum (Fisher, Nemhauser and
    Wolsey, 1978, Mathematical Programming Study 8). Under conflicts it can get stuck before the budget is reached; then
    it does not support the problem. Whole rows are added by the gain of the row.
    """

    constraints: ClassVar[tuple[type[AbstractConstraint], ...]] = (Cardinality, Partition, Forced, Conflict, WholeRows)

    def _supports(self, problem: Problem, objective: AbstractObjective[Any]) -> str | None:
        return dead_end(problem, lambda rule: constrained_greedy(problem, objective, rule))

    def _prepare(self, problem: Problem, objective: AbstractObjective[Any]) -> None:
        if type(objective) is FacilityLocation and type(problem.constraint) is Cardinality:
            coverage_steps(problem)  # all that its loop looks at
        else:
            super()._prepare(problem, objective)

    def _solve(
        self, problem: Problem, objective: AbstractObjective[Any], rng: np.random.Generator, time_limit: float | None
    ) -> Outcome:
        rule = problem.constraint
        if isinstance(rule, WholeRows):
            return greedy_rows(problem, objective, rule)
        if type(rule) is Cardinality:
            picks = greedy_picks(problem, objective)
        else:
            assert isinstance(rule, IndependenceSystem)
            picks = constrained_greedy(problem, objective, rule)
        return Outcome(picks, evaluations=problem.budget * problem.tokens)


@dataclass(frozen=True)
class LazyGreedy(AbstractSolver):
    """The picks of `Greedy` from few values: a gain is recomputed only while its last known value could be the largest.

    Minoux, 1978, Optimization Techniques, LNCIS 7. Gains are differences of `objective.value`, so it needs nothing but
    values, and `evaluations` counts those made. The picks are those of `Greedy` exactly where values are exact
    (facility location), else up to gains that differ by rounding, also under a partition, forced tokens or conflicts:
    what may not join once may not join later. Objectives of this package maintain all gains at once, which is faster in
    seconds; what this solver shows is how many evaluations laziness saves.
    """

    constraints: ClassVar[tuple[type[AbstractConstraint], ...]] = (Cardinality, Partition, Forced, Conflict)

    def _supports(self, problem: Problem, objective: AbstractObjective[Any]) -> str | None:
        return needs_submodular(self, objective, "an old gain bounds the new one only then") or dead_end(
            problem, lambda rule: _lazy_picks(problem, objective, rule)
        )

    def _solve(
        self, problem: Problem, objective: AbstractObjective[Any], rng: np.random.Generator, time_limit: float | None
    ) -> Outcome:
        assert isinstance(problem.constraint, IndependenceSystem)
        return _lazy_picks(problem, objective, problem.constraint)


@dataclass(frozen=True)
class StochasticGreedy(AbstractSolver):
    """Greedy over a fresh random sample of the remaining tokens at each pick; ties go to the lowest index.

    Mirzasoleiman et al., 2015, arXiv:1409.7938, Algorithm 1: samples of ceil(n / k ln(1 / epsilon)) tokens reach
    1 - 1/e - epsilon of the optimum of a monotone submodular objective in expectation. Objectives of this package
    maintain all gains at once, so the sample saves evaluations but no seconds. Under a partition or forced tokens the
    sample is of the tokens still allowed, and that factor is not promised.

    Parameters
    ----------
    epsilon
        Loss in the guarantee, in (0, 1).
    """

    epsilon: float = 0.1
    deterministic: ClassVar[bool] = False
    constraints: ClassVar[tuple[type[AbstractConstraint], ...]] = (Cardinality, Partition, Forced)

    def __post_init__(self) -> None:
        _check_epsilon(self.epsilon)

    def _solve(
        self, problem: Problem, objective: AbstractObjective[Any], rng: np.random.Generator, time_limit: float | None
    ) -> Outcome:
        wanted = math.ceil(problem.tokens / problem.budget * math.log(1.0 / self.epsilon))
        rule = problem.constraint
        assert isinstance(rule, IndependenceSystem)
        state = objective.start(problem)
        selected = np.empty(problem.budget, dtype=np.int64)
        evaluations = 0
        for pick in range(problem.budget):
            free = rule.candidates(selected[:pick], problem)
            sample = np.sort(rng.choice(free, size=min(wanted, free.size), replace=False))
            selected[pick] = sample[np.argmax(objective.gains(state)[sample])]
            state = objective.add(state, int(selected[pick]))
            evaluations += sample.size
        return Outcome(selected, evaluations=evaluations)


@dataclass(frozen=True)
class ThresholdGreedy(AbstractSolver):
    """Takes every token whose gain reaches a threshold that shrinks by 1 - epsilon after each pass over the tokens.

    Badanidiyuru and Vondrak, 2014, SODA, Algorithm 1: at least 1 - 1/e - epsilon of the optimum of a monotone
    submodular objective. Passes run in index order, from the largest gain d of a single token down to epsilon d / n.
    Deviation: places left then, which the paper leaves empty, go to exact greedy, so exactly k tokens are kept. Under a
    partition or forced tokens it passes over the tokens still allowed, and that factor is not promised.

    Parameters
    ----------
    epsilon
        Relative step of the threshold and loss in the guarantee, in (0, 1).
    """

    epsilon: float = 0.1
    constraints: ClassVar[tuple[type[AbstractConstraint], ...]] = (Cardinality, Partition, Forced)

    def __post_init__(self) -> None:
        _check_epsilon(self.epsilon)

    def _supports(self, problem: Problem, objective: AbstractObjective[Any]) -> str | None:
        return needs_submodular(self, objective, "a token below a threshold stays below it only then")

    def _solve(
        self, problem: Problem, objective: AbstractObjective[Any], rng: np.random.Generator, time_limit: float | None
    ) -> Outcome:
        rule = problem.constraint
        assert isinstance(rule, IndependenceSystem)
        selected = list(rule.required)
        state = objective.start(problem)
        for token in selected:
            state = objective.add(state, token)
        gains = _allowed_gains(problem, objective, state, selected)
        threshold = largest = float(gains.max())
        evaluations = problem.tokens
        while len(selected) < problem.budget and threshold > 0 and threshold >= self.epsilon * largest / problem.tokens:
            token = -1
            while len(selected) < problem.budget:
                reaching = np.flatnonzero(gains[token + 1 :] >= threshold)
                if reaching.size == 0:
                    break
                token += 1 + int(reaching[0])
                state = objective.add(state, token)
                selected.append(token)
                gains = _allowed_gains(problem, objective, state, selected)
            evaluations += problem.tokens
            threshold *= 1.0 - self.epsilon
        while len(selected) < problem.budget:
            selected.append(int(np.argmax(gains)))
            state = objective.add(state, selected[-1])
            gains = _allowed_gains(problem, objective, state, selected)
            evaluations += problem.tokens
        return Outcome(np.array(selected, dtype=np.int64), evaluations=evaluations)


def greedy_picks(problem: Problem, objective: AbstractObjective[Any]) -> IntArray:
    """Tokens [budget] of exact greedy, in pick order, whatever the constraint of the problem."""
    if type(objective) in WHOLE_LOOPS:
        return WHOLE_LOOPS[type(objective)](problem, objective)
    state = objective.start(problem)
    selected = np.empty(problem.budget, dtype=np.int64)
    for pick in range(problem.budget):
        selected[pick] = np.argmax(objective.gains(state))
        state = objective.add(state, int(selected[pick]))
    return selected


def _spread(problem: Problem, objective: MaxMin) -> IntArray:
    state = objective.start(problem)
    return greedy_spread(state.distances, state.nearest, problem.budget)


WHOLE_LOOPS: dict[type[AbstractObjective[Any]], Callable[[Problem, Any], IntArray]] = {
    FacilityLocation: lambda problem, objective: greedy_cover(coverage_steps(problem), problem.budget),
    MaxMin: _spread,
}
"""For exactly these objectives one compiled loop makes all picks, the same ones."""


def constrained_greedy(problem: Problem, objective: AbstractObjective[Any], rule: IndependenceSystem) -> IntArray:
    """Tokens [budget] in pick order: those that must stay, then the best of those still allowed.

    Raises
    ------
    StuckError
        If none is allowed while places are left, which happens under conflicts only.
    """
    state, selected = objective.start(problem), np.empty(problem.budget, dtype=np.int64)
    for pick in range(problem.budget):
        free = rule.candidates(selected[:pick], problem)
        selected[pick] = free[np.argmax(objective.gains(state)[free])]
        state = objective.add(state, int(selected[pick]))
    return selected


def greedy_rows(problem: Problem, objective: AbstractObjective[Any], rule: WholeRows) -> Outcome:
    """Whole rows of the grid, one after the other by their gain; ties go to the upper one."""
    rows = rule.rows(problem)
    left = list(range(len(rows)))
    selected: list[int] = []
    evaluations = 0
    while len(selected) < problem.budget:
        values = [objective.value(problem, [*selected, *rows[row].tolist()]) for row in left]
        evaluations += len(values)
        selected += rows[left.pop(int(np.argmax(values)))].tolist()
    return Outcome(np.array(selected, dtype=np.int64), evaluations=evaluations)


def _lazy_picks(problem: Problem, objective: AbstractObjective[Any], rule: IndependenceSystem) -> Outcome:
    selected = list(rule.required)
    allowed = rule.extensions(np.array(selected, dtype=np.int64), problem)
    value = objective.value(problem, selected)
    # (-gain, token, number of tokens selected when it was computed): the heap breaks ties as Greedy does.
    heap = [
        (value - objective.value(problem, [*selected, token]), token, len(selected))
        for token in np.flatnonzero(allowed).tolist()
    ]
    heapq.heapify(heap)
    evaluations = len(heap) + 1
    while len(selected) < problem.budget:
        while heap and not allowed[heap[0][1]]:
            heapq.heappop(heap)
        if not heap:
            rule.candidates(np.array(selected, dtype=np.int64), problem)  # tells that there is none
        _, token, seen = heap[0]
        if seen == len(selected):
            heapq.heappop(heap)
            selected.append(token)
            value = objective.value(problem, selected)
            allowed = rule.extensions(np.array(selected, dtype=np.int64), problem)
        else:
            gain = objective.value(problem, [*selected, token]) - value
            heapq.heapreplace(heap, (-gain, token, len(selected)))
        evaluations += 1
    return Outcome(np.array(selected, dtype=np.int64), evaluations=evaluations)


def _allowed_gains(
    problem: Problem, objective: AbstractObjective[State], state: State, selected: list[int]
) -> Float64Array:
    """Gains [token], -inf for tokens that may not join `selected`."""
    rule = problem.constraint
    assert isinstance(rule, IndependenceSystem)
    allowed = rule.extensions(np.array(selected, dtype=np.int64), problem)
    return np.where(allowed, objective.gains(state), -np.inf)


def needs_submodular(solver: AbstractSolver, objective: AbstractObjective[Any], why: str) -> str | None:
    """None for a submodular objective, else the reason why `solver` refuses it."""
    if objective.submodular:
        return None
    return f"{type(solver).__name__} needs a submodular objective, got {objective.name}; {why}"


def _check_epsilon(epsilon: float) -> None:
    if not 0 < epsilon < 1:
        raise ValueError(f"`epsilon` must be in (0, 1), got {epsilon}")
