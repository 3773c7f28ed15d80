"""Pruners whose kept tokens take in the others: VisionZip, PruMerge, TRIM and average pooling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from solvers import rules
from solvers.rules.assignment import Assignment

from ..merger import AbstractMerger
from ..tokens import VisualTokens
from .features import relevance


@dataclass(frozen=True)
class VisionZip(AbstractMerger):
    """Tokens by CLS attention, and some more into which the rest is merged by its attention keys.

    Deviation: the reference keeps the CLS state as one of its tokens; here all are made of patches.

    Parameters
    ----------
    contextual
        How many of the tokens take in the rest; None is the published share, 10 of 64.
    """

    contextual: int | None = None
    name: ClassVar[str] = "visionzip"
    needs: ClassVar[frozenset[str]] = frozenset({"features", "cls", "keys"})
    cite: ClassVar[str] = rules.rule("visionzip").citation

    def _assign(self, tokens: VisualTokens, keep: int) -> Assignment:
        return rules.visionzip(tokens.evidence("cls"), tokens.evidence("keys"), keep, self.contextual)


@dataclass(frozen=True)
class PruMerge(AbstractMerger):
    """Tokens by CLS attention of the last block, each with its nearest neighbours, and one token of all others.

    Deviation: the published number of tokens follows the image; here it is the budget, the extra token included.

    Parameters
    ----------
    plus
        PruMerge+: spatial samples beside the tokens by attention.
    neighbours
        Tokens merged into each kept one; 32 as in the reference.
    """

    plus: bool = False
    neighbours: int = 32
    needs: ClassVar[frozenset[str]] = frozenset({"features", "last_cls", "last_keys"})
    cite: ClassVar[str] = rules.rule("prumerge").citation

    @property
    def name(self) -> str:
        """With spatial samples "prumerge_plus", else "prumerge"."""
        return "prumerge_plus" if self.plus else "prumerge"

    def _assign(self, tokens: VisualTokens, keep: int) -> Assignment:
        evidence = tokens.evidence("last_cls"), tokens.evidence("last_keys")
        return rules.prumerge(*evidence, keep, self.plus, min(self.neighbours, len(tokens) - 1))


@dataclass(frozen=True)
class TRIM(AbstractMerger):
    """Tokens relevant to the question, and one that is the mean of all others.

    Deviation: the reference takes relevance from the text tower of CLIP, negated. LLaVA checkpoints ship without that
    tower; the mean cosine with the words of the question in the language model's space stands in for it, as in
    `CDPruner`. The mean counts towards the budget.
    """

    name: ClassVar[str] = "trim"
    needs: ClassVar[frozenset[str]] = frozenset({"features", "projected", "text"})
    cite: ClassVar[str] = rules.rule("trim").citation

    def _assign(self, tokens: VisualTokens, keep: int) -> Assignment:
        return rules.trim(relevance(tokens.unit, tokens.evidence("text")), keep)


@dataclass(frozen=True)
class Pooling(AbstractMerger):
    """Averages over the cells of a coarser grid.

    Keeps a whole grid, hence in general fewer than `keep` tokens: report the length of the selection.
    """

    name: ClassVar[str] = "pooling"
    needs: ClassVar[frozenset[str]] = frozenset({"features", "grid"})
    cite: ClassVar[str] = "baseline: average pooling"
    exact: ClassVar[bool] = False

    def _assign(self, tokens: VisualTokens, keep: int) -> Assignment:
        return rules.pooling(tokens.grid, keep)
