"""What a pruner is: a way to choose which visual tokens of an image the language model gets to see."""

from __future__ import annotations

import hashlib
import operator
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from solvers.arrays import IntArray
from solvers.names import nearest

from .tokens import FIELDS, VisualTokens


@dataclass(frozen=True)
class AbstractPruner(ABC):
    """Chooses tokens from arrays; never touches a model, a mask or a cache. Fields are hyper-parameters."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Name in tables and in `pruner(name)`."""

    @property
    @abstractmethod
    def needs(self) -> frozenset[str]:
        """Fields of `VisualTokens` that it reads."""

    @property
    @abstractmethod
    def cite(self) -> str:
        """Authors, year and arXiv id, or what kind of baseline it is."""

    @property
    def question_aware(self) -> bool:
        """Whether another question about the same image can keep other tokens."""
        return not self.needs.isdisjoint({"text", "needed"})

    def select(self, tokens: VisualTokens, keep: int) -> IntArray:
        """Kept tokens, ascending int64 [keep].

        Another number only from `FoPruRows`, which keeps whole rows, and from `GreedyPrune` if told to stop early.

        Raises
        ------
        ValueError
            If `keep` is not an integer in [1, n], or the tokens lack something the pruner needs.
        KeyError
            If the pruner needs something that is no field of the tokens; the nearest is suggested.
        RuntimeError
            If the result is not ascending integers, or out of range: a defect of the pruner.
        """
        count = checked_keep(keep, len(tokens))
        needs = sorted(nearest(name, FIELDS, "evidence") for name in self.needs)
        lacking = [name for name in needs if getattr(tokens, name) is None]
        if lacking:
            raise ValueError(f"pruner {self.name!r} needs `{'`, `'.join(lacking)}`, which the tokens do not have")
        kept = np.asarray(self._select(tokens, count))
        if kept.dtype.kind not in "iu" or kept.ndim != 1 or not kept.size:
            raise RuntimeError(f"pruner {self.name!r} must return indices (integers), got {kept.dtype} {kept.shape}")
        if kept[0] < 0 or kept[-1] >= len(tokens) or (np.diff(kept) <= 0).any():
            raise RuntimeError(f"pruner {self.name!r} must return ascending tokens below {len(tokens)}, got {kept}")
        return kept.astype(np.int64, copy=False)

    @abstractmethod
    def _select(self, tokens: VisualTokens, keep: int) -> IntArray: ...


def checked_keep(keep: Any, tokens: int) -> int:
    """`keep` as an int in [1, tokens].

    Raises
    ------
    ValueError
        If it is not an integer, or outside that range.
    """
    try:
        count = operator.index(keep)
    except TypeError:
        raise ValueError(f"`keep` must be an integer in [1, {tokens}], got {keep!r}") from None
    if isinstance(keep, bool) or not 1 <= count <= tokens:
        raise ValueError(f"`keep` must be in [1, {tokens}], got {keep!r}")
    return count


def child_seed(name: str, tokens: VisualTokens) -> int:
    """Seed of one pruner on one image: adding a pruner or an image never changes the draws of another."""
    text = f"{name}|{tokens.key}|{tokens.seed}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
