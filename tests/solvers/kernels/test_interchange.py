"""Swap search against both of its rules written out by values, and whole greedy loops against their steps."""

from __future__ import annotations

import numpy as np
import pytest

from solvers import FacilityLocation, MaxMin, Problem
from solvers.greedy import WHOLE_LOOPS, greedy_picks
from solvers.kernels.interchange import eager_swaps, steepest_swaps


def worths(seed, clients, tokens):
    """Multiples of 2**-4 [client, token], so that many swaps tie and every sum is exact."""
    worth = np.random.default_rng(seed).integers(0, 17, (clients, tokens)) / 16.0
    worth.setflags(write=False)
    return worth


def value(worth, selected):
    return worth[:, selected].max(axis=1).sum()


def best_swap(worth, selected, token):
    """Profit and position of the best swap that brings `token` in; the first of equal ones."""
    profits = [
        value(worth, [*selected[:p], token, *selected[p + 1 :]]) - value(worth, selected) for p in range(len(selected))
    ]
    return max(profits), int(np.argmax(profits))


def by_values(worth, selected, max_moves, eager):
    selected, token, tokens = list(selected), -1, worth.shape[1]
    for _ in range(max_moves):
        order = [(token + 1 + step) % tokens for step in range(tokens)] if eager else range(tokens)
        profits = {t: best_swap(worth, selected, t) for t in order if t not in selected}
        good = [t for t in profits if profits[t][0] > 0]
        if not good:
            break
        # max() keeps the first of equals, which is the lowest token
        token = good[0] if eager else max(good, key=lambda t: profits[t][0])
        selected[profits[token][1]] = token
    return selected


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("max_moves", [1, 2, 100])
def test_both_searches_follow_their_rule_to_the_end(seed, max_moves):
    clients, tokens, budget = [(14, 14, 4), (9, 13, 3), (20, 6, 5), (5, 5, 1)][seed % 4]
    worth = worths(seed, clients, tokens)
    by_token = worth.T.copy()
    by_token.setflags(write=False)
    start = np.random.default_rng(seed).choice(tokens, budget, replace=False)
    for loop, eager in ((steepest_swaps, False), (eager_swaps, True)):
        found = loop(worth, by_token, start, max_moves)
        assert found.selected.tolist() == by_values(worth, start.tolist(), max_moves, eager)
        assert found.moves <= max_moves
        assert found.moves < max_moves or max_moves < 100


def problems():
    rng = np.random.default_rng(3)
    for seed in range(8):
        yield Problem.from_features(np.random.default_rng(seed).normal(size=(40, 12)), 11)
    # Few directions: duplicates, and distances that are equal but for their last bit.
    for _ in range(8):
        yield Problem.from_features(rng.integers(-2, 3, (40, 3)) + 0.5, 30)
    yield Problem.from_features(np.ones((6, 2)), 6)
    yield Problem.from_features(np.ones((1, 2)), 1)


@pytest.mark.parametrize("objective", [FacilityLocation(), MaxMin(), MaxMin("chord")], ids=lambda o: o.name)
def test_one_loop_picks_what_the_steps_pick(objective):
    for problem in problems():
        state, steps = objective.start(problem), []
        for _ in range(problem.budget):
            steps.append(int(np.argmax(objective.gains(state))))
            state = objective.add(state, steps[-1])
        assert type(objective) in WHOLE_LOOPS
        assert greedy_picks(problem, objective).tolist() == steps
