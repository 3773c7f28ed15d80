"""Pooling: torch's adaptive average pooling as the oracle, and the choice of the grid."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from solvers.rules import pooling

SIDES = st.integers(1, 14)


def chosen_grid(rows: int, columns: int, keep: int) -> tuple[int, int]:
    """The grid as stated, by trying every factor at which a side changes."""
    best = (1, 1)
    for part in range(1, rows * columns + 1):
        # Multiples of 1 / (rows * columns) contain every such factor.
        height, width = (max(1, part * side // (rows * columns)) for side in (rows, columns))
        if height * width <= keep and height * width >= best[0] * best[1]:
            best = (height, width)
    return best


@given(rows=SIDES, columns=SIDES, share=st.floats(0, 1))
def test_agrees_with_adaptive_average_pooling(rows, columns, share):
    keep = max(1, round(share * rows * columns))
    height, width = chosen_grid(rows, columns, keep)
    merged = pooling((rows, columns), keep)
    assert merged.outputs == height * width <= keep
    features = np.random.default_rng(rows * columns).normal(size=(rows * columns, 3))
    picture = torch.tensor(features.T.reshape(3, rows, columns))
    pooled = torch.nn.functional.adaptive_avg_pool2d(picture, (height, width)).numpy()
    np.testing.assert_allclose(merged.apply(features), pooled.reshape(3, -1).T, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("grid", "keep", "outputs"),
    [
        ((24, 24), 64, 64),
        ((24, 24), 128, 121),
        ((24, 24), 192, 169),
        ((24, 24), 32, 25),
        ((24, 12), 64, 55),  # 11 x 5; 12 x 6 has 72
        ((2, 20), 5, 5),
        ((24, 24), 576, 576),
    ],
)
def test_how_many_tokens_a_budget_gives(grid, keep, outputs):
    assert pooling(grid, keep).outputs == outputs


def test_hand_example():
    """3 x 3 into 2 x 2: the cells overlap in the middle row and column."""
    merged = pooling((3, 3), 4)
    assert merged.anchors.tolist() == [0, 1, 3, 4]
    expected = np.zeros((4, 3, 3))
    expected[0, :2, :2] = expected[1, :2, 1:] = expected[2, 1:, :2] = expected[3, 1:, 1:] = 0.25
    np.testing.assert_array_equal(merged.weights.toarray(), expected.reshape(4, 9))


def test_anchors_are_in_the_middle_of_their_cells():
    assert pooling((6, 6), 4).anchors.tolist() == [7, 10, 25, 28]
    assert pooling((5, 5), 1).anchors.tolist() == [12]
    assert pooling((4, 4), 1).anchors.tolist() == [5]


@given(rows=SIDES, columns=SIDES, share=st.floats(0, 1))
def test_anchors_lie_in_their_cells_in_index_order(rows, columns, share):
    merged = pooling((rows, columns), max(1, round(share * rows * columns)))
    assert merged == merged.in_index_order()
    assert (merged.weights.toarray()[np.arange(merged.outputs), merged.anchors] > 0).all()
    np.testing.assert_allclose(merged.weights.sum(axis=1), 1.0)
    assert set(merged.weights.indices) == set(range(rows * columns))


def test_the_whole_budget_changes_nothing():
    assert pooling((5, 7), 35).is_selection


@pytest.mark.parametrize("grid", [(0, 4), 5, (2, 2, 2), (2.0, 3)])
def test_refuses_what_is_no_grid(grid):
    with pytest.raises(ValueError, match="`grid` must "):
        pooling(grid, 2)
