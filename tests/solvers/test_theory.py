"""Curvature and submodularity ratio by their definitions, and every promised factor against exhaustive search."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from solvers import (
    BruteForce,
    Cardinality,
    Conflict,
    CoveringRadius,
    DppMap,
    Exact,
    FacilityLocation,
    FarthestFirst,
    Forced,
    Greedy,
    KDpp,
    LazyGreedy,
    LocalSearch,
    LogDet,
    MaxMin,
    MaxSum,
    Partition,
    Problem,
    PublishedRule,
    Random,
    Saliency,
    StochasticGreedy,
    ThresholdGreedy,
    TopK,
    theory,
)

SOLVERS = [
    Greedy(),
    LazyGreedy(),
    StochasticGreedy(),
    ThresholdGreedy(0.05),
    LocalSearch(),
    LocalSearch(Random()),
    LocalSearch(FarthestFirst()),
    FarthestFirst(),
    FarthestFirst(3),
    DppMap(),
    TopK(),
    Random(),
    Exact(),
    BruteForce(),
]
OBJECTIVES = [Saliency(), FacilityLocation(), LogDet(), LogDet(ridge=1.0), MaxMin(), MaxMin("chord"), MaxSum()]


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda objective: objective.name)
@pytest.mark.parametrize("solver", SOLVERS, ids=lambda solver: solver.name)
def test_promises_are_kept(solver, objective, make_problem):
    for seed, budget in itertools.product(range(4), (1, 2, 5)):
        problem = make_problem(seed=seed, budget=budget)
        if solver.supports(problem, objective) is not None:
            continue
        promise = theory.guarantee(objective, Cardinality(), solver, problem)
        assert 0 <= promise.factor <= 1
        if promise:
            draws = 20 if promise.expected else 1
            values = [solver.solve(problem, objective, seed=draw).value for draw in range(draws)]
            assert np.mean(values) >= promise.factor * BruteForce().solve(problem, objective).value - 1e-6


@pytest.mark.parametrize("seed", range(4))
def test_greedy_over_a_partition_keeps_its_promise(seed, make_problem):
    plain = make_problem(seed=seed, budget=3)
    problem = Problem.from_features(
        plain.features, 3, signals={"cls": plain.signals["cls"]}, grid=(3, 4), constraint=Partition(1)
    )
    for objective, factor in ((FacilityLocation(), 0.5), (Saliency(), 1.0)):
        promise = theory.guarantee(objective, Partition(1), Greedy(), problem)
        assert promise.factor == factor
        best = BruteForce().solve(problem, objective).value
        assert Greedy().solve(problem, objective).value >= factor * best - 1e-12
    assert "cannot keep the constraint" in theory.guarantee(objective, Partition(1), KDpp()).theorem
    for solver in (StochasticGreedy(), ThresholdGreedy()):
        refused = theory.guarantee(FacilityLocation(), Partition(1), solver, problem)
        assert not refused
        assert "No theorem is known here" in refused.theorem


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("within", [Cardinality(), Partition(2)], ids=["any", "rows"])
def test_greedy_keeps_its_promise_beside_forced_tokens(seed, within, make_problem):
    plain = make_problem(seed=seed, budget=4)
    constraint = Forced(kept=(5,), dropped=(0, 7), within=within)
    problem = Problem.from_features(
        plain.features, 4, signals={"cls": plain.signals["cls"]}, grid=(3, 4), constraint=constraint
    )
    promised = 1 - math.exp(-1) if within == Cardinality() else 0.5
    for objective, factor in ((FacilityLocation(), promised), (Saliency(), 1.0)):
        promise = theory.guarantee(objective, constraint, Greedy(), problem)
        assert promise.factor == factor
        best = BruteForce().solve(problem, objective).value
        assert Greedy().solve(problem, objective).value >= factor * best - 1e-12
    assert "tokens that must stay" in theory.guarantee(FacilityLocation(), constraint, Greedy(), problem).theorem
    assert not theory.guarantee(FacilityLocation(), Conflict(), Greedy())


def test_factors_without_a_problem():
    def factor(objective, solver):
        return theory.guarantee(objective, Cardinality(), solver).factor

    assert factor(FacilityLocation(), Greedy()) == 1 - math.exp(-1)
    assert factor(FacilityLocation(), ThresholdGreedy(0.1)) == pytest.approx(1 - math.exp(-1) - 0.1)
    assert factor(FacilityLocation(), LocalSearch(Random())) == 0.5
    assert factor(FacilityLocation(), LocalSearch()) == 1 - math.exp(-1)
    assert factor(FacilityLocation(), TopK()) == 0
    assert factor(Saliency(), TopK()) == factor(Saliency(), Greedy()) == 1
    assert factor(Saliency(), TopK("relevance")) == 0
    assert (factor(MaxMin(), FarthestFirst()), factor(MaxMin("chord"), FarthestFirst())) == (0.25, 0.5)


def test_log_det_has_no_promise_unless_it_is_monotone_here(make_problem):
    problem = make_problem(budget=4)
    for solver in (Greedy(), LazyGreedy(), DppMap(), StochasticGreedy()):
        refused = theory.guarantee(LogDet(), Cardinality(), solver, problem)
        assert not refused
        assert refused.theorem == "The factor 1 - 1/e needs a monotone function; LogDet is not."
        assert [item.holds for item in refused.assumptions if item.text == "monotone"] == [False]
        assert not theory.guarantee(LogDet(), Cardinality(), solver)
    # Eigenvalues of at least one: every token adds volume.
    assert theory.guarantee(LogDet(ridge=1.0), Cardinality(), Greedy(), problem).factor > 1 - math.exp(-1)
    assert theory.is_monotone(problem, LogDet(ridge=1.0))
    assert not theory.is_monotone(problem, LogDet())


def test_cdpruner_is_told_why_it_has_no_factor(make_problem):
    rule, weighted = PublishedRule("cdpruner"), LogDet(signal="relevance")
    for objective, problem in itertools.product((LogDet(), weighted), (None, make_problem())):
        refused = theory.guarantee(objective, Cardinality(), rule, problem)
        assert refused.factor == 0
        assert "needs a monotone function. Its relevance is rescaled to at most 1" in refused.theorem
    # Where the ridge makes the objective monotone, the rule climbs another function.
    refused = theory.guarantee(LogDet(ridge=1.0), Cardinality(), rule, make_problem())
    assert not refused
    assert refused.theorem.endswith("is monotone here, but is not the function that the rule climbs.")


def test_the_reason_given_to_cdpruner_holds(make_problem):
    """With a relevance of at most 1 every token lowers the log-determinant, up to the ridge."""
    plain = make_problem(budget=5)
    relevance = plain.signals["relevance"] / plain.signals["relevance"].max()
    problem = Problem.from_features(plain.features, 5, signals={"relevance": relevance})
    objective = LogDet(signal="relevance")
    picks = Greedy().solve(problem, objective).selected
    values = [objective.value(problem, picks[:size]) for size in range(6)]
    assert np.all(np.diff(values) <= 2e-6)
    assert BruteForce().solve(problem, objective).value < 0


def test_divprune_has_the_quarter_of_farthest_first(make_problem):
    rule = PublishedRule("divprune")
    assert theory.guarantee(MaxMin(), Cardinality(), rule).factor == 0.25
    for seed, budget in itertools.product(range(6), (2, 4)):
        problem = make_problem(seed=seed, budget=budget)
        for objective, factor in ((MaxMin(), 0.25), (MaxMin("chord"), 0.5)):
            assert theory.guarantee(objective, Cardinality(), rule, problem).factor == factor
            best = BruteForce().solve(problem, objective).value
            assert rule.solve(problem, objective).value >= factor * best - 1e-12
    dot = Problem.from_features(problem.features, 3, metric="dot")
    refused = theory.guarantee(MaxMin(), Cardinality(), rule, dot)
    assert not refused
    assert "the distances are those of the rule, 1 - cos of the features: fails" in refused.summary()


def test_a_quarter_is_all_that_half_the_chord_leaves():
    """On a circle 1 - cos of farthest-first comes close to a quarter of the optimum: half the chord, squared."""
    angles = np.array([0.0, 1.0, -1.0]) * 1e-2
    problem = Problem.from_features(np.column_stack([np.cos(angles), np.sin(angles)]), 2)
    near = FarthestFirst(0).solve(problem, MaxMin()).value / BruteForce().solve(problem, MaxMin()).value
    assert 0.25 <= near < 0.2501


def test_a_similarity_that_is_no_gram_matrix_has_no_metric():
    distances = np.array([[0.0, 1.0, 9.0], [1.0, 0.0, 1.0], [9.0, 1.0, 0.0]])
    problem = Problem.from_similarity(-distances, 2)
    assert not theory.guarantee(MaxMin(), Cardinality(), FarthestFirst(), problem)
    assert theory.guarantee(MaxMin(), Cardinality(), FarthestFirst(), Problem.from_similarity(np.eye(3), 2))


@pytest.mark.parametrize("objective", [FacilityLocation(), Saliency(), LogDet(ridge=1.0)], ids=lambda o: o.name)
@pytest.mark.parametrize("seed", range(4))
def test_curvatures_follow_their_definitions(objective, seed, make_problem):
    problem = make_problem(seed=seed, budget=5)
    n = problem.tokens
    full = objective.value(problem, range(n))
    last = [full - objective.value(problem, [i for i in range(n) if i != j]) for j in range(n)]
    single = [objective.value(problem, [j]) for j in range(n)]
    assert theory.last_gains(problem, objective) == pytest.approx(last, abs=1e-9)
    total = 1 - min(a / b for a, b in zip(last, single, strict=True))
    assert theory.total_curvature(problem, objective) == pytest.approx(max(total, 0), abs=1e-9)
    picks, worst = Greedy().solve(problem, objective).selected.tolist(), 0.0
    for size in range(1, 5):
        value = objective.value(problem, picks[:size])
        for j in set(range(n)) - set(picks[:size]):
            worst = max(worst, 1 - (objective.value(problem, [*picks[:size], j]) - value) / single[j])
    assert theory.greedy_curvature(problem, objective) == pytest.approx(worst, abs=1e-9)
    assert worst <= total + 1e-9


def test_curvature_at_its_ends():
    assert theory.total_curvature(Problem.from_similarity(np.eye(4), 2), FacilityLocation()) == 0
    assert theory.total_curvature(Problem.from_similarity(np.ones((4, 4)), 2), FacilityLocation()) == 1
    assert theory.total_curvature(Problem.from_similarity(np.zeros((4, 4)), 2), FacilityLocation()) == 0
    assert theory.total_curvature(Problem.from_similarity(np.eye(1), 1), FacilityLocation()) == 0


@pytest.mark.parametrize("seed", range(3))
def test_submodularity_ratio_follows_its_definition(seed, make_problem):
    problem = make_problem(rows=2, columns=3, budget=3, seed=seed)
    assert theory.submodularity_ratio(problem, FacilityLocation()) == 1.0
    objective = MaxSum()
    worst = 1.0
    for size in range(4):
        for base in itertools.combinations(range(6), size):
            value = objective.value(problem, base)
            for more in range(1, 4):
                for added in itertools.combinations(set(range(6)) - set(base), more):
                    joint = objective.value(problem, [*base, *added]) - value
                    alone = sum(objective.value(problem, [*base, j]) - value for j in added)
                    if joint > 1e-9:
                        worst = min(worst, alone / joint)
    assert theory.submodularity_ratio(problem, objective) == pytest.approx(worst, abs=1e-9)
    assert worst < 1


def test_greedy_is_promised_the_submodularity_ratio(make_problem):
    """Weak submodularity gives a factor where submodularity fails, if all pairs of sets were looked at."""
    promises = []
    for seed, budget in itertools.product(range(6), (1, 2, 3)):
        problem = make_problem(rows=2, columns=5, seed=seed, budget=budget)
        promise = theory.guarantee(CoveringRadius(), Cardinality(), Greedy(), problem)
        ratio = theory.submodularity_ratio(problem, CoveringRadius())
        assert promise.factor == pytest.approx(1 - math.exp(-ratio))
        best = BruteForce().solve(problem, CoveringRadius()).value
        assert Greedy().solve(problem, CoveringRadius()).value >= promise.factor * best - 1e-12
        promises.append(promise.factor)
    assert max(promises) > 0.1
    large = make_problem(rows=4, columns=4)
    for arguments in ((CoveringRadius(), Cardinality(), Greedy(), large), (MaxMin(), Cardinality(), LazyGreedy())):
        refused = theory.guarantee(*arguments)
        assert not refused
        assert "need submodularity, which" in refused.theorem


@pytest.mark.parametrize("objective", [MaxSum(), CoveringRadius()], ids=lambda objective: objective.name)
def test_the_sampled_ratio_is_never_below_the_exact_one(objective, make_problem):
    for seed in range(4):
        problem = make_problem(rows=2, columns=4, budget=3, seed=seed)
        exact = theory.submodularity_ratio(problem, objective)
        few, many = (theory.sampled_submodularity_ratio(problem, objective, pairs, seed=seed) for pairs in (5, 2000))
        assert few.ratio >= many.ratio >= exact - 1e-9
        assert few == theory.sampled_submodularity_ratio(problem, objective, 5, seed=seed)
        # There are fewer than 3^8 pairs, none of them rare: 2000 draws come close.
        assert many.ratio == pytest.approx(exact, abs=0.15)


def test_the_sampled_ratio_of_a_submodular_function_is_one(make_problem):
    drawn = theory.sampled_submodularity_ratio(make_problem(rows=6, columns=6, budget=8), FacilityLocation(), 200)
    assert drawn.ratio == pytest.approx(1.0, abs=1e-9)
    assert drawn.ratio <= 1.0


def test_the_confidence_statement_holds_as_often_as_it_says(make_problem):
    """Over many studies the share of pairs below the sampled value exceeds the limit in at most 1 - c of them."""
    problem = make_problem(rows=2, columns=3, budget=2)
    reference = np.array(
        [theory.sampled_submodularity_ratio(problem, MaxSum(), 1, seed=10_000 + seed).ratio for seed in range(1500)]
    )
    studies = [theory.sampled_submodularity_ratio(problem, MaxSum(), 20, confidence=0.8, seed=s) for s in range(150)]
    missed = [(reference < study.ratio - 1e-12).mean() > study.share_below for study in studies]
    assert studies[0].share_below == pytest.approx(1 - 0.2 ** (1 / 20))
    assert np.mean(missed) <= 0.2 + 3 * math.sqrt(0.2 * 0.8 / 150)


def test_the_sampled_ratio_is_reported_with_its_limits(make_problem):
    drawn = theory.sampled_submodularity_ratio(make_problem(), MaxSum(), 1000)
    assert drawn.share_below == pytest.approx(3 / 1000, rel=0.01)
    text = drawn.summary()
    assert text.startswith("the submodularity ratio is at most 0.")
    assert "with 95% confidence at most 0.00299 of the pairs drawn this way have a smaller ratio" in text
    assert text.endswith("No lower bound follows")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pairs": 0}, "`pairs` must be an integer of at least 1, got 0"),
        ({"confidence": 1.0}, "`confidence` must lie between 0 and 1, got 1.0"),
        ({"seed": -1}, "`seed` must be a non-negative integer, got -1"),
        ({"objective": LogDet()}, "the submodularity ratio needs a monotone objective, got LogDet"),
    ],
)
def test_sampling_says_what_is_wrong(options, message, make_problem):
    with pytest.raises(ValueError, match=message):
        theory.sampled_submodularity_ratio(make_problem(), **({"objective": MaxSum()} | options))


def test_reasons(make_problem):
    problem = make_problem(rows=4, columns=4)
    with pytest.raises(ValueError, match="tokens must be at most 12, got 16"):
        theory.submodularity_ratio(problem, FacilityLocation())
    with pytest.raises(ValueError, match="needs a monotone objective, got LogDet"):
        theory.submodularity_ratio(make_problem(), LogDet())
    with pytest.raises(ValueError, match="curvature is defined for monotone objectives only; LogDet is not on"):
        theory.total_curvature(problem, LogDet())
    with pytest.raises(ValueError, match="curvature is defined for submodular objectives only, got MaxMin"):
        theory.greedy_curvature(problem, MaxMin())


def test_summary_names_what_is_needed(make_problem):
    text = theory.guarantee(FacilityLocation(), Cardinality(), StochasticGreedy()).summary()
    assert text.startswith("at least 0.5321 of the optimum in expectation. 1 - 1/e - epsilon (Mirzasoleiman")
    assert "submodular: holds; worth 0 without tokens: to be checked; monotone: holds." in text
    assert "monotone: fails" in theory.guarantee(LogDet(), Cardinality(), Greedy(), make_problem()).summary()


def test_exact_promises_nothing_under_a_constraint_it_refuses():
    refused = theory.guarantee(FacilityLocation(), Partition(1), Exact())
    assert refused.factor == 0
    assert "under Cardinality only, got the constraint Partition" in refused.theorem
    assert theory.guarantee(FacilityLocation(), Cardinality(), Exact()).factor == 1
    assert theory.guarantee(Saliency(), Partition(1), Exact()).factor == 1
