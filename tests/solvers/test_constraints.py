"""Constraints: what they allow, what they refuse, and who can keep them."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from solvers import (
    OBJECTIVES,
    SOLVERS,
    BruteForce,
    Cardinality,
    Conflict,
    FacilityLocation,
    Forced,
    Greedy,
    Partition,
    Problem,
    PublishedRule,
    Random,
    Saliency,
    TopK,
    UniformGrid,
    WholeRows,
    compare,
)
from solvers.bounds import upper_bound

GROUPS = [0, 0, 0, 0, 0, 7, 7, 7, 7, -2, -2, -2]


def constrained(problem, constraint, budget=4):
    return dataclasses.replace(problem, constraint=constraint, budget=budget, groups=GROUPS, id="p")


CONSTRAINTS = {
    Partition(2): lambda s: max(np.bincount([i // 4 for i in s])) <= 2,
    Partition((0, 1, 3)): lambda s: np.all(np.bincount([i // 4 for i in s], minlength=3) <= (0, 1, 3)),
    Partition(1, by="columns"): lambda s: len({i % 4 for i in s}) == len(s),
    Partition((1, 2, 1), by="groups"): lambda s: [sum(GROUPS[i] == g for i in s) for g in (-2, 0, 7)] == [1, 2, 1],
    Forced(kept=(7, 2), dropped=(0, 5)): lambda s: {2, 7} <= set(s) and not {0, 5} & set(s),
    Forced(kept=(3,), within=Partition(2)): lambda s: 3 in s and max(np.bincount([i // 4 for i in s])) <= 2,
    WholeRows(): lambda s: len({i // 4 for i in s}) == 1,
}
each_constraint = pytest.mark.parametrize("constraint", CONSTRAINTS, ids=repr)


@each_constraint
def test_violations_are_exactly_the_forbidden_selections(constraint, make_problem):
    problem = constrained(make_problem(), constraint)
    allowed = 0
    for selected in itertools.combinations(range(12), 4):
        violation = constraint.violation(np.array(selected), problem)
        assert (violation is None) == bool(CONSTRAINTS[constraint](selected)), violation
        allowed += violation is None
    assert 0 < allowed < 495
    assert "must hold exactly 4 tokens" in constraint.violation(np.arange(3), problem)


@each_constraint
def test_extensions_are_exactly_the_tokens_that_lead_to_a_selection(constraint, make_problem):
    if isinstance(constraint, WholeRows):
        assert not hasattr(constraint, "extensions")
        return
    problem = constrained(make_problem(), constraint)
    sets = [set(s) for s in itertools.combinations(range(12), 4) if CONSTRAINTS[constraint](s)]
    rng = np.random.default_rng(0)
    for _ in range(20):
        whole = rng.permutation(sorted(sets[rng.integers(len(sets))])).tolist()
        # What must stay comes first, as greedy has it.
        part = [*constraint.required, *(i for i in whole if i not in constraint.required)]
        part = part[: rng.integers(len(constraint.required), 4)]
        expected = [i not in part and any({*part, i} <= s for s in sets) for i in range(12)]
        assert constraint.extensions(np.array(part, dtype=np.int64), problem).tolist() == expected


@each_constraint
@pytest.mark.parametrize("kind", OBJECTIVES, ids=lambda kind: kind.__name__)
def test_solvers_keep_the_constraint_or_say_why_not(constraint, kind, make_problem):
    problem, objective = constrained(make_problem(), constraint), kind()
    best = BruteForce().solve(problem, objective)
    assert CONSTRAINTS[constraint](best.selected.tolist())
    assert upper_bound(problem, objective, values=[best.value]).value >= best.value - 1e-12
    for solver in (Greedy(), TopK(), UniformGrid(), PublishedRule("fopru_rows")):
        reason = solver.supports(problem, objective)
        if reason is None:
            solution = solver.solve(problem, objective)
            assert CONSTRAINTS[constraint](solution.selected.tolist())
            assert solution.value <= best.value
        else:
            assert "selects under Cardinality" in reason
            assert reason.endswith(f"got the constraint {constraint!r}")
    assert Greedy().supports(problem, objective) is TopK().supports(problem, objective) is None
    assert UniformGrid().supports(problem, objective) is not None
    assert (PublishedRule("fopru_rows").supports(problem, objective) is None) == isinstance(constraint, WholeRows)


@each_constraint
def test_saliency_under_a_matroid_is_solved_and_bounded_exactly(constraint, make_problem):
    for seed in range(5):
        problem = constrained(make_problem(seed=seed), constraint)
        best = BruteForce().solve(problem, Saliency())
        if not isinstance(constraint, WholeRows):
            assert Greedy().solve(problem, Saliency()).value == best.value
            assert upper_bound(problem, Saliency()) == (best.value, "k largest")
        assert upper_bound(problem, Saliency()).value >= best.value


@pytest.mark.parametrize("seed", range(6))
def test_greedy_keeps_half_the_optimum_under_a_partition(seed, make_problem):
    problem = constrained(make_problem(seed=seed), Partition(1, by="columns"))
    best = BruteForce().solve(problem, FacilityLocation()).value
    assert Greedy().solve(problem, FacilityLocation()).value >= best / 2


def test_loose_constraints_change_no_pick(make_problem):
    problem = make_problem()
    free = Greedy().solve(dataclasses.replace(problem, budget=4), FacilityLocation()).selected.tolist()
    for constraint in (Partition(4), Forced(), Partition(12, by="groups")):
        assert Greedy().solve(constrained(problem, constraint), FacilityLocation()).selected.tolist() == free


def test_forced_tokens_come_first(make_problem):
    problem = constrained(make_problem(), Forced(kept=(9, 1)))
    assert Greedy().solve(problem, FacilityLocation()).selected.tolist()[:2] == [1, 9]
    assert Forced(kept=(9, 1)) == Forced(kept=(1, 9))


def test_conflicts_exclude_similar_pairs(make_problem):
    problem = make_problem()
    similarity = problem.similarity
    threshold = float(np.quantile(similarity[np.triu_indices(12, 1)], 0.6))
    problem = constrained(problem, Conflict(threshold))
    best = BruteForce().solve(problem, Saliency())
    allowed = [
        s
        for s in itertools.combinations(range(12), 4)
        if all(similarity[i, j] <= threshold for i, j in itertools.combinations(s, 2))
    ]
    assert best.value == max(Saliency().value(problem, s) for s in allowed)
    i, j = np.argwhere(np.triu(similarity > threshold, 1))[0]
    others = [token for token in range(12) if token not in (i, j)][:2]
    assert f"tokens {i} and {j} conflict: similarity" in Conflict(threshold).violation(
        np.array([i, j, *others]), problem
    )
    reason = Random().supports(problem, Saliency())
    assert "Random selects under Cardinality, Partition, Forced, WholeRows only" in reason


def test_every_solver_answers_for_every_constraint(make_problem):
    """A row of `compare` each: a solution that keeps the constraint, or the reason."""
    for constraint, keeps in CONSTRAINTS.items():
        problem = constrained(make_problem(), constraint)
        frame = compare(problem, [kind() for kind in SOLVERS], Saliency(), time_limit=5, progress=False).frame
        for row in frame.itertuples():
            if row.status == "unsupported":
                assert "got the constraint" in row.reason
            else:
                assert keeps(row.selected)
        assert set(frame.solver[frame.status != "unsupported"]) >= {"BruteForce"}


@pytest.mark.parametrize(
    ("constraint", "budget", "reason"),
    [
        (Partition(1), 4, "the rows have room for 3 tokens, fewer than the budget 4"),
        (Partition((5, 5)), 4, r"`capacities` must be one number or one for each of 3 rows, got \(5, 5\)"),
        (Partition((9, 0, 0), by="groups"), 4, "the groups have room for 3 tokens, fewer than the budget 4"),
        (Forced(kept=(12,)), 4, r"forced tokens must lie in \[0, 11\], got \[12, 12\]"),
        (Forced(dropped=(-1,)), 4, r"forced tokens must lie in \[0, 11\], got \[-1, -1\]"),
        (Forced(kept=(1, 2, 3)), 2, "3 tokens must stay, more than the budget 2"),
        (Forced(dropped=range(9)), 4, "3 tokens may stay, fewer than the budget 4"),
        (Forced(dropped=range(4), within=Partition(2)), 5, "the rows have room for 4 tokens, fewer than"),
        (
            Forced(kept=(0, 1), within=Partition(1)),
            3,
            "of the tokens that must stay, part 0 of the rows has room for 1",
        ),
        (WholeRows(), 6, "whole rows need a `budget` that is a multiple of 4, got 6"),
        (Conflict(-1.0), 2, "at a threshold of -1 all tokens fall into 1 groups of conflicting ones, fewer than the"),
    ],
    ids=repr,
)
def test_infeasible_problems_are_refused(constraint, budget, reason, make_problem):
    with pytest.raises(ValueError, match=rf"the problem is infeasible under {type(constraint).__name__}\(.*{reason}"):
        constrained(make_problem(), constraint, budget)


def test_a_budget_that_the_constraint_cannot_hold_is_refused_later_too(make_problem):
    problem = constrained(make_problem(), Partition(2))
    assert problem.with_budget(6).budget == 6
    with pytest.raises(ValueError, match="the rows have room for 6 tokens, fewer than the budget 7"):
        problem.with_budget(7)


def test_constraints_need_their_evidence(make_problem):
    bare = dataclasses.replace(make_problem(), grid=None, groups=None)
    for constraint, text in ((Partition(), "needs `grid`"), (Partition(by="groups"), "needs `groups`")):
        with pytest.raises(ValueError, match=text):
            dataclasses.replace(bare, constraint=constraint)
    with pytest.raises(ValueError, match="whole rows need `grid`"):
        dataclasses.replace(bare, constraint=WholeRows())


@pytest.mark.parametrize(
    ("build", "error", "text"),
    [
        (lambda: Partition(-1), ValueError, "`capacities` must be one or more integers of at least 0, got -1"),
        (lambda: Partition(()), ValueError, r"`capacities` must be one or more integers of at least 0, got \(\)"),
        (lambda: Partition((1, 2.5)), ValueError, "`capacities` must be one or more integers"),
        (lambda: Partition(by="row"), KeyError, "unknown partition 'row'; did you mean 'rows'"),
        (lambda: Forced(kept=(1,), dropped=(2, 1)), ValueError, "must name no token twice, got 1"),
        (lambda: Forced(kept=(1.5,)), ValueError, r"`kept` must hold token indices, got \(1.5,\)"),
        (
            lambda: Forced(within=WholeRows()),
            ValueError,
            "`within` must be a Cardinality or a Partition, got W",
        ),
        (lambda: Conflict(np.nan), ValueError, "`threshold` must be finite, got nan"),
    ],
)
def test_parameters_are_checked(build, error, text):
    with pytest.raises(error, match=text):
        build()


def test_a_problem_takes_constraints_only(make_problem):
    with pytest.raises(ValueError, match=r"`constraint` must be a constraint of `solvers\.constraints`, got 'rows'"):
        dataclasses.replace(make_problem(), constraint="rows")


def test_constraints_are_part_of_the_data_of_a_problem(make_problem):
    prints = {constrained(make_problem(), rule).fingerprint for rule in (*CONSTRAINTS, Cardinality(), Conflict(0.99))}
    assert len(prints) == len(CONSTRAINTS) + 2


def test_brute_force_says_when_nothing_is_allowed(make_problem):
    """In a ring of five tokens that conflict with their neighbours two can stay, a third cannot; no cover shows it."""
    ring = np.eye(5) + 0.95 * (np.roll(np.eye(5), 1, axis=0) + np.roll(np.eye(5), -1, axis=0))
    problem = Problem.from_similarity(ring, 3, signals={"cls": np.ones(5)}, constraint=Conflict(0.9), id="ring")
    with pytest.raises(ValueError, match=r"no selection of ring keeps Conflict\(threshold=0.9\)"):
        BruteForce().solve(problem, Saliency())
