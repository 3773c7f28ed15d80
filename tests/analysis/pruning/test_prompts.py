"""Which images a prompt holds."""

from __future__ import annotations

import pytest

from analysis.pruning.prompts import images_of_prompts


def test_images_follow_each_other_through_the_prompts() -> None:
    assert images_of_prompts([5, 0, 7], [2, 3, 7]) == [[0, 1], [], [2]]
    assert images_of_prompts([0, 4], [4]) == [[], [0]]


def test_repeated_prompts_share_their_images() -> None:
    assert images_of_prompts([5, 5, 0, 0, 7, 7], [2, 3, 7]) == [[0, 1], [0, 1], [], [], [2], [2]]


@pytest.mark.parametrize(
    ("placeholders", "sizes", "text"),
    [
        (
            [5, 2],
            [3, 4],
            r"prompt 0 holds 5 image placeholders, which is no whole number of the images that follow, of 3, 4",
        ),
        ([9], [4], r"the prompts hold 9 image placeholders, got 1 images with 4 visual tokens in all"),
        ([3], [4], r"hold 3 image placeholders, got 1 images with 4"),
        ([4, 4, 4], [4, 2], r"hold 12 image placeholders, got 2 images with 6"),
        ([4], [], r"hold 4 image placeholders, got 0 images with 0"),
    ],
)
def test_placeholders_that_do_not_fit(placeholders: list[int], sizes: list[int], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        images_of_prompts(placeholders, sizes)
