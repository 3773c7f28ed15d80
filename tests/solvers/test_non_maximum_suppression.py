"""Non-maximum suppression: salient tokens that do not look alike, then the best of the suppressed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from solvers import FacilityLocation, NonMaximumSuppression, Problem, TopK
from solvers.rules import greedyprune


def slow_suppression(similarity, saliency, budget, threshold):
    order = sorted(range(len(saliency)), key=lambda token: (-saliency[token], token))
    chosen: list[int] = []
    for token in order:
        if all(similarity[token, other] <= threshold for other in chosen):
            chosen.append(token)
    chosen = chosen[:budget]
    return [*chosen, *[token for token in order if token not in chosen]][:budget]


@given(
    seed=st.integers(0, 10**6),
    tokens=st.integers(1, 25),
    share=st.floats(0, 1),
    threshold=st.floats(-1, 1),
    levels=st.sampled_from([2, 1000]),
)
def test_agrees_with_the_slow_oracle(seed, tokens, share, threshold, levels):
    rng = np.random.default_rng(seed)
    saliency = rng.integers(0, levels, tokens).astype(float)
    budget = max(1, round(share * tokens))
    problem = Problem.from_features(rng.normal(size=(tokens, 3)), budget, signals={"cls": saliency})
    expected = slow_suppression(problem.similarity, saliency, budget, threshold)
    solution = NonMaximumSuppression(threshold=threshold).solve(problem, FacilityLocation())
    assert solution.selected.tolist() == expected


@pytest.mark.parametrize("threshold", [0.3, 0.6, 0.9])
def test_with_the_cosine_to_the_question_it_is_greedyprune(threshold, make_problem):
    base = make_problem(rows=5, columns=5, budget=9)
    text = base.signals["text"].mean(axis=0)
    unit = base.features / np.linalg.norm(base.features, axis=1, keepdims=True)
    problem = Problem.from_features(base.features, 9, signals={"saliency": unit @ text / np.linalg.norm(text)})
    solution = NonMaximumSuppression("saliency", threshold).solve(problem, FacilityLocation())
    assert sorted(solution.selected.tolist()) == greedyprune(base.features, text, 9, threshold).tolist()


def test_nothing_is_suppressed_at_a_threshold_of_one(make_problem):
    problem = make_problem(budget=5)
    top = TopK().solve(problem, FacilityLocation())
    loose = NonMaximumSuppression(threshold=1.0).solve(problem, FacilityLocation())
    assert loose.selected.tolist() == top.selected.tolist()


def test_equal_tokens_and_equal_signals_go_to_the_lowest_index():
    problem = Problem.from_features(np.ones((6, 3)), 4, signals={"cls": np.ones(6)})
    assert NonMaximumSuppression().solve(problem, FacilityLocation()).selected.tolist() == [0, 1, 2, 3]


def test_a_similarity_equal_to_the_threshold_is_not_too_similar():
    similarity = [[1.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 1.0]]
    problem = Problem.from_similarity(similarity, 2, signals={"cls": [3.0, 2.0, 1.0]})
    assert NonMaximumSuppression(threshold=0.5).solve(problem, FacilityLocation()).selected.tolist() == [0, 1]
    assert NonMaximumSuppression(threshold=0.4).solve(problem, FacilityLocation()).selected.tolist() == [0, 2]


def test_parameters_are_checked(make_problem):
    with pytest.raises(ValueError, match="`threshold` must be finite, got inf"):
        NonMaximumSuppression(threshold=np.inf)
    reason = NonMaximumSuppression("clss").supports(make_problem(), FacilityLocation())
    assert "unknown signal 'clss'; did you mean 'cls'" in reason
    assert NonMaximumSuppression(threshold=0.5).name == "NonMaximumSuppression(threshold=0.5)"
