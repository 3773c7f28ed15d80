"""What a pruner is: a way to choose which visual tokens of an image the language model gets to see."""

from __future__ import annotations

import hashlib
import operator
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from solvers.arrays import IntArray
from solvers.names import nearest

from .tokens import FIELDS, VisualTokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from analysis.models import AbstractAdapter

    from .encoder_merging import EncoderMerging

Keep = int | float
"""How many tokens of an image stay: a number, or a share of them in (0, 1)."""


@dataclass(frozen=True)
class AbstractPruner(ABC):
    """Chooses tokens from arrays; never touches a model, a mask or a cache. Fields are hyper-parameters."""

    position_ids: ClassVar[str] = "compact"
    """The method's own position ids after pruning, "keep" or "compact": see `inputs.PositionPolicy`. Methods that came
    as a fork of LLaVA put the kept tokens side by side and number anew."""
    merges: ClassVar[bool] = False
    """Whether kept tokens take in some of the others."""
    in_encoder: ClassVar[bool] = False
    """Whether it changes the pass of the vision encoder, so that every budget needs one of its own."""
    inside: ClassVar[bool] = False
    """Whether it works inside the language model, between its layers."""

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
        self._check_needs(tokens)
        kept = np.asarray(self._select(tokens, count))
        if kept.dtype.kind not in "iu" or kept.ndim != 1 or not kept.size:
            raise RuntimeError(f"pruner {self.name!r} must return indices (integers), got {kept.dtype} {kept.shape}")
        if kept[0] < 0 or kept[-1] >= len(tokens) or (np.diff(kept) <= 0).any():
            raise RuntimeError(f"pruner {self.name!r} must return ascending tokens below {len(tokens)}, got {kept}")
        return kept.astype(np.int64, copy=False)

    def _check_needs(self, tokens: VisualTokens) -> None:
        needs = sorted(nearest(name, FIELDS, "evidence") for name in self.needs)
        lacking = [name for name in needs if getattr(tokens, name) is None]
        if lacking:
            raise ValueError(f"pruner {self.name!r} needs `{'`, `'.join(lacking)}`, which the tokens do not have")

    def quotas(self, tiles: Sequence[VisualTokens], keep: int) -> list[int]:
        """How many tokens each tile of an image keeps, `keep` in all; equal shares unless the method has its own.

        What a tile is too small for goes to the others; a remainder to the first tiles. A share may be 0.
        """
        return equal_shares([len(tile) for tile in tiles], keep)

    def encoder_merging(self, model: PreTrainedModel, adapter: AbstractAdapter, keep: Keep) -> EncoderMerging | None:
        """What merges tokens in the vision encoder; None unless the method does."""
        return None

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


def equal_shares(sizes: Sequence[int], keep: int) -> list[int]:
    """`keep` over parts of these sizes as evenly as they allow; a remainder goes to the first that still have room."""
    shares = [0] * len(sizes)
    left = keep
    while left:
        room = [part for part, size in enumerate(sizes) if shares[part] < size]
        each, rest = divmod(left, len(room))
        for order, part in enumerate(room):
            given = min(each + (order < rest), sizes[part] - shares[part])
            shares[part] += given
            left -= given
    return shares


def budget_of(keep: Keep, tokens: int, image: int) -> int:
    """`keep` of an image with that many tokens, as a number; a share is rounded to the nearest, at least 1.

    Raises
    ------
    ValueError
        If it is neither a number in [1, tokens] nor a share in (0, 1).
    """
    if isinstance(keep, float) and 0 < keep < 1:
        return max(1, round(keep * tokens))
    try:
        return checked_keep(keep, tokens)
    except ValueError as error:
        raise ValueError(f"image {image}: {error}") from None


def child_seed(name: str, tokens: VisualTokens) -> int:
    """Seed of one pruner on one image: adding a pruner or an image never changes the draws of another."""
    text = f"{name}|{tokens.key}|{tokens.seed}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
