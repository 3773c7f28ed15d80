"""Which images a prompt holds: placeholders counted against the images that were encoded."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate


def images_of_prompts(placeholders: Sequence[int], sizes: Sequence[int]) -> list[list[int]]:
    """Numbers of the images of each prompt, in the order of their placeholders.

    `generate` repeats prompts for beams and samples, each with all its images, and the encoded images stay what they
    were: the same images then belong to several prompts in a row.

    Parameters
    ----------
    placeholders
        Per prompt, how many placeholders it holds.
    sizes
        Per encoded image, how many it needs.

    Raises
    ------
    ValueError
        If the prompts do not hold each image exactly once, or each the same number of times; or split an image.
    """
    held, needed = sum(placeholders), sum(sizes)
    repeats = held // needed if needed else 0
    if not repeats or held % needed or len(placeholders) % repeats:
        raise ValueError(
            f"the prompts hold {held} image placeholders, got {len(sizes)} images with {needed} visual tokens in all"
        )
    ends = list(accumulate(sizes))
    images: list[list[int]] = []
    image = start = 0
    for number, count in enumerate(placeholders[::repeats]):
        first, start = image, start + count
        while image < len(ends) and ends[image] <= start:
            image += 1
        if (ends[image - 1] if image else 0) != start:
            raise ValueError(
                f"prompt {number * repeats} holds {count} image placeholders, which is no whole number of the images "
                f"that follow, of {', '.join(map(str, sizes[first : first + 3]))} ... visual tokens"
            )
        images += [list(range(first, image))] * repeats
    return images
