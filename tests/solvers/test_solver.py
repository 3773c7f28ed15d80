"""The frame around solvers: checks, seeds, statuses, and what it does with defective solvers."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from solvers import (
    AbstractSolver,
    BruteForce,
    Exact,
    FacilityLocation,
    Greedy,
    LogDet,
    MaxMin,
    Problem,
    PublishedRule,
    Random,
    Saliency,
    Solution,
    Status,
    TopK,
    UniformGrid,
    kernels,
)
from solvers.solver import Outcome


@pytest.mark.parametrize("seed", [-1, 1.5, True, None])
def test_seed_is_checked(seed, make_problem):
    with pytest.raises(ValueError, match="`seed` must be a non-negative integer, got"):
        Random().solve(make_problem(), FacilityLocation(), seed=seed)


@pytest.mark.parametrize("limit", [0, -1.0, math.nan])
def test_time_limit_is_checked(limit, make_problem):
    with pytest.raises(ValueError, match="`time_limit` must be positive seconds or None, got"):
        Greedy().solve(make_problem(), FacilityLocation(), time_limit=limit)


@pytest.mark.parametrize(
    ("solver", "objective", "reason"),
    [
        (TopK("clss"), FacilityLocation(), "unknown signal 'clss'; did you mean 'cls'"),
        (TopK("attention_map"), FacilityLocation(), "must have one value per token"),
        (Greedy(), Saliency("nothing like it"), "unknown signal 'nothing like it'; known: attention_map, cls"),
        (Greedy(), LogDet("signed"), "signal 'signed' must be positive to be a quality, got a minimum of -1"),
        (Exact(), MaxMin(), "Exact has methods for Saliency and FacilityLocation, got MaxMin"),
        (BruteForce(max_sets=219), FacilityLocation(), "3 of 12 tokens make 220 selections, more than 219"),
        (PublishedRule("fopru_rows"), FacilityLocation(), "keeps whole rows of 4 tokens; `budget` .* got 3"),
    ],
)
def test_reasons(solver, objective, reason, make_problem):
    base = make_problem()
    signals = dict(base.signals) | {"signed": -np.ones(12)}
    problem = Problem.from_features(base.features, 3, signals=signals, grid=base.grid, id="p")
    with pytest.raises(ValueError, match=f"cannot solve p: .*{reason}"):
        solver.solve(problem, objective)


def test_rules_name_the_evidence_they_lack():
    bare = Problem.from_similarity(np.eye(6), 2)
    assert "needs `features`" in PublishedRule("divprune").supports(bare, MaxMin())
    assert "needs `grid`" in PublishedRule("fopru_rows").supports(
        Problem.from_similarity(np.eye(6), 2, signals={"attention_map": np.ones((6, 6))}), MaxMin()
    )
    assert "needs signal 'attention'" in PublishedRule("fastervlm").supports(bare, MaxMin())
    assert UniformGrid().supports(bare, MaxMin()) == "the problem has no `grid` to spread tokens over"
    with pytest.raises(KeyError, match="unknown rule 'vispruna'; did you mean 'vispruner'"):
        PublishedRule("vispruna")


def test_published_rules_choose_as_their_functions_do(make_problem):
    from solvers.rules import cdpruner, fopru_rows, greedyprune, vispruner

    problem = make_problem(budget=4)
    cls, text = problem.signals["cls"], problem.signals["text"]
    expected = {
        PublishedRule(): vispruner(problem.features, cls, 4),
        PublishedRule("vispruner", {"important_ratio": 0.75}): vispruner(problem.features, cls, 4, 0.75),
        PublishedRule("cdpruner"): cdpruner(problem.features, problem.signals["relevance"], 4),
        PublishedRule("greedyprune"): greedyprune(problem.features, text.mean(axis=0), 4),
        PublishedRule("fopru_rows"): fopru_rows(problem.signals["attention_map"], 4, (3, 4)),
    }
    for solver, selected in expected.items():
        assert solver.solve(problem, FacilityLocation()).selected.tolist() == selected.tolist()
    queries = Problem.from_features(problem.features, 4, queries=text)
    assert PublishedRule("greedyprune").supports(queries, MaxMin()) is None


def test_names_show_what_is_not_default():
    assert Greedy().name == "Greedy"
    assert TopK("relevance").name == "TopK(signal=relevance)"
    assert PublishedRule("divprune").name == "divprune"
    assert PublishedRule("vispruner", {"important_ratio": 0.25}).name == "vispruner(important_ratio=0.25)"


@dataclasses.dataclass(frozen=True)
class Fixed(AbstractSolver):
    selected: tuple[int, ...] = (0, 1, 2)
    bound: float = math.inf

    def _solve(self, problem, objective, rng, time_limit):
        return Outcome(np.array(self.selected, dtype=np.int64), upper_bound=self.bound)


@pytest.mark.parametrize(
    ("selected", "text"),
    [
        ((0, 1), r"must hold exactly 3 tokens, got shape \(2,\)"),
        ((0, 1, 12), r"must lie in \[0, 11\], got \[0, 12\]"),
        ((0, -1, 2), r"must lie in \[0, 11\], got \[-1, 2\]"),
        ((0, 1, 1), "must not repeat a token, got 1 repeats"),
    ],
)
def test_a_forbidden_selection_is_a_defect_of_the_solver(selected, text, make_problem):
    with pytest.raises(RuntimeError, match=text):
        Fixed(selected).solve(make_problem(), FacilityLocation())


def test_a_bound_below_the_value_is_a_defect_of_the_solver(make_problem):
    with pytest.raises(RuntimeError, match=r"claims the bound 1\.0 but its selection is worth"):
        Fixed(bound=1.0).solve(make_problem(), FacilityLocation())


def test_the_frame_scores_the_selection(make_problem):
    problem = make_problem()
    solution = Fixed((5, 2, 9)).solve(problem, MaxMin())
    assert solution.selected.tolist() == [5, 2, 9]
    assert solution.value == MaxMin().value(problem, [2, 5, 9])
    assert solution.upper_bound == math.inf
    assert solution.relative_gap == math.inf
    assert "no bound" in solution.summary()


def test_nothing_is_compiled_inside_the_timed_region(make_problem):
    kernels.warm_up()
    loops = [
        item
        for module in (kernels.coverage, kernels.determinant, kernels.dispersion, kernels.lagrangian)
        for item in vars(module).values()
        if hasattr(item, "signatures")
    ]
    before = {loop: list(loop.signatures) for loop in loops}
    assert len(loops) >= 10
    problem = make_problem()
    for objective in (FacilityLocation(), LogDet(), MaxMin()):
        for solver in (Greedy(), Exact(), *(kind() for kind in (TopK, Random))):
            if solver.supports(problem, objective) is None:
                solver.solve(problem, objective)
    from solvers import DppMap, KDpp
    from solvers.bounds import upper_bound

    for solver in (DppMap(), KDpp()):
        solver.solve(problem, LogDet())
    for objective in (FacilityLocation(), LogDet(), MaxMin()):
        upper_bound(problem, objective)
    assert {loop: list(loop.signatures) for loop in loops} == before


def test_solution_refuses_the_impossible():
    good = {"selected": np.arange(2), "value": 1.0, "upper_bound": 2.0, "status": Status.FEASIBLE}
    good |= {"seconds": 0.1, "evaluations": 3}
    solution = Solution(**good)
    assert (solution.gap, solution.relative_gap) == (1.0, 1.0)
    assert solution.summary().startswith("1 with 2 tokens (bound 2, gap 100.0000%)")
    for change in ({"value": math.nan}, {"upper_bound": 0.5}, {"upper_bound": math.nan}, {"seconds": -1.0}):
        with pytest.raises(ValueError, match="must"):
            Solution(**(good | change))


def test_statuses_are_sentences():
    assert all(status.value.endswith(".") and status.value[0].isupper() for status in Status)
    assert Status.TIME_LIMIT.label == "time_limit"
