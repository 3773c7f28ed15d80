"""FEATHER: a union of two samples, of exactly the size asked for or as published."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from solvers.rules import fastv, feather


def slow_union(attention, by_attention, rows, columns, stride):
    order = sorted(range(len(attention)), key=lambda token: -attention[token])
    regular = {r * columns + c for r in range(rows) for c in range(columns) if r % stride == 0 and c % stride == 0}
    return sorted(regular | set(order[:by_attention]))


GRIDS = {"rows": st.integers(1, 9), "columns": st.integers(1, 9), "stride": st.integers(1, 10)}


@given(seed=st.integers(0, 10**6), share=st.floats(0, 1), **GRIDS)
def test_as_published_the_sample_comes_on_top(seed, share, rows, columns, stride):
    attention = np.random.default_rng(seed).random(rows * columns)
    keep = max(1, round(share * attention.size))
    kept = feather(attention, keep, (rows, columns), stride, exact=False)
    assert (kept.dtype, kept.tolist()) == (np.int64, slow_union(attention, keep, rows, columns, stride))


@given(seed=st.integers(0, 10**6), share=st.floats(0, 1), **GRIDS)
def test_exactly_the_budget_is_one_of_the_published_unions(seed, share, rows, columns, stride):
    """For some number of tokens by attention; with a wider stride if the sample alone is too large."""
    attention = np.random.default_rng(seed).random(rows * columns)
    keep = max(1, round(share * attention.size))
    kept = feather(attention, keep, (rows, columns), stride)
    assert len(kept) == keep
    while -(-rows // stride) * -(-columns // stride) > keep:
        stride += 1
    unions = [slow_union(attention, count, rows, columns, stride) for count in range(attention.size + 1)]
    assert kept.tolist() in unions


def test_hand_example():
    """Stride 2 on 3 x 4 tokens: 0, 2, 8, 10."""
    attention = [0, 5, 0, 1, 0, 9, 0, 2, 7, 0, 0, 3]
    assert feather(attention, 4, (3, 4), 2).tolist() == [0, 2, 8, 10]
    assert feather(attention, 6, (3, 4), 2).tolist() == [0, 1, 2, 5, 8, 10]
    assert feather(attention, 3, (3, 4), 2, exact=False).tolist() == [0, 1, 2, 5, 8, 10]
    assert feather(attention, 3, (3, 4), 2).tolist() == [0, 3, 5]


def test_published_first_stage():
    """27 x 27 tokens, 30 % by attention: between 218 and 218 + 81."""
    attention = np.random.default_rng(0).random(729)
    kept = feather(attention, int(729 * 0.3), (27, 27), exact=False)
    assert 218 < len(kept) < 299
    assert {row * 27 + column for row in range(0, 27, 3) for column in range(0, 27, 3)} <= set(kept.tolist())
    np.testing.assert_array_equal(kept, feather(attention, len(kept), (27, 27)))


def test_second_stage_is_by_attention_alone():
    attention = np.random.default_rng(1).random(64)
    kept = feather(attention, 30, (8, 8))
    later = np.random.default_rng(2).random(64)
    survivors = kept[fastv(later[kept], 5)]
    assert survivors.tolist() == sorted(sorted(kept, key=lambda token: -later[token])[:5])


def test_equal_attention_gives_the_lowest_indices():
    assert feather(np.ones(16), 6, (4, 4)).tolist() == [0, 1, 2, 3, 12, 15]


def test_refuses_what_it_cannot_use():
    with pytest.raises(ValueError, match=r"`grid` must hold 16 tokens \(rows \* columns\), got 4 x 5"):
        feather(np.ones(16), 6, (4, 5))
    with pytest.raises(ValueError, match="`stride` must be at least 1, got 0"):
        feather(np.ones(16), 6, (4, 4), 0)
    with pytest.raises(ValueError, match=r"`stride` must be an integer, got 2\.0"):
        feather(np.ones(16), 6, (4, 4), 2.0)
