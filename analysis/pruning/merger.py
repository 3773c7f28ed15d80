"""What a merging pruner is: one whose kept tokens take in the others."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from solvers.arrays import IntArray
from solvers.rules.assignment import Assignment

from .pruner import AbstractPruner, checked_keep
from .tokens import VisualTokens


@dataclass(frozen=True)
class AbstractMerger(AbstractPruner):
    """A pruner that gives an assignment: every output token is a weighted sum of tokens.

    Sums are taken of the features before the projector, as the published methods do, where the projector maps token by
    token; elsewhere of the projected features.
    """

    merges: ClassVar[bool] = True
    exact: ClassVar[bool] = True
    """Whether it makes exactly `keep` tokens; False: at most."""

    def assign(self, tokens: VisualTokens, keep: int) -> Assignment:
        """The `keep` output tokens: where each stands, and of what it is made.

        Raises
        ------
        ValueError, KeyError
            As `select`.
        RuntimeError
            If the assignment has another number of outputs or of sources: a defect of the pruner.
        """
        count = checked_keep(keep, len(tokens))
        self._check_needs(tokens)
        found = self._assign(tokens, count)
        outputs, sources = found.weights.shape
        if sources != len(tokens) or not (outputs == count or (outputs < count and not self.exact)):
            raise RuntimeError(
                f"pruner {self.name!r} must make {count} of {len(tokens)} tokens, got {outputs} of {sources}"
            )
        return found

    def _select(self, tokens: VisualTokens, keep: int) -> IntArray:
        return self._assign(tokens, keep).indices

    @abstractmethod
    def _assign(self, tokens: VisualTokens, keep: int) -> Assignment: ...
