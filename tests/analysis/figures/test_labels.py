"""Labels keep their order, their distance and their room, and move as little as possible."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from analysis.figures.labels import spread_apart


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0.001, 0.3))
def test_gap_order_and_room(positions: list[float], gap: float) -> None:
    placed = spread_apart(positions, gap, 0.0, 1.0)
    room = min(gap, 1.0 / max(len(positions) - 1, 1))
    order = np.argsort(positions, kind="stable")
    assert (np.diff(placed[order]) >= room - 1e-9).all()
    assert placed.min() >= -1e-9
    assert placed.max() <= 1 + 1e-9


def test_labels_that_do_not_touch_stay_where_they_are() -> None:
    np.testing.assert_array_equal(spread_apart([0.9, 0.1, 0.5], 0.2, 0, 1), [0.9, 0.1, 0.5])


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_a_general_optimiser(seed: int) -> None:
    wanted = np.sort(np.random.default_rng(seed).uniform(0, 1, 6))
    gap = 0.12
    reference = minimize(
        lambda y: ((y - wanted) ** 2).sum(),
        np.linspace(0, 1, 6),
        bounds=[(0, 1)] * 6,
        constraints={"type": "ineq", "fun": lambda y: np.diff(y) - gap},
        method="SLSQP",
        options={"ftol": 1e-12},
    )
    np.testing.assert_allclose(spread_apart(wanted, gap, 0, 1), reference.x, atol=1e-5)


def test_no_labels() -> None:
    assert spread_apart([], 0.1, 0, 1).size == 0
