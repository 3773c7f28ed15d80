"""Quadratic set functions: a worth of every kept token plus a worth of every pair of kept tokens."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..arrays import Float64Array
from ..problem import Problem
from .objective import AbstractObjective


@dataclass
class PairwiseState:
    """Worth of pairs [token, token] and the current gains [token]."""

    pairs: Float64Array
    gains: Float64Array


@dataclass(frozen=True)
class PairwiseObjective(AbstractObjective[PairwiseState]):
    """f(S) = sum over i in S of linear_i + sum over pairs {i, j} in S of pairs_ij.

    Submodular exactly where no pair has a positive worth.
    """

    @abstractmethod
    def linear(self, problem: Problem) -> Float64Array:
        """Worth of each token on its own [token], float64."""

    @abstractmethod
    def pairs(self, problem: Problem) -> Float64Array:
        """Worth of each pair [token, token], float64, symmetric, with a diagonal of zeros; read-only and cached."""

    def value(self, problem: Problem, selected: npt.ArrayLike) -> float:
        # Sorted, so that rounding does not depend on the order of the set.
        chosen = np.sort(np.asarray(selected, dtype=np.int64))
        return float(self.linear(problem)[chosen].sum() + self.pairs(problem)[np.ix_(chosen, chosen)].sum() / 2)

    def start(self, problem: Problem) -> PairwiseState:
        return PairwiseState(self.pairs(problem), self.linear(problem).astype(np.float64))

    def gains(self, state: PairwiseState) -> Float64Array:
        return state.gains

    def add(self, state: PairwiseState, token: int) -> PairwiseState:
        state.gains += state.pairs[token]
        state.gains[token] = -np.inf
        return state
