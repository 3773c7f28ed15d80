"""Laws of every objective in the registry, checked by values alone."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from solvers import (
    OBJECTIVES,
    CoveringRadius,
    FacilityLocation,
    GramLogDet,
    GraphCut,
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

INSTANCES = [kind() for kind in OBJECTIVES] + [
    MaxMin("chord"),
    LogDet("relevance"),
    LogDet(ridge=0.5),
    WeightedFacilityLocation("cls"),
    MultimodalFacilityLocation(alpha=2.0, text_temperature=0.3),
    SaturatedCoverage(0.6),
    SaturatedCoverage(1.0),
    GraphCut(1.0),
    GraphCut(0.0),
    GramLogDet(gamma=1.0),
    MaxSum("chord"),
    CoveringRadius("chord"),
    RelevanceMinusRedundancy("relevance", 0.8),
    Mixture((FacilityLocation(), GramLogDet(), GraphCut()), (1.0, 0.5, 0.25)),
    Mixture((MaxMin(), Mixture((LogDet(), MaxSum()), (1.0, 0.3))), (2.0, 1.0)),
]
SEEDS = range(6)

each_objective = pytest.mark.parametrize("objective", INSTANCES, ids=lambda objective: objective.name)


def test_every_objective_of_the_registry_is_tested():
    assert {type(objective) for objective in INSTANCES} == set(OBJECTIVES)


@each_objective
@pytest.mark.parametrize("seed", SEEDS)
def test_gains_are_finite_differences(objective, seed, make_problem):
    problem = make_problem(seed=seed)
    order = np.random.default_rng(seed).permutation(problem.tokens)[:6].tolist()
    state = objective.start(problem)
    for size in range(len(order) + 1):
        selected = order[:size]
        gains = objective.gains(state)
        assert gains.dtype == np.float64
        for token in range(problem.tokens):
            if token in selected:
                assert gains[token] == -np.inf
            else:
                step = objective.value(problem, [*selected, token]) - objective.value(problem, selected)
                assert gains[token] == pytest.approx(step, abs=1e-9)
        if size < len(order):
            state = objective.add(state, order[size])


@each_objective
def test_the_empty_set_is_worth_nothing(objective, make_problem):
    assert objective.value(make_problem(), []) == 0.0


@each_objective
def test_value_does_not_depend_on_the_order_at_all(objective, make_problem):
    problem = make_problem(rows=6, columns=6, seed=3)
    rng = np.random.default_rng(0)
    for _ in range(10):
        selected = rng.permutation(problem.tokens)[:9]
        assert objective.value(problem, selected) == objective.value(problem, rng.permutation(selected))


def violations(objective, problem, wanted):
    """Largest violation of monotonicity and of diminishing returns over random chains A, B = A + more, token."""
    rng = np.random.default_rng(7)
    worst = 0.0
    for _ in range(200):
        *chain, token = rng.permutation(problem.tokens)[: rng.integers(2, problem.tokens)].tolist()
        small = chain[: rng.integers(0, len(chain))]
        value = {key: objective.value(problem, key) for key in map(tuple, (small, chain))}
        late = objective.value(problem, [*chain, token]) - value[tuple(chain)]
        early = objective.value(problem, [*small, token]) - value[tuple(small)]
        worst = max(worst, -late if wanted == "monotone" else late - early)
    return worst


@pytest.mark.parametrize(
    ("objective", "fact"),
    [(o, fact) for o in INSTANCES for fact in ("monotone", "submodular") if getattr(o, fact)],
    ids=lambda item: getattr(item, "name", item),
)
def test_declared_facts_hold(objective, fact, make_problem):
    for seed in SEEDS:
        assert violations(objective, make_problem(seed=seed), fact) <= 1e-9


@pytest.mark.parametrize(
    ("objective", "fact"),
    [
        (Saliency(), "monotone"),
        (LogDet(), "monotone"),
        (MaxMin(), "monotone"),
        (MaxMin(), "submodular"),
        (MaxSum(), "submodular"),
        (CoveringRadius(), "submodular"),
        (GraphCut(0.6), "monotone"),
        (RelevanceMinusRedundancy(), "monotone"),
        (Mixture((FacilityLocation(), MaxSum()), (1.0, 1.0)), "submodular"),
        (Mixture((FacilityLocation(), LogDet()), (0.1, 1.0)), "monotone"),
    ],
    ids=lambda item: getattr(item, "name", item),
)
def test_facts_not_declared_are_false_somewhere(objective, fact):
    assert not getattr(objective, fact)
    rng = np.random.default_rng(1)
    problem = Problem.from_features(rng.normal(size=(8, 3)), 2, signals={"cls": rng.normal(size=8)})
    assert violations(objective, problem, fact) > 1e-3


def test_facility_location_stays_monotone_and_submodular_for_negative_cosines():
    features = np.random.default_rng(2).normal(size=(9, 2))
    problem = Problem.from_features(features, 3)
    assert problem.similarity.min() < -0.9
    assert violations(FacilityLocation(), problem, "monotone") == 0.0
    assert violations(FacilityLocation(), problem, "submodular") == 0.0


def test_facility_location_is_exact_arithmetic(make_problem):
    """Summation order cannot matter: naive differences and incremental gains agree to the last bit."""
    problem = make_problem(rows=5, columns=5, seed=4)
    objective, state, selected = FacilityLocation(), None, []
    state = objective.start(problem)
    for token in (3, 17, 8, 24):
        for other in set(range(25)) - set(selected):
            step = objective.value(problem, [*selected, other]) - objective.value(problem, selected)
            assert objective.gains(state)[other] == step
        state = objective.add(state, token)
        selected.append(token)


def test_values_follow_their_definitions(make_problem):
    problem = make_problem(seed=5)
    cosine = problem.similarity
    for selected in itertools.combinations(range(6), 3):
        rows = list(selected)
        covered = np.maximum(cosine[:, rows].max(axis=1), 0.0).sum()
        assert FacilityLocation().value(problem, rows) == pytest.approx(covered, abs=1e-6)
        sub = cosine[np.ix_(rows, rows)]
        assert LogDet().value(problem, rows) == pytest.approx(np.linalg.slogdet(sub + 1e-6 * np.eye(3))[1])
        q = problem.signals["relevance"][rows]
        with_quality = np.linalg.slogdet(sub + 1e-6 * np.eye(3))[1] + 2 * np.log(q).sum()
        assert LogDet("relevance").value(problem, rows) == pytest.approx(with_quality)
        apart = min(1 - cosine[i, j] for i, j in itertools.combinations(rows, 2))
        assert MaxMin().value(problem, rows) == pytest.approx(apart)
        assert MaxMin("chord").value(problem, rows) == pytest.approx(np.sqrt(2 * apart))
        assert Saliency().value(problem, rows) == pytest.approx(problem.signals["cls"][rows].sum())
