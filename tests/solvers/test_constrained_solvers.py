"""What solvers do under constraints: each selection is allowed and chosen by the solver's own rule, or refused."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from solvers import (
    SOLVERS,
    BruteForce,
    Cardinality,
    Conflict,
    DppMap,
    FacilityLocation,
    Forced,
    Greedy,
    LazyGreedy,
    LogDet,
    MaxMin,
    NonMaximumSuppression,
    Partition,
    Problem,
    Random,
    Saliency,
    StochasticGreedy,
    ThresholdGreedy,
    TopK,
    WholeRows,
)
from solvers.theory import guarantee

INSTANCES = [kind() for kind in SOLVERS]
TOKEN_BY_TOKEN = (Greedy, LazyGreedy, StochasticGreedy, ThresholdGreedy, TopK, Random, NonMaximumSuppression, DppMap)
MATROIDS = (Greedy(), LazyGreedy(), StochasticGreedy(), ThresholdGreedy(), TopK(), Random(), DppMap())


def drawn_problem(seed: int, constraint: str) -> Problem | None:
    """A random instance under a random constraint of that kind; None where the draw is infeasible."""
    rng = np.random.default_rng(seed)
    rows, columns = int(rng.integers(2, 5)), int(rng.integers(2, 5))
    n = rows * columns
    features = rng.normal(size=(3, 5))[rng.integers(0, 3, n)] + 0.5 * rng.normal(size=(n, 5))
    budget = int(rng.integers(1, n // 2 + 1))
    order = rng.permutation(n).tolist()
    parts = Partition(int(rng.integers(1, 4)), by=str(rng.choice(["rows", "columns", "groups"])))
    cut, far = sorted(rng.integers(0, n // 2 + 1, 2).tolist())
    rules = {
        "partition": parts,
        "forced": Forced(order[:cut], order[cut:far]),
        "forced in a partition": Forced(order[:cut], order[cut:far], within=parts),
        "rows": WholeRows(),
        "conflict": Conflict(float(rng.uniform(0.0, 1.0))),
    }
    if constraint == "rows":
        budget = columns * int(rng.integers(1, rows + 1))
    try:
        return Problem.from_features(
            features,
            budget,
            signals={"cls": rng.random(n), "attention_map": rng.random((n, n)), "text": rng.normal(size=(2, 5))},
            grid=(rows, columns),
            groups=rng.integers(0, 3, n),
            constraint=rules[constraint],
        )
    except ValueError:
        return None


@pytest.mark.parametrize("solver", INSTANCES, ids=lambda solver: solver.name)
@given(
    seed=st.integers(0, 10**6),
    constraint=st.sampled_from(["partition", "forced", "forced in a partition", "rows", "conflict"]),
    objective=st.sampled_from([FacilityLocation(), LogDet(), Saliency(), MaxMin()]),
)
def test_every_selection_is_allowed_or_refused_for_a_reason(solver, seed, constraint, objective):
    problem = drawn_problem(seed, constraint)
    # Enumeration is slow, and the only one to find out that no selection at all keeps the conflicts.
    if problem is None or (isinstance(solver, BruteForce) and (problem.tokens > 9 or constraint == "conflict")):
        return
    reason = solver.supports(problem, objective)
    if reason is None:
        solution = solver.solve(problem, objective, seed=seed)
        assert problem.constraint.violation(solution.selected, problem) is None
        assert solver.solve(problem, objective, seed=seed).selected.tolist() == solution.selected.tolist()
    else:
        own = {"got the constraint", "allows no other", "needs a submodular objective"}
        assert type(solver) not in TOKEN_BY_TOKEN or any(text in reason for text in own), reason


@pytest.mark.parametrize("solver", MATROIDS, ids=lambda solver: solver.name)
@pytest.mark.parametrize("constraint", ["partition", "forced", "forced in a partition"])
def test_matroids_are_never_refused(solver, constraint):
    feasible = [problem for seed in range(40) if (problem := drawn_problem(seed, constraint)) is not None]
    assert len(feasible) > 10
    assert all(solver.supports(problem, FacilityLocation()) is None for problem in feasible)


def by_definition(problem, score):
    """Tokens in pick order of a token-by-token rule, by asking the constraint about every completion."""
    sets = [
        set(s)
        for s in itertools.combinations(range(problem.tokens), problem.budget)
        if problem.constraint.violation(np.array(s), problem) is None
    ]
    selected = list(problem.constraint.required)
    while len(selected) < problem.budget:
        free = [t for t in range(problem.tokens) if t not in selected and any({*selected, t} <= s for s in sets)]
        selected.append(max(free, key=lambda token: (score(selected, token), -token)))
    return selected


@pytest.mark.parametrize(
    "constraint",
    [Partition((2, 1, 1)), Forced((7, 2), (0, 5)), Forced((3,), within=Partition(2, by="columns"))],
    ids=repr,
)
@pytest.mark.parametrize("seed", range(4))
def test_each_takes_the_best_of_those_that_lead_to_a_selection(constraint, seed, make_problem):
    problem = dataclasses.replace(make_problem(seed=seed), budget=4, constraint=constraint, id="p")
    cls = problem.signals["cls"]
    assert TopK().solve(problem, MaxMin()).selected.tolist() == by_definition(problem, lambda _, token: cls[token])
    for objective in (FacilityLocation(), LogDet("relevance")):
        greedy = by_definition(problem, lambda s, token: objective.value(problem, [*s, token]))  # noqa: B023
        assert Greedy().solve(problem, objective).selected.tolist() == greedy
        assert LazyGreedy().solve(problem, objective).selected.tolist() == greedy
        assert StochasticGreedy(1e-9).solve(problem, objective).selected.tolist() == greedy
        if isinstance(objective, LogDet):
            assert DppMap().solve(problem, objective).selected.tolist() == greedy
            assert DppMap(objective).solve(problem, MaxMin()).selected.tolist() == greedy


@pytest.mark.parametrize("seed", range(4))
def test_threshold_greedy_takes_nearly_the_best_token_allowed(seed, make_problem):
    rule, objective = Partition(2), FacilityLocation()
    problem = dataclasses.replace(make_problem(rows=5, seed=seed), budget=8, constraint=rule, id="p")
    state, selected = objective.start(problem), []
    for token in ThresholdGreedy(0.1).solve(problem, objective).selected.tolist():
        allowed = rule.extensions(np.array(selected, dtype=np.int64), problem)
        gains = objective.gains(state)
        assert gains[token] >= 0.9 * gains[allowed].max() - 1e-9
        state, selected = objective.add(state, token), [*selected, token]


def test_conflicts_leave_the_most_salient_tokens_that_go_together(make_problem):
    for seed in range(20):
        problem = dataclasses.replace(make_problem(rows=4, seed=seed), budget=3, constraint=Conflict(0.6), id="p")
        selected: list[int] = []
        for token in np.argsort(-problem.signals["cls"]).tolist():
            if len(selected) < 3 and all(problem.similarity[token, other] <= 0.6 for other in selected):
                selected.append(token)
        for solver in (TopK(), NonMaximumSuppression(threshold=0.6), Greedy(), LazyGreedy()):
            reason = solver.supports(problem, Saliency())
            if len(selected) == 3:
                assert solver.solve(problem, Saliency()).selected.tolist() == selected
            else:
                assert reason == (f"after {len(selected)} of 3 tokens Conflict(threshold=0.6) allows no other")


def test_a_solver_that_gets_stuck_says_where(make_problem):
    """A path of three tokens whose middle one is most salient: taking it blocks the two ends, which would do."""
    path = np.eye(3) + 0.95 * (np.eye(3, k=1) + np.eye(3, k=-1))
    problem = Problem.from_similarity(path, 2, signals={"cls": [0.2, 0.9, 0.1]}, constraint=Conflict(), id="path")
    assert BruteForce().solve(problem, Saliency()).selected.tolist() == [0, 2]
    for solver in (Greedy(), LazyGreedy(), TopK(), NonMaximumSuppression()):
        text = rf"{solver.name} cannot solve path: after 1 of 2 tokens Conflict\(threshold=0.9\) allows no other"
        with pytest.raises(ValueError, match=text):
            solver.solve(problem, Saliency())


@pytest.mark.parametrize("seed", range(5))
def test_whole_rows(seed, make_problem):
    problem = dataclasses.replace(make_problem(rows=4, columns=3, seed=seed), budget=6, constraint=WholeRows(), id="p")
    best = BruteForce().solve(problem, Saliency())
    for solver in (Greedy(), TopK()):
        solution = solver.solve(problem, Saliency())
        assert solution.value == pytest.approx(best.value)
        assert sorted(solution.selected.tolist()) == best.selected.tolist()
    for objective in (FacilityLocation(), LogDet()):
        first = max(range(4), key=lambda row: objective.value(problem, range(3 * row, 3 * row + 3)))
        solution = Greedy().solve(problem, objective)
        assert solution.selected.tolist()[:3] == [3 * first, 3 * first + 1, 3 * first + 2]
        assert solution.evaluations == 4 + 3


def test_random_is_uniform_over_what_it_says(make_problem):
    """Under forced tokens and whole rows over the allowed selections, under a partition over the next tokens."""
    rows = dataclasses.replace(make_problem(rows=4, columns=3), budget=6, constraint=WholeRows(), id="p")
    forced = dataclasses.replace(make_problem(), budget=3, constraint=Forced((4,), tuple(range(5, 12))), id="p")
    for problem in (rows, forced):
        counts: dict[tuple[int, ...], int] = {}
        for seed in range(600):
            chosen = tuple(sorted(Random().solve(problem, Saliency(), seed=seed).selected.tolist()))
            counts[chosen] = counts.get(chosen, 0) + 1
        # six selections, 100 expected, standard deviation 9.1: five of them.
        assert len(counts) == 6
        assert max(abs(count - 100) for count in counts.values()) < 46
    groups = [0, 1, 1, 1]
    problem = Problem.from_features(
        np.eye(4), 2, signals={"cls": np.ones(4)}, groups=groups, constraint=Partition(1, by="groups")
    )
    picks = [Random().solve(problem, Saliency(), seed=seed).selected.tolist() for seed in range(800)]
    assert abs(sum(pick[0] == 0 for pick in picks) - 200) < 62
    assert all(pick[1] == 0 for pick in picks if pick[0] != 0)
    after = [pick[1] for pick in picks if pick[0] == 0]
    assert set(after) == {1, 2, 3}


def test_loose_constraints_change_no_pick(make_problem):
    problem = dataclasses.replace(make_problem(), budget=4)
    for loose in (Partition(4), Forced(), Partition(12, by="columns")):
        bound = dataclasses.replace(problem, constraint=loose, id="p")
        for solver in MATROIDS:
            free = solver.solve(problem, LogDet(), seed=3).selected.tolist()
            assert solver.solve(bound, LogDet(), seed=3).selected.tolist() == free


def test_no_guarantee_is_borrowed_from_greedy():
    """Half the optimum under a partition is a theorem on exact greedy; sampled and threshold greedy are others."""
    assert guarantee(FacilityLocation(), Partition(2), Greedy()).factor == 0.5
    assert guarantee(FacilityLocation(), Partition(2), LazyGreedy()).factor == 0.5
    for solver in (StochasticGreedy(), ThresholdGreedy(), Random()):
        assert guarantee(FacilityLocation(), Partition(2), solver).factor == 0.0
    assert guarantee(Saliency(), Partition(2), TopK()).factor == 1.0
    assert guarantee(FacilityLocation(), Cardinality(), ThresholdGreedy(0.1)).factor > 0.5
