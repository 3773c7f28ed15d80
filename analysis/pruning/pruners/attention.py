"""Pruners that follow the vision encoder's own attention: VisPruner, FasterVLM and FoPru."""

from __future__ import annotations

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
        return rules.vispruner(tokens.features, tokens.cls, keep, self.important_ratio)


@dataclass(frozen=True)
class FasterVLM(AbstractPruner):
    """The tokens that the CLS token attends to most, in the block whose output the features are."""

    name: ClassVar[str] = "fastervlm"
    needs: ClassVar[frozenset[str]] = frozenset({"cls"})
    cite: ClassVar[str] = rules.rule("fastervlm").citation

    def _select(self, tokens: VisualTokens, keep: int) -> IntArray:
        return rules.fastervlm(tokens.cls, keep)


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
        return rules.fopru_rank(np.asarray(tokens.attention_map), keep)


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
        return rules.fopru_rows(np.asarray(tokens.attention_map), keep, tokens.grid, rounding=self.rounding)
