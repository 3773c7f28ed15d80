"""Facility location over the words of the question and the tokens of the image together."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..arrays import Float64Array, FloatArray, unit_rows
from ..problem import Problem
from .client_coverage import ClientCoverage, summable


@dataclass(frozen=True)
class MultimodalFacilityLocation(ClientCoverage):
    """f(S) = sum over words t of max over j in S of P_tj + alpha sum over tokens i of max over j in S of Q_ij.

    The maximum-coverage objective of MMTok (ICLR 2026; Ironieser/MMTok@d1522cda, mmtok/core): P is the softmax over
    the m words' cosines with the tokens, divided by m, and Q that over the n tokens' cosines with one another, divided
    by n. Words are the problem's `queries`, else its signal "text". Filtering stop words, as MMTok does, is up to the
    caller. Monotone and submodular.

    Parameters
    ----------
    alpha
        Weight of the image, finite and at least 0.
    text_temperature, visual_temperature
        Temperatures of the two softmaxes, at least 1e-3. MMTok's core has 0.02 for the words; its selector has 0.01.
    """

    alpha: float = 0.5
    text_temperature: float = 0.02
    visual_temperature: float = 0.2

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1e6:
            raise ValueError(f"`alpha` must be in [0, 1e6], got {self.alpha}")
        for name in ("text_temperature", "visual_temperature"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 1e-3):
                raise ValueError(f"`{name}` must be finite and at least 1e-3, got {getattr(self, name)}")

    def supports(self, problem: Problem) -> str | None:
        if problem.features is None or problem.metric != "cosine":
            return "words and tokens are compared by cosines, which needs `features` and metric='cosine'"
        words = _words(problem)
        if words is None:
            return "the problem has neither `queries` nor a signal 'text' to be covered"
        if words.shape[1] != problem.features.shape[1]:
            return f"words must have the {problem.features.shape[1]} dimensions of the features, got {words.shape[1]}"
        if not words.any(axis=1).all():
            return "words are compared by cosines and need to be without zero vectors"
        return None

    def worth(self, problem: Problem) -> Float64Array:
        worth: Float64Array = problem.cached(f"worth {self!r}", lambda: self._worth(problem))
        return worth

    def _worth(self, problem: Problem) -> Float64Array:
        words = _words(problem)
        assert words is not None
        assert problem.features is not None
        tokens = unit_rows("features", problem.features.astype(np.float64))
        # Not a matrix product, which may sum in another order at another place: equal tokens are to tie.
        text = np.einsum("td,nd->tn", unit_rows("words", words.astype(np.float64)), tokens)
        by_text = _softmax(text / self.text_temperature) / len(words)
        by_image = _softmax(problem.similarity / self.visual_temperature) / problem.tokens
        return summable(np.vstack([by_text, self.alpha * by_image]))


def _words(problem: Problem) -> FloatArray | None:
    return problem.queries if problem.queries is not None else problem.signals.get("text")


def _softmax(scores: Float64Array) -> Float64Array:
    """Softmax of each row."""
    power = np.exp(scores - scores.max(axis=1, keepdims=True))
    share: Float64Array = power / power.sum(axis=1, keepdims=True)
    return share
