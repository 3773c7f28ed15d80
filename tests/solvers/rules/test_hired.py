"""HiRED: top-k in a tile, and the budget of each tile against a slow oracle and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvers.rules import fastervlm, hired, hired_quotas


def slow_counts(attention, grid, tiles, alpha, areas):
    """How many of the most attended tokens lie in each sub-image, a token at a time."""
    rows, columns = grid
    order = sorted(range(rows * columns), key=lambda token: (-attention[token], token))
    counts = [0] * (tiles[0] * tiles[1])
    for token in order[: int(rows * columns * (1 - alpha))]:
        row, column = divmod(token, columns)
        down, across = int((row + 0.5) / rows * tiles[0]), int((column + 0.5) / columns * tiles[1])
        counts[down * tiles[1] + across if areas == "squares" else token * len(counts) // (rows * columns)] += 1
    return counts


@given(
    seed=st.integers(0, 10**6),
    tiles=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    alpha=st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    areas=st.sampled_from(["squares", "runs"]),
    data=st.data(),
)
@settings(max_examples=60)
def test_follows_the_description(seed, tiles, alpha, areas, data):
    attention = np.random.default_rng(seed).random(48)
    sub_images = tiles[0] * tiles[1]
    keep = data.draw(st.integers(1, 48 * (1 + sub_images)))
    given = hired_quotas(attention, (6, 8), tiles, keep, alpha, areas=areas)
    assert given.dtype == np.int64
    assert given.sum() == keep
    assert ((given >= 0) & (given <= 48)).all()
    counts = slow_counts(attention, (6, 8), tiles, alpha, areas)
    whole = min(int(keep * alpha), 48)
    if keep - whole > 48 * sub_images:
        assert given[1:].tolist() == [48] * sub_images
        return
    assert given[0] == whole
    if sum(counts):
        # No sub-image gets less than the reference gives it: its share, rounded down, as far as it has tokens.
        shares = [min(count * (keep - whole) // sum(counts), 48) for count in counts]
        assert (given[1:] >= shares).all()


def test_by_hand():
    """Of 4 x 4 tokens the 8 most attended lie 4, 2, 2, 0 in the quarters: 10 tokens go 5, 2, 2, 0, one is left."""
    attention = np.zeros((4, 4))
    attention[:2, :2] = 0.9
    attention[0, 2:] = 0.8
    attention[2:, 0] = 0.7
    assert hired_quotas(attention.ravel(), (4, 4), (2, 2), 20).tolist() == [10, 6, 2, 2, 0]
    # As runs of four tokens the same ones lie 4, 2, 1, 1.
    assert hired_quotas(attention.ravel(), (4, 4), (2, 2), 20, areas="runs").tolist() == [10, 6, 2, 1, 1]


def test_where_the_reference_looks_is_not_where_the_sub_image_is():
    """Attention in the left half only: columns of sub-images tell it from the right one, runs of the raster do not."""
    attention = np.zeros((8, 8))
    attention[:, :4] = 1.0
    assert hired_quotas(attention.ravel(), (8, 8), (1, 2), 40).tolist() == [20, 20, 0]
    assert hired_quotas(attention.ravel(), (8, 8), (1, 2), 40, areas="runs").tolist() == [20, 10, 10]


def test_full_parts_pass_on_what_they_cannot_hold():
    attention = np.linspace(1.0, 0.0, 16)
    assert hired_quotas(attention, (4, 4), (2, 1), 24, sizes=[16, 6, 16]).tolist() == [12, 6, 6]
    assert hired_quotas(attention, (4, 4), (2, 1), 24, sizes=[16, 6, 4]).tolist() == [14, 6, 4]
    assert hired_quotas(attention, (4, 4), (2, 1), 24, sizes=[3, 16, 16]).tolist() == [3, 16, 5]
    assert hired_quotas(attention, (4, 4), (2, 1), 26, sizes=[16, 6, 4]).tolist() == [16, 6, 4]


def test_one_tile_is_top_k():
    attention = np.random.default_rng(1).random(50)
    for keep in range(1, 51):
        assert hired(attention, keep).tolist() == fastervlm(attention, keep).tolist()
    assert hired([1, 2, 2, 2, 0], 2).tolist() == [1, 2]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"first_attention": np.ones((4, 4))}, r"`first_attention` must have shape \[token\], got \(4, 4\)"),
        ({"first_attention": [np.nan] + [1.0] * 15}, r"`first_attention` must be finite, got 1 NaN"),
        ({"grid": (4, 5)}, r"`grid` must hold 16 tokens \(rows \* columns\), got 4 x 5"),
        ({"tiles": (0, 2)}, r"`tiles` must hold at least one row and column, got 0 x 2"),
        ({"tiles": 4}, r"`tiles` must be two integers \(rows, columns\), got 4"),
        ({"alpha": 1.5}, r"`alpha` must be in \[0, 1\], got 1.5"),
        ({"areas": "bands"}, r"`areas` must be one of 'squares', 'runs', got 'bands'"),
        ({"keep": 0}, r"`keep` must be in \[1, 80\], got 0"),
        ({"keep": 81}, r"`keep` must be in \[1, 80\], got 81"),
        ({"sizes": [16, 2, 2, 2, 2], "keep": 25}, r"`keep` must be in \[1, 24\], got 25"),
        ({"sizes": [16, 16]}, r"`sizes` must have shape \[1 \+ sub-images\] = \[5\], got \(2,\)"),
        ({"sizes": [16, 2, -1, 2, 2]}, r"`sizes` must not be negative, got -1"),
        ({"sizes": [16, 2, 1.5, 2, 2]}, r"`sizes` must be an integer, got 16.0"),
    ],
)
def test_refuses_what_it_cannot_divide(changed, message):
    arguments = {"first_attention": np.ones(16), "grid": (4, 4), "tiles": (2, 2), "keep": 20} | changed
    with pytest.raises(ValueError, match=message):
        hired_quotas(**arguments)
