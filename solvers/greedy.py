"""Greedy selection: take the token with the largest marginal gain, k times; exact, lazy, sampled, by thresholds."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .arrays import IntArray
from .constraints import AbstractConstraint, Cardinality, Forced, MatroidConstraint, Partition
from .objectives.objective import AbstractObjective
from .problem import Problem
from .solver import AbstractSolver, Outcome


@dataclass(frozen=True)
class Greedy(AbstractSolver):
    """Exact greedy with incrementally maintained float64 gains; ties go to the lowest index.

    For a monotone submodular objective the value is at least 1 - 1/e of the optimum (Nemhauser, Wolsey and Fisher,
    1978, Mathematical Programming 14). The objective's state updates all gains after each pick, which costs far less
    than recomputing them: for facility location about 5 n^2 operations in all, nearly independent of k.

    Under a partition or forced tokens it takes the best token that is still allowed, after those that must stay. For
    monotone submodular objectives and a partition that is at least half the optimum (Fisher, Nemhauser and Wolsey,
    1978, Mathematical Programming Study 8).
    """

    constraints: ClassVar[tuple[type[AbstractConstraint], ...]] = (Cardinality, Partition, Forced)

    def _solve(
        self, problem: Problem, objective: AbstractObjective[Any], rng: np.random.Generator, time_limit: float | None
    ) -> Outcome:
        rule = problem.constraint
        if type(rule) is Cardinality:
            picks = greedy_picks(problem, objective)
        else:
            assert isinstance(rule, MatroidConstraint)
            picks = matroid_greedy(problem, objective, rule)
        return Outcome(picks, evaluations=problem.budget * problem.tokens)


@dataclass(frozen=True)
class LazyGreedy(AbstractSolver):
    """The picks of `Greedy` from few values: a gain is recomputed only while its last known value could be the largest.

    Minoux, 1978, Optimization Techniques 7. Gains are differences of `objective.value`, so it needs nothing but values,
    and `evaluations` counts those made. The picks are those of `Greedy` exactly where values are exact (facility
    location), else up to gains that differ by rounding. Objectives of this package maintain all gains at once, which is
    faster in seconds; what this solver shows is how many evaluations laziness saves.
    """

    def _supports(self, problem: Problem, objective: AbstractObjective[Any]) -> str | None:
        return needs_submodular(self, objective, "an old gain bounds the new one only then")

    def _solve(
        self, problem: Problem, objective: AbstractObjective[Any], rng: np.random.Generator, time_limit: float | None
    ) -> Outcome:
        selected: list[int] = []
        value = objective.value(problem, selected)
        # (-gain, token, number of tokens selected when it was computed): the heap breaks ties as Greedy does.
        heap = [(value - objective.value(problem, [token]), token, 0) for token in range(problem.tokens)]
        heapq.heapify(heap)
        evaluations = problem.tokens + 1
        while len(selected) < problem.budget:
            _, token, seen = heap[0]
            if seen == len(selected):
                heapq.heappop(heap)
                selected.append(token)
                value = objective.value(problem, selected)
            else:
                gain = objective.value(problem, [*selected, token]) - value
                heapq.heapreplace(heap, (-gain, token, len(selected)))
            evaluations += 1
        return Outcome(np.array(selected, dtype=np.int64), evaluations=evaluations)


@dataclass(frozen=True)
class StochasticGreedy(AbstractSolver):
    """Greedy over a fresh random sample of the remaining tokens at each pick; ties go to the lowest index.

    Mirzasoleiman et al., 2015, arXiv:1409.7938, Algorithm 1: samples of ceil(n / k ln(1 / epsilon)) tokens reach
    1 - 1/e - epsilon of the optimum of a monotone submodular objective in expectation. Objectives of this package
    maintain all gains at once, so the sample saves evaluations but no seconds.

    Parameters
    ----------
    epsilon
        Loss in the guarantee, in (0, 1).
    """

    epsilon: float = 0.1
    deterministic: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check_epsilon(self.epsilon)

    def _solve(
        self, problem: Problem, objective: AbstractObjective[Any], rng: np.random.Generator, time_limit: float | None
    ) -> Outcome:
        wanted = math.ceil(problem.tokens / problem.budget * math.log(1.0 / self.epsilon))
        state = objective.start(problem)
        remaining = np.arange(problem.tokens)
        selected = np.empty(problem.budget, dtype=np.int64)
        evaluations = 0
        for pick in range(problem.budget):
            sample = np.sort(rng.choice(remaining, size=min(wanted, remaining.size), replace=False))
            selected[pick] = sample[np.argmax(objective.gains(state)[sample])]
            state = objective.add(state, int(selected[pick]))
            remaining = remaining[remaining != selected[pick]]
            evaluations += sample.size
        return Outcome(selected, evaluations=evaluations)


@dataclass(frozen=True)
class ThresholdGreedy(AbstractSolver):
    """Takes every token whose gain reaches a threshold that shrinks by 1 - epsilon after each pass over the tokens.

    Badanidiyuru and Vondrak, 2014, SODA, Algorithm 1: at least 1 - 1/e - epsilon of the optimum of a monotone
    submodular objective. Passes run in index order, from the largest gain d of a single token down to epsilon d / n.
    Deviation: places left then, which the paper leaves empty, go to exact greedy, so exactly k tokens are kept.

    Parameters
    ----------
    epsilon
        Relative step of the threshold and loss in the guarantee, in (0, 1).
    """

    epsilon: float = 0.1

    def __post_init__(self) -> None:
        _check_epsilon(self.epsilon)

    def _supports(self, problem: Problem, objective: AbstractObjective[Any]) -> str | None:
        return needs_submodular(self, objective, "a token below a threshold stays below it only then")

    def _solve(
        self, problem: Problem, objective: AbstractObjective[Any], rng: np.random.Generator, time_limit: float | None
    ) -> Outcome:
        state = objective.start(problem)
        selected: list[int] = []
        threshold = largest = float(objective.gains(state).max())
        evaluations = problem.tokens
        while len(selected) < problem.budget and threshold > 0 and threshold >= self.epsilon * largest / problem.tokens:
            token = -1
            while len(selected) < problem.budget:
                reaching = np.flatnonzero(objective.gains(state)[token + 1 :] >= threshold)
                if reaching.size == 0:
                    break
                token += 1 + int(reaching[0])
                state = objective.add(state, token)
                selected.append(token)
            evaluations += problem.tokens
            threshold *= 1.0 - self.epsilon
        while len(selected) < problem.budget:
            selected.append(int(np.argmax(objective.gains(state))))
            state = objective.add(state, selected[-1])
            evaluations += problem.tokens
        return Outcome(np.array(selected, dtype=np.int64), evaluations=evaluations)


def greedy_picks(problem: Problem, objective: AbstractObjective[Any]) -> IntArray:
    """Tokens [budget] of exact greedy, in pick order."""
    state = objective.start(problem)
    selected = np.empty(problem.budget, dtype=np.int64)
    for pick in range(problem.budget):
        selected[pick] = np.argmax(objective.gains(state))
        state = objective.add(state, int(selected[pick]))
    return selected


def matroid_greedy(problem: Problem, objective: AbstractObjective[Any], rule: MatroidConstraint) -> IntArray:
    """Tokens [budget] in pick order: those that must stay, then the best of those still allowed."""
    state, selected = objective.start(problem), np.empty(problem.budget, dtype=np.int64)
    for pick in range(problem.budget):
        if pick < len(rule.required):
            selected[pick] = rule.required[pick]
        else:
            allowed = rule.extensions(selected[:pick], problem)
            selected[pick] = np.argmax(np.where(allowed, objective.gains(state), -np.inf))
        state = objective.add(state, int(selected[pick]))
    return selected


def needs_submodular(solver: AbstractSolver, objective: AbstractObjective[Any], why: str) -> str | None:
    """None for a submodular objective, else the reason why `solver` refuses it."""
    if objective.submodular:
        return None
    return f"{type(solver).__name__} needs a submodular objective, got {objective.name}; {why}"


def _check_epsilon(epsilon: float) -> None:
    if not 0 < epsilon < 1:
        raise ValueError(f"`epsilon` must be in (0, 1), got {epsilon}")
