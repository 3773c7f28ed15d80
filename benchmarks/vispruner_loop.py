"""VisPruner as its reference computes it, to be timed beside ours."""

from __future__ import annotations

import numpy as np

from analysis.pruning import VisualTokens
from solvers.arrays import IntArray

STEP = 8
"""Tokens dropped per round."""


def vispruner_loop(tokens: VisualTokens, keep: int, important_ratio: float = 0.5) -> IntArray:
    """Kept tokens, ascending [keep]: cosines of the even with the odd half of the pool, made anew in every round.

    The loop of Theia-4869/VisPruner@aefa01a, `encode_images` (arXiv:2412.01818v2), in NumPy and float64, for pools of
    even size and at least 8 diverse tokens: elsewhere the reference fails.
    """
    features = tokens.features.astype(np.float64)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    order = np.argsort(-tokens.evidence("cls").astype(np.float64), kind="stable")
    important = int(keep * important_ratio)
    diverse = keep - important
    pool = order[important:]
    while len(pool) > diverse:
        even, odd = pool[::2], pool[1::2]
        closest = (unit[even] @ unit[odd].T).max(axis=1)
        dropped = min(STEP, len(pool) - diverse)
        pool = np.concatenate([even[np.argsort(-closest, kind="stable")[dropped:]], odd])
    return np.sort(np.concatenate([order[:important], pool]))
