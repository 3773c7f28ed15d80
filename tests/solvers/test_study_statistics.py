"""Ranks, critical differences, progress, fronts and overlaps: published numbers, plain loops, and hand-made studies."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from solvers import Exact, FacilityLocation, Greedy, KDpp, LogDet, MaxMin, Random, Study, TopK, UniformGrid, compare
from solvers.study_statistics import critical_difference

DEMSAR_TABLE_5 = {
    0.05: [1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164],
    0.10: [1.645, 2.052, 2.291, 2.459, 2.589, 2.693, 2.780, 2.855, 2.920],
}
"""Critical values q for 2 to 10 classifiers."""


def row(solver, value, *, problem="p", budget=2, objective="f", seed=0, seconds=1.0, bound=10.0, trace=(), kept=(0, 1)):
    return {
        "problem": problem, "n": 9, "budget": budget, "objective": objective, "solver": solver, "seed": seed,
        "value": value, "upper_bound": bound, "gap": bound - value, "relative_gap": bound / value - 1,
        "bound_method": "hand", "seconds": seconds, "evaluations": 1, "status": "feasible", "reason": "",
        "selected": list(kept), "trace": [list(point) for point in trace],
    }  # fmt: skip


def study_of(*rows):
    return Study(pd.DataFrame(list(rows)))


def instances(values):
    """Values [instance, solver] as the frame that the tests look at."""
    return pd.DataFrame(values, columns=[f"s{at}" for at in range(np.shape(values)[1])])


@pytest.mark.parametrize("alpha", DEMSAR_TABLE_5)
@pytest.mark.parametrize("count", range(3, 11))
def test_critical_values_are_those_of_demsars_table(alpha, count):
    values = np.random.default_rng(count).normal(size=(14, count))
    found = critical_difference(instances(values), alpha)
    q = found.difference / np.sqrt(count * (count + 1) / (6 * 14))
    assert q == pytest.approx(DEMSAR_TABLE_5[alpha][count - 2], abs=1.1e-3)


def test_four_classifiers_on_fourteen_data_sets_as_demsar_works_it_out():
    """Section 3.2.2: the critical difference is 2.569 sqrt(4 5 / (6 14)) = 1.25 at the level 0.05."""
    values = np.random.default_rng(0).normal(size=(14, 4))
    assert round(critical_difference(instances(values), 0.05).difference, 2) == 1.25


def test_friedman_is_the_formula_of_the_mean_ranks():
    values = np.random.default_rng(1).normal(size=(14, 4)) + np.arange(4) / 2
    found = critical_difference(instances(values), 0.05)
    mean_ranks = np.array([np.mean([(row > row[at]).sum() + 1 for row in values]) for at in range(4)])
    assert found.ranks.to_dict() == pytest.approx({f"s{at}": rank for at, rank in enumerate(mean_ranks)})
    statistic = 12 * 14 / (4 * 5) * ((mean_ranks**2).sum() - 4 * 5**2 / 4)
    assert found.statistic == pytest.approx(statistic)
    assert found.p_value == pytest.approx(chi2.sf(statistic, 3))
    assert found.ranks.is_monotonic_increasing


@given(st.integers(0, 999), st.integers(3, 7), st.integers(2, 40))
def test_groups_are_the_largest_sets_without_a_difference(seed, count, size):
    rng = np.random.default_rng(seed)
    found = critical_difference(instances(rng.integers(0, 9, (size, count)) + rng.uniform(0, 9, count)), 0.05)
    ranks = found.ranks.to_dict()

    def same(names):
        return all(abs(ranks[a] - ranks[b]) < found.difference for a, b in itertools.combinations(names, 2))

    sets = [c for n in range(2, count + 1) for c in itertools.combinations(ranks, n) if same(c)]
    largest = {frozenset(c) for c in sets if not any(set(c) < set(other) for other in sets)}
    assert {frozenset(group) for group in found.groups} == largest
    assert len(found.groups) == len(largest)


def test_solvers_that_tie_everywhere_are_equal():
    found = critical_difference(instances(np.ones((5, 3))), 0.05)
    assert (found.statistic, found.p_value, found.ranks.tolist()) == (0.0, 1.0, [2.0, 2.0, 2.0])
    assert found.groups == (("s0", "s1", "s2"),)


def test_only_complete_instances_count():
    values = np.random.default_rng(2).normal(size=(6, 3))
    rows = [row(f"s{at}", value + 5, problem=f"p{i}") for i, line in enumerate(values) for at, value in enumerate(line)]
    study = study_of(*rows[:-1], row("s2", np.nan, problem="p5"))  # s2 did not run on the last one
    found = study.critical_difference()
    assert found.instances == 5
    assert found.statistic == critical_difference(instances(values[:5]), 0.05).statistic


@pytest.mark.parametrize(
    ("count", "size", "alpha", "text"),
    [
        (2, 9, 0.05, "at least 3 solvers and 2 instances that all of them ran on, got 2 solvers and 9 of 9 instances"),
        (3, 1, 0.05, "got 3 solvers and 1 of 1 instances"),
        (3, 9, 0.0, r"`alpha` must be in \(0, 1\), got 0.0"),
        (3, 9, float("nan"), r"`alpha` must be in \(0, 1\), got nan"),
    ],
)
def test_too_little_to_test_is_an_error(count, size, alpha, text):
    with pytest.raises(ValueError, match=text):
        critical_difference(instances(np.ones((size, count))), alpha)


def test_ranks_are_within_problem_budget_and_objective():
    study = study_of(
        row("a", 1.0), row("b", 2.0), row("a", 900.0, objective="g"), row("b", 800.0, objective="g"),
        row("a", 3.0, budget=3), row("b", 4.0, budget=3),
    )  # fmt: skip
    assert study.ranks()["mean rank"].to_dict() == pytest.approx({"b": 4 / 3, "a": 5 / 3})
    assert study.ranks()["instances"].tolist() == [3, 3]
    table = study.table()
    assert table.columns.tolist() == [("f", 2), ("f", 3), ("g", 2)]
    assert table.loc["a"].tolist()[0::2] == [1.0, 900.0]
    assert study.where(objective="g").table().columns.tolist() == [2]
    assert study.performance_profile([0.0])["b"].tolist() == pytest.approx([2 / 3])


def test_progress_on_a_common_grid():
    study = study_of(
        row("anytime", 8.0, problem="p", trace=[(1, 5.0, 20.0), (3, 8.0, 10.0)]),
        row("anytime", 4.0, problem="q", bound=5.0, trace=[(2, 4.0, 8.0), (4, 4.0, 5.0)]),
        row("quick", 5.0, problem="p", seconds=2.0, bound=12.0),
    )
    found = study.gap_versus_time([1, 2, 3, 4]).set_index(["solver", "seconds"])
    # Nothing at 1 s: the run on q has no selection yet. At 2 s: (10 - 5) / 5 and (5 - 4) / 4.
    assert found.loc["anytime", "relative_gap"].to_dict() == pytest.approx({2: 0.625, 3: 0.25, 4: 0.25})
    assert found.loc["anytime", "proven_gap"].to_dict() == pytest.approx({2: (3 + 1) / 2, 3: 0.625, 4: 0.25})
    # The smallest bound of the instance counts, whoever proved it.
    assert found.loc["quick", "relative_gap"].to_dict() == pytest.approx({2: 1.0, 3: 1.0, 4: 1.0})
    assert np.isinf(found.loc["quick", "proven_gap"]).all()
    assert found["runs"].loc["anytime"].unique().tolist() == [2]
    with pytest.raises(ValueError, match=r"`seconds` must be a list of non-negative numbers, got \[-1\]"):
        study.gap_versus_time([-1])


def test_progress_of_real_runs_ends_at_the_gap_of_the_frame(make_problem):
    problems = [make_problem(rows=5, columns=8, budget=6, seed=seed, id=f"p{seed}") for seed in range(2)]
    study = compare(problems, [Exact(), Greedy(), KDpp()], [FacilityLocation(), MaxMin()], seeds=(0, 1), progress=False)
    assert study.frame.loc[study.frame["solver"] == "Exact", "trace"].map(len).min() >= 1
    assert study.frame.loc[study.frame["solver"] == "Greedy", "trace"].map(len).max() == 0
    found = study.gap_versus_time()
    frame = study.frame.assign(best=study.frame.groupby(["problem", "objective"])["upper_bound"].transform("min"))
    frame["final"] = (frame["best"] - frame["value"]) / frame["value"]
    for (objective, solver), curve in found.groupby(["objective", "solver"]):
        assert (curve["relative_gap"].diff().dropna() <= 1e-12).all()
        assert (curve["proven_gap"] >= curve["relative_gap"] - 1e-12).all()
        final = frame[(frame["objective"] == objective) & (frame["solver"] == solver)]["final"].mean()
        assert curve["relative_gap"].iloc[-1] == pytest.approx(final, abs=1e-8)


def test_front_is_the_set_that_nobody_beats():
    rng = np.random.default_rng(3)
    names = [f"s{at}" for at in range(12)]
    rows = [
        row(name, rng.integers(5, 9), problem=problem, seconds=float(rng.integers(1, 9)))
        for name, problem in itertools.product(names, "pq")
    ]
    study = study_of(*rows, row("partial", 10.0, problem="p", seconds=0.1))
    front = study.pareto()
    assert sorted(front["solver"]) == sorted(names)  # without the one that did not run on q
    points = {r["solver"]: (r["relative_gap"], r["seconds"]) for r in front.to_dict("records")}
    for name, mine in points.items():
        beaten = any(
            other[0] <= mine[0] and other[1] <= mine[1] and other != mine for other in points.values()
        )  # fmt: skip
        assert front.set_index("solver")["efficient"][name] == (not beaten)
    assert front["seconds"].is_monotonic_increasing
    assert front["instances"].tolist() == [2] * 12
    with pytest.raises(KeyError, match="unknown column 'gaps'; did you mean 'gap'"):
        study.pareto("gaps")


def test_a_solver_without_a_finite_gap_is_on_no_front():
    front = study_of(row("none", 1.0, bound=np.inf, seconds=0.1), row("slow", 5.0, seconds=9.0)).pareto()
    assert front.set_index("solver")["efficient"].to_dict() == {"none": False, "slow": True}


def test_overlap_is_the_mean_over_instances_and_seeds(make_problem):
    problems = [make_problem(seed=seed, id=f"p{seed}", budget=4) for seed in range(3)]
    study = compare(problems, [Greedy(), Random(), TopK("gaze")], seeds=(0, 1), progress=False)
    found = study.overlap()
    assert found.index.tolist() == found.columns.tolist() == ["Greedy", "Random"]
    rows = study.solved

    def kept(problem, solver):
        return [set(s) for s in rows[(rows["problem"] == problem) & (rows["solver"] == solver)]["selected"]]

    expected = np.mean(
        [[len(a & b) / len(a | b) for a in kept(p, "Greedy") for b in kept(p, "Random")] for p in ("p0", "p1", "p2")]
    )
    assert found.loc["Greedy", "Random"] == found.loc["Random", "Greedy"] == pytest.approx(expected)
    assert np.diag(found).tolist() == [1.0, 1.0]


def test_overlap_of_solvers_that_never_met_is_unknown():
    found = study_of(row("a", 1.0, problem="p"), row("b", 1.0, problem="q")).overlap()
    assert np.isnan(found.loc["a", "b"])


def test_where_chooses_rows_and_suggests_names():
    study = study_of(row("a", 1.0), row("b", 2.0, budget=3), row("a", 2.0, budget=4))
    assert study.where(budget=[2, 4], solver="a").frame["value"].tolist() == [1.0, 2.0]
    assert study.where(solver=("a", "b")).frame["value"].tolist() == [1.0, 2.0, 2.0]
    with pytest.raises(KeyError, match="unknown column 'solvr'; did you mean 'solver'"):
        study.where(solvr="a")
    with pytest.raises(ValueError, match="no row of the study has solver 'z', budget 2"):
        study.where(solver="z", budget=2)


def test_every_statistic_of_a_real_study(make_problem):
    problems = [make_problem(seed=seed, id=f"p{seed}") for seed in range(3)]
    chosen = [Greedy(), Random(), UniformGrid(), TopK(), Exact()]
    study = compare(problems, chosen, [FacilityLocation(), LogDet()], budgets=[2, 3], progress=False)
    found = study.critical_difference()
    assert found.instances == 12
    assert found.ranks.index[0] == "Exact"
    assert study.pareto("gap").groupby(["objective", "budget"])["efficient"].any().all()
    assert study.overlap().notna().all().all()


def test_a_study_without_a_single_value_has_empty_statistics(make_problem):
    study = compare(make_problem(), [TopK("gaze")], progress=False)
    assert study.gap_versus_time().empty
    assert study.pareto().empty
    assert study.overlap().empty
    with pytest.raises(ValueError, match="got 0 solvers and 0 of 0 instances"):
        study.critical_difference()
