"""Log-determinant of the identity plus the squared similarity, a monotone cousin of the DPP."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from ..arrays import Float64Array, distinct_rows, frozen
from ..problem import Problem
from .log_det import KernelLogDet

LARGEST_KERNEL = 1e10
"""Bound on gamma times the squared similarity; above, rounding would drown the identity."""


@dataclass(frozen=True)
class GramLogDet(KernelLogDet):
    """f(S) = log det of (I + gamma G G^T) restricted to S, with G = similarity.

    The objective of OTPrune (CVPR 2026; xiwenc1/OTPrune@3414730f), its relaxation of the Wasserstein distance between
    all tokens and the kept ones. Monotone and submodular, since no eigenvalue is below one. Deviation: OTPrune's code
    scales each feature column over the tokens; here similarities are those of the problem.

    Parameters
    ----------
    gamma
        Weight of G G^T, finite and positive; 0.01 as in OTPrune.
    """

    gamma: float = 0.01
    monotone: ClassVar[bool] = True
    submodular: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not (math.isfinite(self.gamma) and self.gamma > 0):
            raise ValueError(f"`gamma` must be finite and positive, got {self.gamma}")

    def supports(self, problem: Problem) -> str | None:
        limit = math.sqrt(LARGEST_KERNEL / self.gamma) / problem.tokens
        largest = float(np.abs(problem.similarity).max())
        if largest > limit:
            return f"similarities must be at most {limit:.6g} for gamma={self.gamma:g}, got {largest:.6g}"
        return None

    def kernel(self, problem: Problem) -> Float64Array:
        def build() -> Float64Array:
            distinct, copy_of = distinct_rows(problem.similarity)
            squared = problem.similarity[distinct] @ problem.similarity[distinct].T
            squared = np.maximum(squared, squared.T)[np.ix_(copy_of, copy_of)]
            return frozen(np.eye(problem.tokens) + self.gamma * squared)

        matrix: Float64Array = problem.cached(f"kernel {self!r}", build)
        return matrix

    def floor(self, problem: Problem) -> Float64Array:
        return np.ones(problem.tokens)

    def value(self, problem: Problem, selected: npt.ArrayLike) -> float:
        # Sorted, so that rounding does not depend on the order of the set.
        chosen = np.sort(np.asarray(selected, dtype=np.int64))
        factor = np.linalg.cholesky(self.kernel(problem)[np.ix_(chosen, chosen)])
        return 2.0 * math.fsum(np.log(np.diag(factor)))
