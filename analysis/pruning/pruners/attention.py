"""Pruners that follow the vision encoder's own attention: VisPruner, FasterVLM, FoPru, HoloV and HiRED."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from solvers import rules
from solvers.arrays import IntArray

from ..pruner import AbstractPruner
from ..tokens import VisualTokens


@dataclass(frozen=True)
class VisPruner(AbstractPruner):
    """Part of the budget by CLS attention, the rest by removing duplicates.

    Reads what the reference reads: encoder features before the projector, and the head mean of the CLS row in the block
    whose output they are.

    Parameters
    ----------
    important_ratio
        Share of the budget that attention fills, in [0, 1]; 0.5 is the reference's default.
    """

    important_ratio: float = 0.5
    name: ClassVar[str] = "vispruner"
    needs: ClassVar[frozenset[str]] = frozenset({"features", "cls"})
    cite: ClassVar[str] = rules.rule("vispruner").citation

    def _select(self, tokens: VisualTokens, keep: int) -> IntArray:
        return rules.vispruner(tokens.features, tokens.evidence("cls"), keep, self.important_ratio)


@dataclass(frozen=True)
class FasterVLM(AbstractPruner):
    """The tokens that the CLS token attends to most, in the block whose output the features are."""

    name: ClassVar[str] = "fastervlm"
    needs: ClassVar[frozenset[str]] = frozenset({"cls"})
    cite: ClassVar[str] = rules.rule("fastervlm").citation

    def _select(self, tokens: VisualTokens, keep: int) -> IntArray:
        return rules.fastervlm(tokens.evidence("cls"), keep)


@dataclass(frozen=True)
class FoPruRank(AbstractPruner):
    """The tokens that receive most attention from the others in the penultimate block.

    The penultimate block of the published description is the feature block of LLaVA (-2). Dropping the CLS row and
    column without renormalising is a reading: the description does not say.
    """

    name: ClassVar[str] = "fopru_rank"
    needs: ClassVar[frozenset[str]] = frozenset({"attention_map"})
    cite: ClassVar[str] = rules.rule("fopru_rank").citation

    def _select(self, tokens: VisualTokens, keep: int) -> IntArray:
        return rules.fopru_rank(tokens.evidence("attention_map"), keep)


@dataclass(frozen=True)
class FoPruRows(AbstractPruner):
    """The image rows that receive most attention, whole.

    Keeps a whole number of rows, hence in general not `keep` tokens: report the length of the selection.

    Parameters
    ----------
    rounding
        "nearest", "floor" or "ceil": rows for a budget that is no multiple of the row width (a reading).
    """

    rounding: str = "nearest"
    name: ClassVar[str] = "fopru_rows"
    needs: ClassVar[frozenset[str]] = frozenset({"attention_map", "grid"})
    cite: ClassVar[str] = rules.rule("fopru_rows").citation

    def _select(self, tokens: VisualTokens, keep: int) -> IntArray:
        return rules.fopru_rows(tokens.evidence("attention_map"), keep, tokens.grid, rounding=self.rounding)


@dataclass(frozen=True)
class HoloV(AbstractPruner):
    """Tokens by attention within stretches of the image, each with a budget by how much is to be seen there.

    Parameters
    ----------
    chunks
        Stretches of the raster order; 16 as in the reference.
    """

    chunks: int = 16
    name: ClassVar[str] = "holov"
    needs: ClassVar[frozenset[str]] = frozenset({"projected", "cls"})
    cite: ClassVar[str] = rules.rule("holov").citation

    def _select(self, tokens: VisualTokens, keep: int) -> IntArray:
        return rules.holov(tokens.projected, tokens.evidence("cls"), keep, min(self.chunks, len(tokens)))


@dataclass(frozen=True)
class HiRED(AbstractPruner):
    """Tokens by attention, with a budget per tile by where the CLS token of the whole image looks in the first block.

    Where the tiles of an image are no whole image with crops that cover it in a grid, they share the budget evenly.

    Parameters
    ----------
    alpha
        Share of the whole image in the budget, in [0, 1].
    areas
        Which tokens of the whole image lie in a crop: "squares", or "runs" as the reference computes it.
    """

    alpha: float = 0.5
    areas: str = "squares"
    name: ClassVar[str] = "hired"
    needs: ClassVar[frozenset[str]] = frozenset({"cls", "first_cls", "grid"})
    cite: ClassVar[str] = rules.rule("hired").citation

    def quotas(self, tiles: Sequence[VisualTokens], keep: int) -> list[int]:
        """As the method has it: see `solvers.rules.hired_quotas`."""
        whole, crops = tiles[0], [(tile.at, tile.crops, len(tile)) for tile in tiles[1:]]
        if whole.at is not None or not crops or crops[0][1] is None:
            return super().quotas(tiles, keep)
        shape = crops[0][1]
        # Crops that unpadding has cut away entirely hold nothing.
        sizes = np.zeros(1 + shape[0] * shape[1], dtype=np.int64)
        numbers = [0, *(1 + at[0] * shape[1] + at[1] for at, _, _ in crops if at is not None)]
        sizes[numbers] = [len(tile) for tile in tiles]
        shares = rules.hired_quotas(
            whole.evidence("first_cls"), whole.grid, shape, keep, self.alpha, sizes=sizes, areas=self.areas
        )
        return [int(share) for share in shares[numbers]]

    def _select(self, tokens: VisualTokens, keep: int) -> IntArray:
        return rules.hired(tokens.evidence("cls"), keep)
