"""Facility location in which some tokens matter more: coverage weighted by a signal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..arrays import Float64Array
from ..problem import Problem
from .client_coverage import LARGEST_TOTAL, ClientCoverage, summable


@dataclass(frozen=True)
class WeightedFacilityLocation(ClientCoverage):
    """f(S) = sum over all tokens i of signal_i max(0, max over j in S of similarity(i, j)).

    The objective of EADP (2026). The weight sits on the *covered* token, so the function is monotone and submodular;
    SCOPE's product of gain and saliency of the *chosen* token is no set function's gain. EADP's weight, an
    entropy-weighted text relevance, smoothed over the image and raised to a power, is to be given as the signal.

    Parameters
    ----------
    signal
        Name of a per-token signal >= 0.
    """

    signal: str = "relevance"

    def supports(self, problem: Problem) -> str | None:
        missing = problem.lacks(self.signal)
        if missing is not None:
            return missing
        weight = problem.signal(self.signal)
        if weight.min() < 0:
            return f"signal {self.signal!r} must not be negative to be a weight, got a minimum of {weight.min():.6g}"
        largest = problem.tokens * float(weight.max()) * max(float(problem.similarity.max()), 0.0)
        if largest > LARGEST_TOTAL:
            return f"signal {self.signal!r} times similarity must sum to at most {LARGEST_TOTAL:g}, got {largest:.6g}"
        return None

    def worth(self, problem: Problem) -> Float64Array:
        def build() -> Float64Array:
            weight = problem.signal(self.signal).astype(np.float64)
            return summable(weight[:, None] * np.maximum(problem.similarity, 0.0))

        worth: Float64Array = problem.cached(f"worth {self!r}", build)
        return worth
