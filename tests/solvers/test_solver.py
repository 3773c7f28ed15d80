"""The frame around solvers: checks, seeds, statuses, and what it does with defective solvers."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from solvers import (
    OBJECTIVES,
    RULES,
    AbstractObjective,
    AbstractSolver,
    BruteForce,
    Exact,
    FacilityLocation,
    Greedy,
    LogDet,
    MaxMin,
    Mixture,
    Problem,
    PublishedRule,
    Random,
    Saliency,
    Solution,
    Status,
    TopK,
    UniformGrid,
    compare,
    kernels,
    published_rules,
)
from solvers.solution import relative_gap
from solvers.solver import Outcome


@pytest.mark.parametrize("seed", [-1, 1.5, True, None])
def test_seed_is_checked(seed, make_problem):
    with pytest.raises(ValueError, match="`seed` must be a non-negative integer, got"):
        Random().solve(make_problem(), FacilityLocation(), seed=seed)


@pytest.mark.parametrize("limit", [0, -1.0, math.nan, "1", True])
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
        (Exact(), Mixture(), "got Mixture; BruteForce solves small problems exactly"),
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


@pytest.mark.parametrize(
    ("rule", "change", "reason"),
    [
        ("fastervlm", {"attention": np.ones((6, 6))}, r"'fastervlm' needs 'attention' of shape (6,), got (6, 6)"),
        ("fopru_rank", {"attention_map": np.ones(6)}, "'fopru_rank' needs 'attention_map' of shape (6, 6), got (6,)"),
        ("greedyprune", {"text": np.ones((2, 4))}, "'greedyprune' needs 'text' of shape (3,), got (4,)"),
        ("greedyprune", {"text": np.array([[1.0] * 3, [-1.0] * 3])}, "needs 'text' without zero vectors"),
        ("cdpruner", {"features": np.eye(6)[:, :3], "relevance": np.ones(6)}, "needs 'features' without zero vectors"),
    ],
)
def test_evidence_that_does_not_fit_a_rule_is_a_reason_and_not_a_crash(rule, change, reason):
    features = change.pop("features", np.ones((6, 3)))
    problem = Problem.from_features(features, 2, signals=change, metric="dot")
    assert reason in PublishedRule(rule).supports(problem, MaxMin())


def test_rules_that_no_problem_can_serve_say_so(make_problem):
    problem = make_problem(budget=4)
    chosen = {solver.rule for solver in published_rules()}
    for entry in RULES:
        reason = PublishedRule(entry.name).supports(problem, FacilityLocation())
        if entry.name in chosen:
            assert reason is None
        elif entry.gives != "indices":
            assert reason == f"rule {entry.name!r} gives {entry.gives}, not a selection of tokens"
        else:
            # The attention of CLS, which the problem has, is not that of the language model.
            assert "needs signal 'attention'" in reason or "of a model, which no problem holds" in reason
    assert {"hired_quotas", "fastv"}.isdisjoint(chosen)


def test_options_of_rules_are_checked_and_their_own():
    with pytest.raises(KeyError, match="unknown option of rule 'vispruner' 'ratio_important'; did you mean 'import"):
        PublishedRule("vispruner", {"ratio_important": 0.5})
    with pytest.raises(KeyError, match="unknown option of rule 'divprune' 'keep'; known: none"):
        PublishedRule("divprune", {"keep": 3})
    options = {"important_ratio": 0.25}
    solver = PublishedRule("vispruner", options)
    options["important_ratio"] = 0.75
    assert solver.name == "vispruner(important_ratio=0.25)"


def test_published_rules_choose_as_their_functions_do(make_problem):
    from solvers.rules import cdpruner, eadp, fopru_rows, greedyprune, hired, holov, mmtok, otprune, vispruner

    problem = make_problem(budget=4)
    cls, text = problem.signals["cls"], problem.signals["text"]
    expected = {
        PublishedRule(): vispruner(problem.features, cls, 4),
        PublishedRule("vispruner", {"important_ratio": 0.75}): vispruner(problem.features, cls, 4, 0.75),
        PublishedRule("cdpruner"): cdpruner(problem.features, problem.signals["relevance"], 4),
        PublishedRule("greedyprune"): greedyprune(problem.features, text.mean(axis=0), 4),
        PublishedRule("mmtok"): mmtok(problem.features, text, 4),
        PublishedRule("otprune"): otprune(problem.features, 4),
        PublishedRule("eadp", {"power": 2.0}): eadp(problem.features, problem.signals["relevance"], 4, 2.0),
        PublishedRule("holov", {"chunks": 3}): holov(problem.features, cls, 4, 3),
        PublishedRule("hired"): hired(cls, 4),
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


KERNELS = (
    kernels.coverage,
    kernels.determinant,
    kernels.determinant_search,
    kernels.dispersion,
    kernels.gains,
    kernels.independent_set,
    kernels.lagrangian,
)


def test_nothing_is_compiled_inside_the_timed_region(make_problem):
    kernels.warm_up()
    loops = [item for module in KERNELS for item in vars(module).values() if hasattr(item, "signatures")]
    before = {loop: list(loop.signatures) for loop in loops}
    assert len(loops) >= 10
    problem = make_problem()
    scored = [kind() for kind in OBJECTIVES]
    for objective in scored:
        for solver in (Greedy(), Exact(), *(kind() for kind in (TopK, Random))):
            if solver.supports(problem, objective) is None:
                solver.solve(problem, objective)
    from solvers import DppMap, KDpp
    from solvers.bounds import upper_bound

    for solver in (DppMap(), KDpp()):
        solver.solve(problem, LogDet())
    for objective in scored:
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


@pytest.mark.parametrize(
    ("value", "bound", "expected"),
    [(4.0, 5.0, 0.25), (-4.0, -3.0, 0.25), (-2.0, 1.0, 1.5), (-2.0, 0.0, 1.0), (-3.0, -3.0, 0.0), (0.0, 0.0, 0.0)],
)
def test_relative_gaps_are_never_negative(value, bound, expected):
    assert relative_gap(value, bound) == expected


@pytest.mark.parametrize(("value", "bound"), [(0.0, 1e-300), (-1.0, math.inf), (0.0, math.inf)])
def test_relative_gaps_without_a_scale_or_a_bound_are_infinite(value, bound):
    assert relative_gap(value, bound) == math.inf


class Count(AbstractObjective):
    """As a user may write it: outside the package, without parameters, without a decorator."""

    monotone = submodular = True

    def value(self, problem, selected):
        return float(len(selected))

    def start(self, problem):
        return np.ones(problem.tokens)

    def gains(self, state):
        return state

    def add(self, state, token):
        state[token] = -np.inf
        return state


def test_objectives_of_users_need_no_decorator_but_no_hidden_parameters_either(make_problem):
    problem = make_problem()
    assert Count().name == "Count"
    frame = compare(problem, [Greedy(), Exact()], Count(), progress=False).frame
    assert frame["value"][0] == frame["upper_bound"][0] == 3.0
    assert frame["bound_method"][0] == "data-dependent"
    assert frame["status"][1] == "unsupported"

    class Weighted(Count):
        def __init__(self, weight):
            self.weight = weight  # would be missing in names and in the keys of stored results

    with pytest.raises(TypeError, match="Weighted must be a frozen dataclass and 'weight' one of its fields, got a pl"):
        compare(problem, [Greedy()], Weighted(2.0), progress=False)


@dataclasses.dataclass(frozen=True)
class Half(FacilityLocation):
    """Another function than its parent: proofs about the parent are none about it."""

    def value(self, problem, selected):
        return 0.5 * super().value(problem, selected)


def test_subclasses_inherit_no_proof(make_problem):
    problem = make_problem()
    reason = Exact().supports(problem, Half())
    assert reason.startswith("Exact has methods for Saliency, FacilityLocation, ")
    assert ", got Half; " in reason
    assert compare(problem, [Greedy()], Half(), progress=False).frame["bound_method"][0] == "data-dependent"


@pytest.mark.parametrize("scale", [1e-31, 1e31])
def test_facility_location_refuses_scales_beyond_its_arithmetic(scale):
    problem = Problem.from_similarity(scale * np.ones((3, 3)), 1)
    with pytest.raises(ValueError, match=r"the largest similarity must lie in \[1e-30, 1e\+30\], got 1e"):
        Greedy().solve(problem, FacilityLocation())
    assert math.isfinite(Greedy().solve(problem, MaxMin()).value)


def test_statuses_are_sentences():
    assert all(status.value.endswith(".") and status.value[0].isupper() for status in Status)
    assert Status.TIME_LIMIT.label == "time_limit"
