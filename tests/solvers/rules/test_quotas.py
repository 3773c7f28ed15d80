"""A divided budget against a slow oracle that hands out tokens one by one, and its invariants."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from solvers.rules.quotas import quotas


def slow_quotas(weights, total, sizes):
    """In exact fractions: shares rounded down and capped, then a token at a time by falling weight."""
    shares = [Fraction(weight * total, sum(weights)) if sum(weights) else Fraction(0) for weight in weights]
    given = [min(math.floor(share), size) for share, size in zip(shares, sizes, strict=True)]
    order = sorted(range(len(weights)), key=lambda part: (-weights[part], part))
    while sum(given) < total:
        for part in order:
            if sum(given) < total and given[part] < sizes[part]:
                given[part] += 1
    return given


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 12)), min_size=1, max_size=7), st.data())
def test_agrees_with_the_slow_oracle(parts, data):
    weights, sizes = (list(column) for column in zip(*parts, strict=True))
    total = data.draw(st.integers(0, sum(sizes)))
    given = quotas(np.array(weights, float), total, np.array(sizes))
    assert given.tolist() == slow_quotas(weights, total, sizes)
    assert given.sum() == total
    assert (given <= sizes).all()


@pytest.mark.parametrize(
    ("weights", "total", "sizes", "expected"),
    [
        ([1, 1, 1, 1], 8, [9, 9, 9, 9], [2, 2, 2, 2]),
        ([1, 1, 1, 1], 6, [9, 9, 9, 9], [2, 2, 1, 1]),
        ([1, 5, 2], 9, [9, 9, 9], [1, 6, 2]),
        ([1, 5, 2], 9, [9, 4, 9], [2, 4, 3]),
        ([0, 0, 0], 4, [9, 9, 9], [2, 1, 1]),
        ([0, 3, 0], 5, [9, 2, 9], [2, 2, 1]),
    ],
)
def test_hand_examples(weights, total, sizes, expected):
    assert quotas(np.array(weights, float), total, np.array(sizes)).tolist() == expected
