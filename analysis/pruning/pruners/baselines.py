"""Pruners to compare with: chance, an even grid, and an oracle that knows which tokens the answer needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from solvers.arrays import IntArray
from solvers.baselines import spread

from ..pruner import AbstractPruner, child_seed
from ..tokens import VisualTokens


@dataclass(frozen=True)
class Random(AbstractPruner):
    """Tokens drawn uniformly without replacement: the same for the same image and seed, nested in the budget."""

    position_ids: ClassVar[str] = "keep"
    name: ClassVar[str] = "random"
    needs: ClassVar[frozenset[str]] = frozenset()
    cite: ClassVar[str] = "baseline: chance"

    def _select(self, tokens: VisualTokens, keep: int) -> IntArray:
        order = np.random.default_rng(child_seed(self.name, tokens)).permutation(len(tokens))
        return np.sort(order[:keep])


@dataclass(frozen=True)
class UniformGrid(AbstractPruner):
    """Tokens spread evenly over the image."""

    position_ids: ClassVar[str] = "keep"
    name: ClassVar[str] = "uniform_grid"
    needs: ClassVar[frozenset[str]] = frozenset({"grid"})
    cite: ClassVar[str] = "baseline: even grid"

    def _select(self, tokens: VisualTokens, keep: int) -> IntArray:
        return np.sort(spread(keep, *tokens.grid))


@dataclass(frozen=True)
class Oracle(AbstractPruner):
    """The tokens that the answer needs first, from the benchmark's ground truth; no method can know them.

    If they fit, all of them stay and the rest of the budget is filled farthest-first: always the token least similar
    (cosine of the projected features) to those already kept, which shows the rest of the scene once. If they do not
    fit, the same traversal runs among them alone, from the one with the largest CLS attention. Without any needed token
    it starts there too.
    """

    position_ids: ClassVar[str] = "keep"
    name: ClassVar[str] = "oracle"
    needs: ClassVar[frozenset[str]] = frozenset({"projected", "cls", "needed"})
    cite: ClassVar[str] = "baseline: ground truth of the benchmark"

    def _select(self, tokens: VisualTokens, keep: int) -> IntArray:
        needed = np.asarray(tokens.needed)
        everything = np.arange(len(tokens))
        if needed.size > keep:
            return _farthest_first(tokens, [], needed, keep)
        return _farthest_first(tokens, needed.tolist(), everything, keep)


def _farthest_first(tokens: VisualTokens, chosen: list[int], candidates: IntArray, keep: int) -> IntArray:
    """`chosen` and the candidates farthest from what is chosen, one by one, ascending [keep]; ties to the lowest."""
    kept = chosen or [int(candidates[np.argmax(tokens.evidence("cls")[candidates])])]
    similarity = tokens.similarity
    closest = similarity[kept].max(0)
    closest[np.setdiff1d(np.arange(len(tokens)), candidates)] = np.inf
    closest[kept] = np.inf
    for _ in range(keep - len(kept)):
        token = int(np.argmin(closest))
        kept = [*kept, token]
        closest = np.maximum(closest, similarity[token])
        closest[token] = np.inf
    return np.sort(np.asarray(kept, dtype=np.int64))
