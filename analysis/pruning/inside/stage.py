"""What a pruner inside the language model is: when to shorten the sequence, and which visual tokens stay then."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from solvers.arrays import IntArray
from solvers.names import nearest
from solvers.rules import Stage, tokens_per_layer

from ..pruner import AbstractPruner, checked_keep
from ..tokens import VisualTokens
from .evidence import AXES, StageEvidence


@dataclass(frozen=True)
class AbstractInnerPruner(AbstractPruner):
    """Chooses visual tokens between two layers of the language model; never touches a model, a mask or a cache.

    All visual tokens of a prompt compete, those of several images too, and separators among them. `needs` are names out
    of `evidence.AXES`. Text is never dropped.
    """

    inside: ClassVar[bool] = True
    position_ids: ClassVar[str] = "keep"

    @property
    def question_aware(self) -> bool:
        """Always: states inside the language model have seen the prompt."""
        return True

    def stages(self, tokens: int, layers: int, keep: int) -> tuple[Stage, ...]:
        """When to shorten, and to how many.

        Parameters
        ----------
        tokens
            Visual tokens n of the prompt that enter the language model.
        layers
            Its layers.
        keep
            Budget in tokens, in [1, n]; what it counts is the pruner's own.

        Raises
        ------
        ValueError
            For a budget outside [1, n], or one that the schedule cannot meet.
        RuntimeError
            If a stage is not between two layers, or keeps more than there are: a defect of the pruner.
        """
        stages = self._stages(tokens, layers, checked_keep(keep, tokens))
        try:
            tokens_per_layer(stages, tokens, layers)
        except ValueError as error:
            raise RuntimeError(f"pruner {self.name!r} gives stages that do not fit: {error}") from None
        if any(stage.layer == 0 for stage in stages):
            raise RuntimeError(f"pruner {self.name!r} must shorten between two layers, got a stage ahead of the first")
        return stages

    def choose(self, evidence: StageEvidence, stage: Stage) -> IntArray:
        """Tokens that stay, ascending int64: `stage.keep` of them, without those that stand for several.

        Another number only where an option of the pruner says so.

        Raises
        ------
        ValueError
            If the evidence lacks something the pruner needs, or the rule refuses it.
        RuntimeError
            If the result is not ascending integers, or out of range: a defect of the pruner.
        """
        kept = np.asarray(self._choose(evidence, stage))
        if kept.dtype.kind not in "iu" or kept.ndim != 1 or not kept.size:
            raise RuntimeError(f"pruner {self.name!r} must return indices (integers), got {kept.dtype} {kept.shape}")
        if kept[0] < 0 or kept[-1] >= evidence.tokens or (np.diff(kept) <= 0).any():
            raise RuntimeError(f"pruner {self.name!r} must return ascending tokens below {evidence.tokens}, got {kept}")
        return kept.astype(np.int64, copy=False)

    def clusters(self, evidence: StageEvidence, stage: Stage, kept: IntArray) -> IntArray:
        """Cluster of each token that does not stay, int64, -1 for none; asked for where `stage.merged` is not 0.

        The mean state of cluster c becomes token c of those that stand behind the kept ones.

        Raises
        ------
        RuntimeError
            If it is not one cluster per dropped token, or a number of clusters other than `stage.merged`: a defect.
        """
        labels = np.asarray(self._clusters(evidence, stage, kept))
        found = np.unique(labels[labels >= 0])
        if labels.shape != (evidence.tokens - len(kept),) or not np.array_equal(found, np.arange(stage.merged)):
            raise RuntimeError(
                f"pruner {self.name!r} must give {stage.merged} clusters of {evidence.tokens - len(kept)} dropped "
                f"tokens, got {len(found)} of {labels.size}"
            )
        return labels.astype(np.int64, copy=False)

    def checked_needs(self) -> frozenset[str]:
        """`needs`; KeyError if one is no evidence, with the nearest name suggested."""
        return frozenset(nearest(name, AXES, "evidence") for name in self.needs)

    @abstractmethod
    def _stages(self, tokens: int, layers: int, keep: int) -> tuple[Stage, ...]: ...

    @abstractmethod
    def _choose(self, evidence: StageEvidence, stage: Stage) -> IntArray: ...

    def _clusters(self, evidence: StageEvidence, stage: Stage, kept: IntArray) -> IntArray:
        raise RuntimeError(f"pruner {self.name!r} gives a stage with merged tokens, but does not merge")

    def select(self, tokens: VisualTokens, keep: int) -> IntArray:
        """Not defined: what the rule reads is inside the language model. Always a ValueError."""
        raise ValueError(
            f"pruner {self.name!r} works inside the language model, on evidence that the tokens of an image do not "
            "hold: use `prune`"
        )

    _select = select
