"""Pruners that cover the image or the question with the tokens they keep: SCOPE, MMTok, EADP and OTPrune."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from solvers import rules
from solvers.arrays import IntArray

from ..pruner import AbstractPruner
from ..tokens import VisualTokens, unit_or_zero


@dataclass(frozen=True)
class SCOPE(AbstractPruner):
    """Coverage of all tokens that a token adds, times its CLS attention.

    Parameters
    ----------
    alpha
        Exponent of the attention; 1 as in the reference, 0 is plain coverage.
    """

    alpha: float = 1.0
    name: ClassVar[str] = "scope"
    needs: ClassVar[frozenset[str]] = frozenset({"features", "cls"})
    cite: ClassVar[str] = rules.rule("scope").citation

    def _select(self, tokens: VisualTokens, keep: int) -> IntArray:
        return rules.scope(tokens.features, tokens.evidence("cls"), keep, self.alpha)


@dataclass(frozen=True)
class MMTok(AbstractPruner):
    """Tokens that cover the words of the question and the image together, both in the language model's space.

    Deviation: the reference leaves stop words and padding out and takes the projected tokens of CLIP; here every word
    behind the image counts.

    Parameters
    ----------
    alpha
        Weight of the image beside the words.
    text_temperature, visual_temperature
        Of the two softmaxes over the tokens.
    """

    alpha: float = 0.5
    text_temperature: float = 0.02
    visual_temperature: float = 0.2
    name: ClassVar[str] = "mmtok"
    needs: ClassVar[frozenset[str]] = frozenset({"projected", "text"})
    cite: ClassVar[str] = rules.rule("mmtok").citation

    def _select(self, tokens: VisualTokens, keep: int) -> IntArray:
        temperatures = self.text_temperature, self.visual_temperature
        return rules.mmtok(tokens.projected, tokens.evidence("text"), keep, self.alpha, *temperatures)


@dataclass(frozen=True)
class EADP(AbstractPruner):
    """Tokens that cover the image where it is relevant to the question.

    Deviation: the reference takes relevance from the text tower of CLIP, negated. LLaVA checkpoints ship without that
    tower; the cosines of projected tokens with the words of the question in the language model's space stand in for it,
    not negated, as in `CDPruner`.

    Parameters
    ----------
    power
        Exponent of the relevance; 1 as in the reference's scripts.
    """

    power: float = 1.0
    name: ClassVar[str] = "eadp"
    needs: ClassVar[frozenset[str]] = frozenset({"projected", "text", "grid"})
    cite: ClassVar[str] = rules.rule("eadp").citation

    def _select(self, tokens: VisualTokens, keep: int) -> IntArray:
        words = unit_or_zero(tokens.evidence("text")) @ tokens.unit.T
        scores = rules.eadp_scores(words.mean(0), words, tokens.grid)
        return rules.eadp(tokens.projected, scores, keep, self.power, normalise=False)


@dataclass(frozen=True)
class OTPrune(AbstractPruner):
    """Tokens whose distribution is close to that of all, by a log-determinant.

    Parameters
    ----------
    gamma
        Weight of the Gram matrix.
    normalise
        "columns" as the reference's code, or "rows": see `solvers.rules.otprune`.
    """

    gamma: float = 0.01
    normalise: str = "columns"
    name: ClassVar[str] = "otprune"
    needs: ClassVar[frozenset[str]] = frozenset({"projected"})
    cite: ClassVar[str] = rules.rule("otprune").citation

    def _select(self, tokens: VisualTokens, keep: int) -> IntArray:
        kernel = tokens.shared(
            (self.name, self.gamma, self.normalise),
            lambda: rules.otprune_kernel(tokens.projected, self.gamma, self.normalise),
        )
        return rules.otprune(tokens.projected, keep, self.gamma, self.normalise, kernel=kernel)
