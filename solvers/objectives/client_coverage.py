"""Facility location with clients of any kind: each is served by the kept token that is worth most to it."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from ..arrays import Float64Array, frozen
from ..kernels.gains import serve
from ..problem import Problem
from .objective import AbstractObjective

LARGEST_TOTAL = 1e250
"""Largest sum of worths, far inside the float64 range."""


@dataclass
class ClientCoverageState:
    """Worth of each token to each client [client, token], the best so far [client], and the current gains [token]."""

    worth: Float64Array
    best: Float64Array
    gains: Float64Array


@dataclass(frozen=True)
class ClientCoverage(AbstractObjective[ClientCoverageState]):
    """f(S) = sum over clients c of max(0, max over j in S of worth_cj). Monotone and submodular."""

    monotone: ClassVar[bool] = True
    submodular: ClassVar[bool] = True

    @abstractmethod
    def worth(self, problem: Problem) -> Float64Array:
        """Worth [client, token], float64, at least 0, rounded by `summable`; read-only and cached."""

    def value(self, problem: Problem, selected: npt.ArrayLike) -> float:
        return float(self.worth(problem)[:, np.asarray(selected, dtype=np.int64)].max(axis=1, initial=0.0).sum())

    def start(self, problem: Problem) -> ClientCoverageState:
        worth = self.worth(problem)
        gains = problem.cached(f"totals {self!r}", lambda: frozen(worth.sum(axis=0)))
        return ClientCoverageState(worth, np.zeros(len(worth)), gains.copy())

    def gains(self, state: ClientCoverageState) -> Float64Array:
        return state.gains

    def add(self, state: ClientCoverageState, token: int) -> ClientCoverageState:
        serve(state.worth, state.best, state.gains, token)
        state.gains[token] = -np.inf
        return state


def summable(worth: Float64Array) -> Float64Array:
    """`worth` [client, token] >= 0 on a fixed-point grid so fine that all sums of it stay exact in float64, read-only.

    No value or gain exceeds the sum over clients of their largest worth. Multiples of 2**-52 of the power of two at or
    above that sum are exact float64 numbers, and so are their sums: results do not depend on the order of summation,
    and equal tokens tie exactly.
    """
    total = float(worth.max(axis=1).sum())
    if total <= 0:
        return frozen(np.zeros_like(worth))
    # The clients' rounded worths may sum to a little more than the total, hence one bit to spare.
    exponent = int(np.ceil(np.log2(total))) + 1 - 52
    return frozen(np.ldexp(np.round(np.ldexp(worth, -exponent)), exponent))
