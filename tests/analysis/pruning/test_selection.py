"""From tiles to what an image and a prompt keep: budgets, places, separators, merging."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from analysis.models.layout import ImageLayout, Tile
from analysis.pruning import AbstractPruner, VisualTokens
from analysis.pruning.encode import Encoded
from analysis.pruning.merger import AbstractMerger
from analysis.pruning.pruner import budget_of, equal_shares
from analysis.pruning.selection import Kept, Selector, checked_separators, checked_tiles, of_prompt
from analysis.pruning.tokens import joined
from solvers.rules.assignment import Assignment

Make = Callable[..., VisualTokens]


@dataclass(frozen=True)
class First(AbstractPruner):
    """The first tokens of each picture."""

    name: ClassVar[str] = "first"
    needs: ClassVar[frozenset[str]] = frozenset()
    cite: ClassVar[str] = "test"

    def _select(self, tokens: VisualTokens, keep: int) -> np.ndarray:
        return np.arange(keep)


@dataclass(frozen=True)
class Backwards(AbstractMerger):
    """Sums of neighbours, the last first."""

    name: ClassVar[str] = "backwards"
    needs: ClassVar[frozenset[str]] = frozenset()
    cite: ClassVar[str] = "test"

    def _assign(self, tokens: VisualTokens, keep: int) -> Assignment:
        anchors = np.arange(keep)[::-1].copy()
        weights = np.zeros((keep, len(tokens)))
        weights[np.arange(keep), anchors] = 1
        weights[np.arange(keep), anchors + 1] = 2
        return Assignment(anchors, weights)


@pytest.fixture
def anyres(visual_tokens: Make) -> Encoded:
    """One image: 4 tokens of the whole, then two rows of two crops side by side with a newline behind each row."""
    whole = Tile.whole(0, (2, 2))
    left = Tile(1, (2, 2), np.array([0, 1, 2, 3]), np.array([4, 5, 9, 10]), at=(0, 0), crops=(1, 2))
    right = Tile(2, (2, 2), np.array([0, 1, 2, 3]), np.array([6, 7, 11, 12]), at=(0, 1), crops=(1, 2))
    tokens = tuple(visual_tokens(draw, (2, 2), needed=None) for draw in range(3))
    rows = torch.arange(14.0)[:, None].expand(-1, 10).clone()
    features = tuple(torch.tensor(entry.features) for entry in tokens)
    return Encoded(tokens, (ImageLayout(14, (whole, left, right)),), (rows,), features)


def unchanged(tokens: VisualTokens) -> VisualTokens:
    return tokens


def test_tiles_share_the_budget_and_newlines_go(anyres: Encoded) -> None:
    kept = Selector(First(), 7).of_image(anyres, 0, unchanged)
    assert kept.places.tolist() == [0, 1, 2, 4, 5, 6, 7]  # 3, 2 and 2 of the tiles
    assert kept.merged is None
    assert anyres.layouts[0].separators.tolist() == [8, 13]
    staying = Selector(First(), 7, separators="keep").of_image(anyres, 0, unchanged)
    assert staying.places.tolist() == [0, 1, 2, 4, 5, 6, 7, 8, 13]


def test_keeping_every_patch_keeps_the_newlines_too(anyres: Encoded) -> None:
    assert Selector(First(), 12).of_image(anyres, 0, unchanged).places.tolist() == list(range(14))


def test_tiles_together_are_one_picture(anyres: Encoded) -> None:
    assert Selector(First(), 6, tiles="together").of_image(anyres, 0, unchanged).places.tolist() == [0, 1, 2, 3, 4, 5]
    assert len(joined(list(anyres))) == 12
    everything = joined(list(anyres)).attention_map
    assert everything is not None
    np.testing.assert_array_equal(everything[:4, :4], anyres[0].attention_map)
    assert not everything[:4, 4:].any()


def test_a_share_of_the_tokens(anyres: Encoded) -> None:
    assert len(Selector(First(), 0.25).of_image(anyres, 0, unchanged).places) == 3
    assert len(Selector(First(), 0.01).of_image(anyres, 0, unchanged).places) == 1


@pytest.mark.parametrize("reorder", [False, True])
def test_merged_tokens_stand_at_the_anchors_or_in_the_order_of_the_rule(anyres: Encoded, reorder: bool) -> None:
    selector = Selector(Backwards(), 4, reorder=reorder, project=lambda rows: 10 * rows[..., :1].expand(-1, -1, 10))
    kept = selector.of_image(anyres, 0, unchanged)
    assert kept.places.tolist() == [0, 1, 4, 6]
    assert kept.merged is not None
    first = anyres.features[0][:, 0]
    own = [10 * (first[1] + 2 * first[2]), 10 * (first[0] + 2 * first[1])]
    torch.testing.assert_close(kept.merged[:2, 0], torch.stack(own if reorder else own[::-1]))
    crop = anyres.features[1][:, 0]
    torch.testing.assert_close(kept.merged[2, 0], 10 * (crop[0] + 2 * crop[1]))
    other = torch.arange(14.0)[:, None] ** 2
    sums = [1 + 2 * 4, 0 + 2 * 1, 16 + 2 * 25, 36 + 2 * 49]
    assert kept.of(other)[:, 0].tolist() == [*(sums[:2] if reorder else sums[1::-1]), *sums[2:]]


def test_without_a_projector_of_tokens_merging_happens_behind_it(anyres: Encoded) -> None:
    kept = Selector(Backwards(), 1).of_image(anyres, 0, unchanged)
    assert kept.merged is not None
    own = torch.tensor(anyres[0].projected)
    torch.testing.assert_close(kept.merged[0], own[0] + 2 * own[1])


def test_images_of_a_prompt_are_counted_on() -> None:
    rows = [torch.zeros(3, 2), torch.ones(4, 2)]
    plain = of_prompt([Kept(np.array([0, 2])), Kept(np.array([1]))], [3, 4], rows)
    assert plain.places.tolist() == [0, 2, 4]
    assert plain.merged is None
    mixed = of_prompt([Kept(np.array([0, 2])), Kept(np.array([1]), torch.full((1, 2), 5.0))], [3, 4], rows)
    assert mixed.merged is not None
    assert mixed.merged[:, 0].tolist() == [0.0, 0.0, 5.0]
    assert mixed.of(torch.arange(7.0)[:, None])[:, 0].tolist() == [0.0, 2.0, 4.0]
    assert of_prompt([], [], []).places.size == 0


@pytest.mark.parametrize(
    ("sizes", "keep", "shares"),
    [([4, 4, 4], 7, [3, 2, 2]), ([1, 9], 6, [1, 5]), ([2, 2, 2], 1, [1, 0, 0]), ([3, 0, 5], 8, [3, 0, 5])],
)
def test_equal_shares(sizes: Sequence[int], keep: int, shares: list[int]) -> None:
    assert equal_shares(sizes, keep) == shares


@pytest.mark.parametrize(
    ("keep", "text"),
    [
        (0, r"image 3: `keep` must be in \[1, 16\], got 0"),
        (17, r"image 3: `keep` must be in \[1, 16\], got 17"),
        (1.0, r"image 3: `keep` must be an integer in \[1, 16\], got 1.0"),
        (-0.5, "must be an integer"),
        (float("nan"), "must be an integer"),
        (True, r"`keep` must be in \[1, 16\], got True"),
    ],
)
def test_budgets_that_an_image_cannot_have(keep: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        budget_of(keep, 16, 3)


def test_policies_are_checked_by_name() -> None:
    with pytest.raises(KeyError, match="unknown separators policy 'droop'; did you mean 'drop'"):
        checked_separators("droop")
    with pytest.raises(KeyError, match="unknown tiles policy 'all'"):
        checked_tiles("all")


@pytest.mark.parametrize(
    ("places", "text"),
    [([[0, 1], [1, 2]], "must share no place"), ([[0, 1], [2, 9]], "stay below 4")],
)
def test_layouts_are_checked(places: list[list[int]], text: str) -> None:
    tiles = tuple(Tile(view, (1, 2), np.arange(2), np.array(own)) for view, own in enumerate(places))
    with pytest.raises(ValueError, match=text):
        ImageLayout(4, tiles)
    with pytest.raises(ValueError, match="`sources` must have 4 entries"):
        Tile(0, (2, 2), np.arange(3), np.arange(4))
