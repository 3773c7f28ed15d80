"""Relevance minus redundancy: the set function behind maximal marginal relevance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..arrays import Float64Array, frozen
from ..problem import Problem
from .pairwise import PairwiseObjective


@dataclass(frozen=True)
class RelevanceMinusRedundancy(PairwiseObjective):
    """f(S) = trade_off sum over S of signal_i - (1 - trade_off) sum over pairs of S of max(0, similarity).

    Submodular, not monotone. IDPruner (arXiv:2602.13315) and maximal marginal relevance subtract the *largest*
    similarity to the tokens picked before. The sum over their picks depends on the order, so no set function has it as
    its gain. Deviation: here the *sum* of similarities is subtracted, which is a set function. It grows with the
    square of the budget, so larger budgets want a trade-off nearer to 1.

    Parameters
    ----------
    signal
        Name of a per-token signal, the relevance.
    trade_off
        Weight of the relevance, in [0, 1]; 0.5 as in IDPruner.
    """

    signal: str = "cls"
    trade_off: float = 0.5
    monotone: ClassVar[bool] = False
    submodular: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 <= self.trade_off <= 1:
            raise ValueError(f"`trade_off` must be in [0, 1], got {self.trade_off}")

    def supports(self, problem: Problem) -> str | None:
        return problem.lacks(self.signal)

    def linear(self, problem: Problem) -> Float64Array:
        return self.trade_off * problem.signal(self.signal).astype(np.float64)

    def pairs(self, problem: Problem) -> Float64Array:
        def build() -> Float64Array:
            pairs = np.minimum((self.trade_off - 1.0) * problem.similarity, 0.0)
            np.fill_diagonal(pairs, 0.0)
            return frozen(pairs)

        pairs: Float64Array = problem.cached(f"pairs {self!r}", build)
        return pairs
