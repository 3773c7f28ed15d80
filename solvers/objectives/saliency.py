"""Modular saliency: the sum of one signal over the kept tokens."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from ..arrays import Float64Array
from ..problem import Problem
from .objective import AbstractObjective


@dataclass
class SaliencyState:
    """Gains [token] that are still to be had."""

    gains: Float64Array


@dataclass(frozen=True)
class Saliency(AbstractObjective[SaliencyState]):
    """f(S) = sum of `signal` over S: modular, so the k largest values are optimal.

    Parameters
    ----------
    signal
        Name of a per-token signal of the problem, for example "cls", the attention of the CLS token.

    Notes
    -----
    Monotone exactly where the signal has no negative value, hence not declared monotone.
    """

    signal: str = "cls"
    monotone: ClassVar[bool] = False
    submodular: ClassVar[bool] = True

    def supports(self, problem: Problem) -> str | None:
        return problem.lacks(self.signal)

    def value(self, problem: Problem, selected: npt.ArrayLike) -> float:
        # fsum rounds once, so the value does not depend on the order of the set.
        return math.fsum(problem.signal(self.signal)[np.asarray(selected, dtype=np.int64)].astype(np.float64))

    def start(self, problem: Problem) -> SaliencyState:
        return SaliencyState(problem.signal(self.signal).astype(np.float64))

    def gains(self, state: SaliencyState) -> Float64Array:
        return state.gains

    def add(self, state: SaliencyState, token: int) -> SaliencyState:
        state.gains[token] = -np.inf
        return state
