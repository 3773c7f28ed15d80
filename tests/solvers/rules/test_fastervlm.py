"""FasterVLM: top-k with ties to the lowest index."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from solvers.rules import fastervlm


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=20), st.data())
def test_is_top_k_with_ties_to_the_lowest_index(attention, data):
    keep = data.draw(st.integers(1, len(attention)))
    order = sorted(range(len(attention)), key=lambda token: (-attention[token], token))
    assert fastervlm(attention, keep).tolist() == sorted(order[:keep])


def test_smaller_budgets_are_nested():
    attention = np.random.default_rng(1).random(50)
    kept = [set(fastervlm(attention, keep).tolist()) for keep in range(1, 51)]
    assert all(smaller < larger for smaller, larger in itertools.pairwise(kept))


def test_half_precision_attention_is_ranked():
    assert fastervlm(np.array([0.5, 0.25, 0.75], dtype=np.float16), 2).tolist() == [0, 2]
