"""A batch of prompts as it enters the first layer: where its visual tokens are, and where its prompts end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from analysis.models.layout import ImageLayout
from solvers.arrays import IntArray

from ..arguments import Prefill
from ..inputs import Shortened, question_mask, take
from ..prompts import images_of_prompts
from ..pruner import Keep, budget_of
from .packing import Packing


@dataclass(frozen=True, eq=False)
class Batch:
    """Prompts ahead of layer 0; columns count in its input.

    Attributes
    ----------
    packing
        All columns.
    words
        bool [prompt, column], True at the words after the image, up to the end of the prompt.
    last
        int64 [prompt], column of the last token of each prompt.
    end
        Columns that belong to the prompts, of those that the base model got.
    places
        Per prompt, which of its placeholders the visual tokens are, ascending.
    images
        Per prompt, the layouts of its images.
    left
        Per prompt and image, how many visual tokens are there.
    """

    packing: Packing
    words: Tensor
    last: Tensor
    end: int
    places: list[IntArray]
    images: list[list[ImageLayout]]
    left: list[list[int]]

    def budgets(self, keep: Keep) -> list[int]:
        """`keep` of every image, summed over those of a prompt.

        Raises
        ------
        ValueError
            If an image is too small for it.
        """
        return [sum(budget_of(keep, count, image) for image, count in enumerate(counts)) for counts in self.left]

    def grid(self, row: int) -> tuple[int, int] | None:
        """Rows and columns, if all images of the prompt are whole pictures of one width; else None."""
        layouts = self.images[row]
        if any(len(layout.tiles) != 1 or len(layout.separators) for layout in layouts):
            return None
        if len(self.places[row]) != sum(layout.tokens for layout in layouts):
            return None
        grids = [layout.tiles[0].grid for layout in layouts]
        widths = {columns for _, columns in grids}
        return (sum(rows for rows, _ in grids), widths.pop()) if len(widths) == 1 else None


def entering(
    seen: Prefill,
    layouts: Sequence[ImageLayout],
    shortened: Shortened | None,
    image_token_id: int,
    asked: int,
) -> Batch:
    """The batch at the first layer.

    Parameters
    ----------
    seen
        The batch as the base model got it.
    layouts
        Of all its images.
    shortened
        What a pruner ahead of the language model has made of it, or None.
    image_token_id
        Of the placeholders.
    asked
        For how many columns at the end logits are asked for; 0 for all. What follows the first of them is no part of
        the prompt: guesses of assisted decoding, an answer to be scored.
    """
    columns = seen.image.shape[1]
    end = columns - max(1, asked) + 1
    if end < 1 or bool(seen.image[:, end - 1 :].any()):  # no question and answer, but all of a prompt
        end = columns
    valid = torch.ones_like(seen.image) if seen.valid is None else seen.valid
    words = question_mask(seen.input_ids, image_token_id, valid)
    prompt = torch.arange(columns, device=words.device).expand(valid.shape) < end
    words, ends = words & prompt, valid & prompt
    image, number = seen.image & valid, seen.image.cumsum(1) - 1
    if shortened is not None:
        at, shown = shortened.columns, shortened.mask
        words, ends, image = (take(part, at, 1) & shown for part in (words, ends, image))
        number, valid = take(number, at, 1), shown
    last = ends.shape[1] - 1 - ends.flip(1).to(torch.int8).argmax(1)
    sizes = [layout.tokens for layout in layouts]
    images = images_of_prompts(seen.image.sum(1).tolist(), sizes)
    places = [own[there].cpu().numpy() for own, there in zip(number, image, strict=True)]
    left = []
    for own, prompt_images in zip(places, images, strict=True):
        edges = np.concatenate([[0], np.cumsum([sizes[one] for one in prompt_images])])
        left.append(np.diff(np.searchsorted(own, edges)).tolist())
    return Batch(
        packing=Packing.whole(image, valid),
        words=words,
        last=last,
        end=end,
        places=places,
        images=[[layouts[one] for one in prompt_images] for prompt_images in images],
        left=left,
    )
