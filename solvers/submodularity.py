"""How far a set function is from submodular: the ratio of Das and Kempe, exact for few tokens and sampled for many."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .arrays import IntArray
from .objectives import AbstractObjective
from .problem import Problem
from .solver import ROUNDING, checked_seed

MOST_TOKENS = 12
"""Largest problem whose submodularity ratio is found by looking at all pairs of sets."""


def submodularity_ratio(problem: Problem, objective: AbstractObjective[Any]) -> float:
    """Smallest (sum of single gains over L) / (joint gain over L) of k or fewer tokens S outside L, for |L| <= k.

    Das and Kempe, 2011, arXiv:1102.3975, over all L of at most k tokens. Of a monotone function f that is 0 without
    tokens, greedy reaches 1 - e^-ratio of the optimum (there for regression; Bian, Buhmann, Krause and Tschiatschek,
    2017, arXiv:1703.02100, in general): over the picks L, the optimum gains at most f(L + optimum) - f(L), that is
    at most k / ratio times the next pick. 1 for submodular functions, capped there. Every pair of sets is looked at.

    Raises
    ------
    ValueError
        For more than 12 tokens, or if the objective is not monotone on this problem.
    """
    n, k = problem.tokens, problem.budget
    if n > MOST_TOKENS:
        raise ValueError(f"the exact submodularity ratio looks at 3^n pairs; tokens must be at most 12, got {n}")
    sets = np.arange(1 << n)
    values = np.array([objective.value(problem, [j for j in range(n) if s >> j & 1]) for s in sets.tolist()])
    sizes = np.array([s.bit_count() for s in sets.tolist()])
    noise = ROUNDING * max(1.0, float(np.abs(values).max()))
    gains = np.stack([np.where(sets >> j & 1, 0.0, values[sets | 1 << j] - values) for j in range(n)], axis=1)
    if gains.min() < -noise:
        raise ValueError(f"the submodularity ratio needs a monotone objective, got {objective.name}")
    members = (sets[:, None] >> np.arange(n) & 1).astype(np.float64)
    ratio = 1.0
    for base in sets[sizes <= k].tolist():
        added = sets[(sets & base == 0) & (sizes <= k) & (sizes > 0)]
        joint = values[added | base] - values[base]
        counts = joint > noise
        if counts.any():
            ratio = min(ratio, float((members[added[counts]] @ gains[base] / joint[counts]).min()))
    return ratio


class SampledRatio(NamedTuple):
    """The smallest ratio of some random pairs of sets, and how much of the rest may lie below it."""

    ratio: float
    """An upper bound on the submodularity ratio, never a lower one; capped at 1."""
    pairs: int
    """Number of pairs drawn."""
    confidence: float
    """Chance, over the draws, that what `share_below` says is true; at least this."""
    share_below: float
    """At most this share of the pairs that could have been drawn has a smaller ratio."""

    def summary(self) -> str:
        """One sentence for people."""
        return (
            f"the submodularity ratio is at most {self.ratio:.4f}; with {self.confidence:.0%} confidence at most "
            f"{self.share_below:.3g} of the pairs drawn this way have a smaller ratio than that. No lower bound follows"
        )


def sampled_submodularity_ratio(
    problem: Problem,
    objective: AbstractObjective[Any],
    pairs: int = 1000,
    *,
    confidence: float = 0.95,
    seed: int = 0,
) -> SampledRatio:
    """As `submodularity_ratio`, over random pairs of sets, for any number of tokens.

    A pair is drawn by the size of L, uniform in 0 .. k, then the size of S, uniform in 1 .. k, both cut to what fits,
    then the sets, uniform among those of their sizes. The smallest of m ratios bounds the ratio from above. If a
    share p of all pairs had a smaller one, m draws would miss them all with probability (1 - p)^m. So with confidence
    c that share is at most 1 - (1 - c)^(1/m), about 3 / m for c = 0.95: the one-sided interval of Clopper and Pearson
    (1934, Biometrika 26) for none in m. It says nothing about the one pair that decides the ratio, nor about the sets
    that greedy meets.

    Parameters
    ----------
    problem, objective
        What is looked at; budget k.
    pairs
        Number of pairs m, at least 1.
    confidence
        In (0, 1).
    seed
        Seed of the draws.

    Raises
    ------
    ValueError
        If a parameter is out of range, or a drawn pair shows that the objective is not monotone on this problem.

    Examples
    --------
    >>> from solvers import CoveringRadius
    >>> drawn = sampled_submodularity_ratio(Problem.from_features(np.eye(6) + 0.1, 3), CoveringRadius(), 200)
    >>> drawn.ratio, round(drawn.share_below, 3)
    (0.0, 0.015)
    """
    if isinstance(pairs, bool) or not isinstance(pairs, (int, np.integer)) or pairs < 1:
        raise ValueError(f"`pairs` must be an integer of at least 1, got {pairs!r}")
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"`confidence` must lie between 0 and 1, got {confidence!r}")
    rng = np.random.default_rng(checked_seed(seed))
    n, k = problem.tokens, problem.budget
    smallest = 1.0
    for _ in range(int(pairs)):
        base_size = int(rng.integers(0, min(k, n - 1), endpoint=True))
        size = int(rng.integers(1, min(k, n - base_size), endpoint=True))
        drawn = rng.permutation(n)[: base_size + size]
        smallest = min(smallest, _ratio(problem, objective, drawn[:base_size], drawn[base_size:]))
    return SampledRatio(smallest, int(pairs), confidence, 1.0 - (1.0 - confidence) ** (1.0 / int(pairs)))


def _ratio(problem: Problem, objective: AbstractObjective[Any], base: IntArray, added: IntArray) -> float:
    """Sum of the single gains of `added` over `base`, divided by their joint gain; 1 where that is 0."""
    state = objective.start(problem)
    for token in base.tolist():
        state = objective.add(state, token)
    single = objective.gains(state)[added]
    before, after = (objective.value(problem, tokens) for tokens in (base, np.concatenate([base, added])))
    noise = ROUNDING * max(1.0, abs(before), abs(after))
    if min(float(single.min()), after - before) < -noise:
        raise ValueError(f"the submodularity ratio needs a monotone objective, got {objective.name}")
    return float(single.sum()) / (after - before) if after - before > noise else 1.0
