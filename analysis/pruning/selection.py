"""From encoded images to what each prompt keeps: budgets of tiles, selection, merging."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from solvers.arrays import Float64Array, IntArray
from solvers.names import nearest

from .encode import Encoded
from .merger import AbstractMerger
from .pruner import AbstractPruner, Keep, budget_of
from .tokens import VisualTokens, joined

Project = Callable[[Tensor], Tensor]
SeparatorPolicy = Literal["drop", "keep"]
"""What becomes of placeholders that show nothing, such as the newlines of LLaVA-NeXT, once an image is pruned: they go,
as in the released evaluations of VisPruner and FasterVLM, or they all stay. They never count towards the budget."""
TilePolicy = Literal["each", "together"]
"""Whether a rule sees the tiles of an image one by one, each with its share of the budget, or all as one picture."""


@dataclass(frozen=True, eq=False)
class Kept:
    """What one image or one prompt keeps.

    Attributes
    ----------
    places
        int64, ascending: indices among the placeholders of the image or, for a prompt, of all its images.
    merged
        What stands at these places instead of the tokens that were there [place, hidden], or None: the tokens stay.
    weights
        Of which placeholders the merged tokens are sums, and with which weights: sparse [place, placeholder].
    """

    places: IntArray
    merged: Tensor | None = None
    weights: scipy.sparse.csr_array | None = None

    def of(self, rows: Tensor) -> Tensor:
        """Other `rows` of the placeholders [placeholder, dim], selected or merged in the same way [place, dim]."""
        if self.weights is None:
            return rows[torch.as_tensor(self.places)]
        weights = torch.as_tensor(self.weights.toarray(), dtype=torch.float32, device=rows.device)
        return (weights @ rows.float()).to(rows.dtype)


@dataclass(frozen=True, eq=False)
class _Part:
    """What one picture of an image keeps: `places` among the placeholders, and what is merged there, as in `Kept`."""

    places: IntArray
    merged: Tensor | None = None
    weights: tuple[Float64Array, IntArray, IntArray] | None = None

    def over(self, placeholders: int) -> scipy.sparse.csr_array:
        """The weights as a matrix [place, placeholder]."""
        alone = (np.ones(len(self.places)), self.places, np.arange(len(self.places) + 1))
        return scipy.sparse.csr_array(self.weights or alone, shape=(len(self.places), placeholders))


@dataclass(frozen=True)
class Selector:
    """Applies one pruner to encoded images.

    Parameters
    ----------
    pruner, keep
        What chooses, and how many tokens of each image: a number, or a share in (0, 1).
    separators, tiles
        See `SeparatorPolicy` and `TilePolicy`.
    reorder
        Whether merged tokens stand in the order in which the rule gives them; else in that of their anchors.
    project
        From merged features [token, dim] to the embedding space of the language model; None merges in that space.
    """

    pruner: AbstractPruner
    keep: Keep
    separators: SeparatorPolicy = "drop"
    tiles: TilePolicy = "each"
    reorder: bool = False
    project: Project | None = None

    def of_image(self, encoded: Encoded, image: int, change: Callable[[VisualTokens], VisualTokens]) -> Kept:
        """What an image keeps; `change` adds to the tokens what depends on the question."""
        layout = encoded.layouts[image]
        first = sum(len(entry.tiles) for entry in encoded.layouts[:image])
        numbers = range(first, first + len(layout.tiles))
        keep = budget_of(self.keep, layout.patches, image)
        everything = np.arange(layout.tokens, dtype=np.int64)
        if keep == layout.patches:
            return Kept(everything)
        seen = [change(encoded[number]) for number in numbers]
        if len(seen) > 1 and self.tiles == "together":
            features = torch.cat([encoded.features[number] for number in numbers])
            resampled = any(tile.resampled for tile in layout.tiles)
            sources = np.concatenate([tile.places for tile in layout.tiles])
            found = [self._of_tile(joined(seen), keep, features, None if resampled else self.project, sources)]
        else:
            shares = self.pruner.quotas(seen, keep)
            found = []
            for tile, tokens, share, number in zip(layout.tiles, seen, shares, numbers, strict=True):
                if share:
                    project = None if tile.resampled else self.project
                    found.append(self._of_tile(tokens, share, encoded.features[number], project, tile.places))
        return self._in_place(found, layout.separators, encoded.projected[image])

    def _of_tile(
        self, tokens: VisualTokens, keep: int, features: Tensor, project: Project | None, sources: IntArray
    ) -> _Part:
        """Kept tokens of one picture, which are at `sources`, and what stands in their place."""
        if not isinstance(self.pruner, AbstractMerger):
            return _Part(sources[self.pruner.select(tokens, keep)])
        made = self.pruner.assign(tokens, keep)
        if made.is_selection and not self.reorder:
            return _Part(sources[made.indices])
        made = made if self.reorder else made.in_index_order()
        weights = torch.as_tensor(made.weights.toarray()).float()
        if project is None:
            merged = weights.to(features.device) @ torch.tensor(tokens.projected, device=features.device)
        else:
            merged = project((weights.to(features.device) @ features.float()).to(features.dtype)[None])[0]
        parts = (made.weights.data, sources[made.weights.indices], made.weights.indptr)
        return _Part(sources[made.indices], merged, parts)

    def _in_place(self, found: Sequence[_Part], separators: IntArray, rows: Tensor) -> Kept:
        """The parts of an image in the order of its placeholders."""
        staying = separators if self.separators == "keep" else separators[:0]
        parts = [*found, _Part(staying)]
        places = np.concatenate([part.places for part in parts])
        order = np.argsort(places)
        if all(part.merged is None for part in parts):
            return Kept(places[order])
        content = [
            rows[torch.as_tensor(part.places)] if part.merged is None else part.merged.to(rows) for part in parts
        ]
        weights = scipy.sparse.vstack([part.over(len(rows)) for part in parts], format="csr")
        return Kept(places[order], torch.cat(content)[torch.as_tensor(order)], weights[order])


def of_prompt(parts: Sequence[Kept], sizes: Sequence[int], projected: Sequence[Tensor]) -> Kept:
    """The images of one prompt put together: places count over all its placeholders."""
    if not parts:
        return Kept(np.empty(0, dtype=np.int64))
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
    places = np.concatenate([part.places + start for part, start in zip(parts, starts, strict=True)])
    if all(part.merged is None for part in parts):
        return Kept(places)
    rows = [part.of(own) if part.merged is None else part.merged for part, own in zip(parts, projected, strict=True)]
    weights = [
        _Part(part.places).over(size) if part.weights is None else part.weights
        for part, size in zip(parts, sizes, strict=True)
    ]
    return Kept(places, torch.cat(rows), scipy.sparse.block_diag(weights, format="csr"))


def checked_separators(value: str) -> SeparatorPolicy:
    """`value`, if it names a policy; KeyError with the nearest otherwise."""
    return nearest(value, get_args(SeparatorPolicy), "separators policy")  # type: ignore[return-value]


def checked_tiles(value: str) -> TilePolicy:
    """`value`, if it names a policy; KeyError with the nearest otherwise."""
    return nearest(value, get_args(TilePolicy), "tiles policy")  # type: ignore[return-value]
