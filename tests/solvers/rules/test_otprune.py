"""OTPrune against determinants from scratch, in both normalisations, and its invariants."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvers import GramLogDet, Greedy, Problem
from solvers.rules import otprune, otprune_kernel


def slow_kernel(features, gamma, normalise):
    axis = 0 if normalise == "columns" else 1
    scaled = features / np.linalg.norm(features, axis=axis, keepdims=True)
    gram = scaled @ scaled.T
    return np.eye(len(features)) + gamma * gram @ gram


def log_det(kernel, chosen):
    return np.linalg.slogdet(kernel[np.ix_(chosen, chosen)])[1]


@given(
    seed=st.integers(0, 10**6),
    tokens=st.integers(1, 14),
    dim=st.integers(2, 20),
    share=st.floats(0, 1),
    gamma=st.sampled_from([0.01, 1.0, 100.0]),
    normalise=st.sampled_from(["columns", "rows"]),
)
@settings(max_examples=60)
def test_agrees_with_determinants_from_scratch(seed, tokens, dim, share, gamma, normalise):
    features = np.random.default_rng(seed).normal(size=(tokens, dim)) + 0.3
    keep = max(1, round(share * tokens))
    kernel = slow_kernel(features, gamma, normalise)
    chosen: list[int] = []
    while len(chosen) < keep:
        left = [token for token in range(tokens) if token not in chosen]
        values = [log_det(kernel, [*chosen, token]) for token in left]
        chosen.append(left[int(np.argmax(values))])
        if len(left) > 1 and np.diff(np.sort(values)[-2:])[0] < 1e-9:
            return  # decided by rounding
    assert otprune(features, keep, gamma, normalise).tolist() == sorted(chosen)


@pytest.mark.parametrize("normalise", ["columns", "rows"])
@pytest.mark.parametrize("seed", range(4))
def test_value_is_within_the_guarantee(seed, normalise):
    features = np.random.default_rng(seed).normal(size=(10, 4))
    kernel = slow_kernel(features, 1.0, normalise)
    best = max(log_det(kernel, list(chosen)) for chosen in itertools.combinations(range(10), 3))
    value = log_det(kernel, otprune(features, 3, 1.0, normalise).tolist())
    assert (1 - 1 / math.e) * best <= value <= best + 1e-12


def test_by_hand():
    """Rows (3, 0), (4, 0), (0, 1): columns scale to .6, .8 and 1, so G has the diagonal .36, .64 and 1."""
    features = [[3.0, 0.0], [4.0, 0.0], [0.0, 1.0]]
    assert otprune(features, 1).tolist() == [2]
    assert otprune(features, 2).tolist() == [1, 2]
    # As rows the first two are the same and G G^T has 2 where they meet, 1 for the third: they start, by 1 + 2 gamma.
    assert otprune(features, 1, normalise="rows").tolist() == [0]
    # The copy adds 1 + 2 gamma - (2 gamma)^2 / (1 + 2 gamma), 1.0196 or 1.995, and the third token 1 + gamma.
    assert otprune(features, 2, 0.01, "rows").tolist() == [0, 1]
    assert otprune(features, 2, 100.0, "rows").tolist() == [0, 2]


def test_what_is_scaled_does_not_count(rule_evidence):
    features = rule_evidence(1)["features"]
    rng = np.random.default_rng(0)
    by_dimension, by_token = np.exp(rng.normal(size=40)), np.exp(rng.normal(size=(30, 1)))
    kept = {name: otprune(features, 9, normalise=name).tolist() for name in ("columns", "rows")}
    assert otprune(features * by_dimension, 9).tolist() == kept["columns"]
    assert otprune(features * by_token, 9, normalise="rows").tolist() == kept["rows"]
    assert otprune(features * by_token, 9).tolist() != kept["columns"]
    # A dimension that is zero everywhere has no length to be scaled by.
    assert otprune(np.hstack([features, np.zeros((30, 3))]), 9).tolist() == kept["columns"]


def test_rows_is_greedy_under_the_objective(rule_evidence):
    features = rule_evidence(5)["features"]
    selected = Greedy().solve(Problem.from_features(features, 12), GramLogDet()).selected
    np.testing.assert_array_equal(otprune(features, 12, normalise="rows"), np.sort(selected))


@pytest.mark.parametrize("normalise", ["columns", "rows"])
def test_each_token_once_and_equal_ones_from_the_lowest(normalise):
    rng = np.random.default_rng(0)
    same = np.tile(rng.normal(size=37), (20, 1))
    assert otprune(same, 5, normalise=normalise).tolist() == [0, 1, 2, 3, 4]
    assert otprune(same, 20, 1e3, normalise=normalise).tolist() == list(range(20))


@pytest.mark.parametrize("normalise", ["columns", "rows"])
def test_a_given_kernel_serves_every_budget(normalise, rule_evidence):
    features = rule_evidence()["features"]
    kernel = otprune_kernel(features, 0.1, normalise)
    np.testing.assert_allclose(kernel, slow_kernel(features, 0.1, normalise), rtol=1e-10, atol=1e-12)
    for keep in range(1, len(features) + 1):
        own = otprune(features, keep, 0.1, normalise)
        np.testing.assert_array_equal(otprune(features, keep, 0.1, normalise, kernel=kernel), own)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"gamma": 0.0}, r"`gamma` must be finite and positive, got 0\.0"),
        ({"gamma": 1e12}, r"`gamma` is too large for these features: similarities must be at most .* for gamma=1e\+12"),
        ({"normalise": "both"}, r"`normalise` must be one of 'columns', 'rows', got 'both'"),
        ({"features": np.zeros((5, 3))}, r"`features` must not be zero everywhere"),
        ({"features": np.zeros((5, 3)), "normalise": "rows"}, r"`features` must have no zero row"),
        ({"kernel": np.eye(4)}, r"`kernel` must have shape \[5, 5\], as many as `features`, got \(4, 4\)"),
    ],
)
def test_refuses_what_it_cannot_scale(changed, message):
    with pytest.raises(ValueError, match=message):
        otprune(**{"features": np.eye(5), "keep": 3} | changed)
