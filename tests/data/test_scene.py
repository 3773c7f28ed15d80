"""The renderer: what it says about a picture is true of the pixels."""

from collections import Counter

import numpy as np
import pytest

from data.make.batches import dense_labels, scene_totals
from data.make.scene import GRID, PALETTE, PATCH, render
from data.make.sprites import TILTS, shape_mask
from data.make.vocabulary import COLOR_NAMES, SHAPES


@pytest.fixture(scope="module")
def scenes():
    rng = np.random.default_rng(5)
    return [render(rng) for _ in range(25)]


def test_same_seed_same_picture():
    first, second = (render(np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first.pixels, second.pixels)
    assert first.items == second.items


def test_owner_pixels_have_the_items_color(scenes):
    for scene in scenes:
        for item in scene.of("object"):
            seen = np.median(scene.pixels[scene.owner == item.index], axis=0)
            distance = np.abs(PALETTE - seen).sum(1)
            assert distance.argmin() == item.color, COLOR_NAMES[item.color]


def test_items_do_not_overlap_and_lie_inside(scenes):
    for scene in scenes:
        for item in scene.items:
            rows, cols = np.nonzero(scene.owner == item.index)
            assert rows.size > 0
            assert abs(rows.mean() - item.y) < 6
            assert abs(cols.mean() - item.x) < 6


def test_every_shape_differs_from_every_other_at_any_tilt():
    masks = [(shape, shape_mask(shape, 24, tilt)) for shape in SHAPES for tilt in TILTS]
    for shape, mask in masks:
        for other, against in masks:
            if shape != other:
                assert np.abs(mask - against).mean() > 0.03, (shape, other)


def test_patches_of_leaves_out_only_slivers(scenes):
    for scene in scenes:
        for item in scene.items:
            rows, cols = np.nonzero(scene.owner == item.index)
            pixels = Counter(((rows // PATCH) * GRID + cols // PATCH).tolist())
            most = max(pixels.values())
            expected = {patch for patch, count in pixels.items() if count >= 4}
            fullest = min(patch for patch, count in pixels.items() if count == most)
            assert set(scene.patches_of(item).tolist()) == (expected or {fullest})


def test_dense_labels_agree_with_the_items(scenes):
    for scene in scenes:
        kind, color, digit = dense_labels(scene)
        for item in scene.of("object"):
            centre = int(item.y) // PATCH * GRID + int(item.x) // PATCH
            if SHAPES[item.shape] != "ring":  # a ring is hollow where its centre is
                assert kind[centre] == item.shape + 1
                assert color[centre] == item.color + 1
        shown = {int(d) - 1 for d in digit if d}
        assert shown <= {d for sign in scene.of("sign") for d in sign.digits}


def test_totals_count_each_item_once(scenes):
    for scene in scenes:
        pairs = {(item.kind, item.color, item.shape) for item in scene.items if item.kind != "sign"}
        bigrams = {pair for sign in scene.of("sign") for pair in zip(sign.digits[:-1], sign.digits[1:], strict=True)}
        assert scene_totals(scene).sum() == len(pairs) + len(bigrams)
