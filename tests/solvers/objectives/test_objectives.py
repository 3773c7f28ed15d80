"""Every further objective against its formula written out, and what it refuses."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from solvers import (
    CoveringRadius,
    FacilityLocation,
    GramLogDet,
    GraphCut,
    Greedy,
    LogDet,
    MaxMin,
    MaxSum,
    Mixture,
    MultimodalFacilityLocation,
    Problem,
    RelevanceMinusRedundancy,
    Saliency,
    SaturatedCoverage,
    WeightedFacilityLocation,
)
from solvers.bounds import upper_bound
from solvers.names import identity
from solvers.objectives.client_coverage import summable

SETS = [[4], [0, 3], [2, 5, 11], [1, 2, 3, 7], list(range(12))]


@pytest.mark.parametrize("selected", SETS, ids=len)
def test_values_follow_their_definitions(selected, make_problem):
    problem = make_problem(seed=5)
    s, cls, relevance = problem.similarity, problem.signals["cls"], problem.signals["relevance"]
    c, n = np.maximum(s, 0.0), 12
    pairs = list(itertools.combinations(selected, 2))
    covered = [max(c[i, j] for j in selected) for i in range(n)]
    expected = {
        WeightedFacilityLocation(): sum(relevance[i] * covered[i] for i in range(n)),
        SaturatedCoverage(0.4): sum(min(sum(c[i, j] for j in selected), 0.4 * c[i].sum()) for i in range(n)),
        GraphCut(0.7): sum(c[i, j] for i in range(n) for j in selected)
        - 0.7 * sum(c[i, j] for i in selected for j in selected),
        GraphCut(1.0): sum(c[i, j] for i in set(range(n)) - set(selected) for j in selected),
        MaxSum(): sum(1 - s[i, j] for i, j in pairs),
        MaxSum("chord"): sum(math.sqrt(2 - 2 * s[i, j]) for i, j in pairs),
        CoveringRadius(): (1 - s).max() - max(min(1 - s[i, j] for j in selected) for i in range(n)),
        RelevanceMinusRedundancy("cls", 0.7): 0.7 * sum(cls[i] for i in selected)
        - 0.3 * sum(c[i, j] for i, j in pairs),
        GramLogDet(0.3): np.linalg.slogdet((np.eye(n) + 0.3 * s @ s.T)[np.ix_(selected, selected)])[1],
        Mixture((Saliency(), MaxSum()), (3.0, 0.5)): 3 * sum(cls[i] for i in selected)
        + 0.5 * sum(1 - s[i, j] for i, j in pairs),
    }
    for objective, value in expected.items():
        assert objective.value(problem, selected) == pytest.approx(value, abs=1e-6), objective.name


@pytest.mark.parametrize("selected", SETS, ids=len)
def test_multimodal_coverage_follows_the_formula_of_mmtok(selected, make_problem):
    problem = make_problem(seed=2)
    visual = problem.features / np.linalg.norm(problem.features, axis=1, keepdims=True)
    words = problem.signals["text"] / np.linalg.norm(problem.signals["text"], axis=1, keepdims=True)
    total = 0.0
    for rows, temperature, weight in ((words, 0.02, 1.0), (visual, 0.2, 0.5)):
        for row in rows:
            power = np.exp(row @ visual.T / temperature)
            total += weight * max(power[selected]) / power.sum() / len(rows)
    assert MultimodalFacilityLocation().value(problem, selected) == pytest.approx(total, rel=1e-12)


def test_queries_come_before_the_signal_text(make_problem):
    problem = make_problem()
    queries = np.random.default_rng(1).normal(size=(3, 8))
    both = Problem.from_features(problem.features, 3, signals=problem.signals, queries=queries)
    alone = Problem.from_features(problem.features, 3, queries=queries)
    objective = MultimodalFacilityLocation()
    assert objective.value(both, [1, 5]) == objective.value(alone, [1, 5]) != objective.value(problem, [1, 5])


def test_equal_weights_are_plain_facility_location(make_problem):
    problem = make_problem(rows=5, columns=5, budget=6)
    even = Problem.from_features(problem.features, 6, signals={"relevance": np.full(25, 2.0)})
    weighted = Greedy().solve(even, WeightedFacilityLocation())
    plain = Greedy().solve(even, FacilityLocation())
    assert weighted.selected.tolist() == plain.selected.tolist()
    assert weighted.value == pytest.approx(2 * plain.value, abs=1e-5)


def test_saturated_coverage_is_modular_at_one(make_problem):
    problem = make_problem()
    totals = np.maximum(problem.similarity, 0.0).sum(axis=0)
    assert SaturatedCoverage(1.0).value(problem, [0, 4, 7]) == pytest.approx(totals[[0, 4, 7]].sum(), abs=1e-5)


@pytest.mark.parametrize("scale", [1e-200, 1e-3, 1.0, 3e7, 1e200])
def test_summable_worths_sum_exactly_in_any_order(scale):
    rng = np.random.default_rng(0)
    worth = summable(rng.random((40, 30)) * rng.choice([1e-6, 1.0], (40, 1)) * scale)
    best = worth.max(axis=1)
    sums = {float(rng.permutation(best).sum()) for _ in range(20)}
    assert sums == {math.fsum(best)}
    assert (summable(np.zeros((2, 3))) == 0.0).all()


def test_facts_that_depend_on_the_parameters():
    assert (GraphCut(0.5).monotone, GraphCut(0.51).monotone) == (True, False)
    covering = Mixture((FacilityLocation(), SaturatedCoverage()))
    assert (covering.monotone, covering.submodular) == (True, True)
    both = Mixture((FacilityLocation(), LogDet()))
    assert (both.monotone, both.submodular) == (False, True)
    assert (Mixture((FacilityLocation(), MaxMin())).monotone, Mixture().submodular) == (False, True)


def test_mixtures_are_named_and_told_apart_by_parts_and_weights():
    mixture = Mixture([FacilityLocation(), Saliency("relevance")], [1, 0.25])
    assert mixture.name == "1 FacilityLocation + 0.25 Saliency(signal=relevance)"
    assert hash(mixture) == hash(Mixture((FacilityLocation(), Saliency("relevance")), (1.0, 0.25)))
    assert identity(mixture) != identity(Mixture((FacilityLocation(), Saliency("relevance")), (1.0, 0.5)))


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: SaturatedCoverage(0.0), r"`saturation` must be in \(0, 1\], got 0"),
        (lambda: SaturatedCoverage(math.nan), r"`saturation` must be in \(0, 1\], got nan"),
        (lambda: GraphCut(-1.0), "`redundancy` must be finite and at least 0, got -1"),
        (lambda: GraphCut(math.inf), "`redundancy` must be finite and at least 0, got inf"),
        (lambda: RelevanceMinusRedundancy(trade_off=1.5), r"`trade_off` must be in \[0, 1\], got 1.5"),
        (lambda: MultimodalFacilityLocation(alpha=-1.0), r"`alpha` must be in \[0, 1e6\], got -1"),
        (
            lambda: MultimodalFacilityLocation(text_temperature=0.0),
            "`text_temperature` must be finite and at least 1e-3",
        ),
        (lambda: MultimodalFacilityLocation(visual_temperature=math.inf), "`visual_temperature` must be finite and"),
        (lambda: GramLogDet(0.0), "`gamma` must be finite and positive, got 0"),
        (lambda: Mixture(()), "`weights` must have one entry for each of at least one part, got 2 for 0 parts"),
        (lambda: Mixture((MaxMin(),), (1.0, 2.0)), "`weights` must have one entry .* got 2 for 1 parts"),
        (lambda: Mixture((MaxMin(),), (0.0,)), r"`weights` must be positive and finite, got \(0.0,\)"),
    ],
)
def test_parameters_are_checked(build, text):
    with pytest.raises(ValueError, match=text):
        build()


@pytest.mark.parametrize("kind", [MaxSum, CoveringRadius])
def test_distances_are_checked(kind):
    with pytest.raises(KeyError, match="unknown distance 'cord'; did you mean 'chord'"):
        kind("cord")


@pytest.mark.parametrize(
    ("objective", "change", "reason"),
    [
        (
            WeightedFacilityLocation("signed"),
            {},
            "signal 'signed' must not be negative to be a weight, got a minimum of -1",
        ),
        (WeightedFacilityLocation("clss"), {}, "unknown signal 'clss'; did you mean 'cls'"),
        (WeightedFacilityLocation("huge"), {}, r"signal 'huge' times similarity must sum to at most 1e\+250"),
        (RelevanceMinusRedundancy("nothing"), {}, "unknown signal 'nothing'"),
        (MultimodalFacilityLocation(), {}, "the problem has neither `queries` nor a signal 'text' to be covered"),
        (MultimodalFacilityLocation(), {"metric": "dot"}, "needs `features` and metric='cosine'"),
        (
            MultimodalFacilityLocation(),
            {"text": np.ones((2, 5))},
            "words must have the 8 dimensions of the features, got 5",
        ),
        (MultimodalFacilityLocation(), {"text": np.zeros((2, 8))}, "words .* need to be without zero vectors"),
        (Mixture((FacilityLocation(), Saliency("no"))), {}, "unknown signal 'no'"),
        (Mixture((LogDet(), GramLogDet(1e9))), {}, r"similarities must be at most .* for gamma=1e\+09, got"),
    ],
)
def test_reasons(objective, change, reason, make_problem):
    base = make_problem()
    signals = {"cls": np.ones(12), "signed": -np.ones(12), "huge": np.full(12, 1e300)}
    signals |= {"text": change["text"]} if "text" in change else {}
    problem = Problem.from_features(base.features, 3, signals=signals, metric=change.get("metric", "cosine"), id="p")
    with pytest.raises(ValueError, match=f"cannot solve p: .*{reason}"):
        Greedy().solve(problem, objective)


@pytest.mark.parametrize("objective", [SaturatedCoverage(), GraphCut()], ids=lambda o: o.name)
def test_coverage_refuses_scales_beyond_its_arithmetic(objective):
    with pytest.raises(ValueError, match=r"the largest similarity must lie in \[1e-30, 1e\+30\], got 1e"):
        Greedy().solve(Problem.from_similarity(1e31 * np.eye(3), 1), objective)


@pytest.mark.parametrize(
    "objective",
    [SaturatedCoverage(), GraphCut(), MaxSum(), CoveringRadius(), GramLogDet(), WeightedFacilityLocation()],
    ids=lambda o: o.name,
)
def test_one_token_and_nothing_alike(objective):
    """One token; a similarity without a positive entry off the diagonal; negative ones only."""
    for similarity in (np.ones((1, 1)), np.eye(4), -np.ones((4, 4)) + np.eye(4)):
        n = len(similarity)
        problem = Problem.from_similarity(similarity, n, signals={"relevance": np.ones(n)})
        solution = Greedy().solve(problem, objective)
        assert math.isfinite(solution.value)
        assert upper_bound(problem, objective).value >= solution.value - 1e-12
