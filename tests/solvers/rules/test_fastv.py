"""FastV and PyramidDrop: one arithmetic, two sources of attention."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from solvers.rules import fastv, pyramiddrop

BOTH = pytest.mark.parametrize("select", [fastv, pyramiddrop])


@BOTH
@given(levels=st.lists(st.integers(0, 5), min_size=1, max_size=40), share=st.floats(0, 1), scale=st.floats(0.01, 100))
def test_no_dropped_token_has_more_attention_than_a_kept_one(select, levels, share, scale):
    """With few levels, so that most selections are decided by ties: by index then."""
    keep = max(1, round(share * len(levels)))
    kept = select(np.array(levels) * scale, keep)
    order = sorted(range(len(levels)), key=lambda token: (-levels[token], token))
    assert kept.tolist() == sorted(order[:keep])


@BOTH
def test_stages_of_one_row_are_nested(select, rule_evidence):
    """What a later stage keeps of an earlier one is what it would have kept of all, if attention stays the same."""
    attention = rule_evidence(3)["attention"]
    first = select(attention, 15)
    np.testing.assert_array_equal(first[select(attention[first], 6)], select(attention, 6))


@BOTH
def test_refuses_attention_by_head(select):
    with pytest.raises(ValueError, match=r"`attention` must have shape \[token\], got \(4, 30\)"):
        select(np.ones((4, 30)), 6)
