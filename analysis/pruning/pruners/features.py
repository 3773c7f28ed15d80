"""Pruners that compare the tokens with each other and with the question: DivPrune, GreedyPrune and CDPruner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from solvers import rules
from solvers.arrays import Float64Array, IntArray

from ..pruner import AbstractPruner
from ..tokens import FloatArray, VisualTokens, unit_or_zero


@dataclass(frozen=True)
class DivPrune(AbstractPruner):
    """Tokens far apart from each other, on the projected features as in the reference."""

    name: ClassVar[str] = "divprune"
    needs: ClassVar[frozenset[str]] = frozenset({"projected"})
    cite: ClassVar[str] = rules.rule("divprune").citation

    def _select(self, tokens: VisualTokens, keep: int) -> IntArray:
        return rules.divprune(tokens.projected, keep)


@dataclass(frozen=True)
class GreedyPrune(AbstractPruner):
    """Tokens near to the question, none too similar to one already chosen.

    Deviation: the published method is described as working in a shallow layer of the language model, on a
    representation that was not found. Before the language model the last word does not yet know the question, so the
    mean of the question's word embeddings is the text vector and the projected features are the tokens (a third-party
    variant does the same). That survivors keep their position ids is a reading too.

    Parameters
    ----------
    threshold
        Largest cosine between two kept tokens; 0.9 is an option, the paper's value was not found.
    when_exhausted
        "fill" the budget with the most salient tokens left, or "stop" with fewer.
    """

    threshold: float = 0.9
    when_exhausted: str = "fill"
    position_ids: ClassVar[str] = "keep"
    name: ClassVar[str] = "greedyprune"
    needs: ClassVar[frozenset[str]] = frozenset({"projected", "text"})
    cite: ClassVar[str] = rules.rule("greedyprune").citation

    def _select(self, tokens: VisualTokens, keep: int) -> IntArray:
        question = tokens.evidence("text").mean(0)
        how = self.threshold, self.when_exhausted
        return rules.greedyprune(tokens.projected, question, keep, *how, similarity=tokens.similarity_from_second_use())


@dataclass(frozen=True)
class CDPruner(AbstractPruner):
    """Diverse tokens weighted by relevance to the question, by greedy MAP of a determinantal process.

    Deviation: the reference takes relevance from the text tower of CLIP, as minus the cosine of patch and question.
    LLaVA checkpoints ship without that tower. What stands in for it: the cosine of each projected token with each word
    of the question in the embedding space of the language model, mean over the words. It is not negated: the reversal
    is a property of CLIP's patch embeddings, not of this space.
    """

    name: ClassVar[str] = "cdpruner"
    needs: ClassVar[frozenset[str]] = frozenset({"projected", "text"})
    cite: ClassVar[str] = rules.rule("cdpruner").citation

    def _select(self, tokens: VisualTokens, keep: int) -> IntArray:
        relevant = relevance(tokens.unit, tokens.evidence("text"))
        return rules.cdpruner(tokens.projected, relevant, keep, similarity=tokens.similarity_from_second_use())


def relevance(unit: Float64Array, text: FloatArray) -> Float64Array:
    """Mean cosine of each token with the words of a question [word, hidden]; 0 with a zero vector.

    `unit` are the tokens scaled to length one [token, hidden], `VisualTokens.unit`.
    """
    # the mean of the products is the product with the mean
    return np.asarray(unit @ unit_or_zero(text).mean(0), dtype=np.float64)
