"""VisPruner's split of the budget, with any pruner for the part that is not taken by attention."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from solvers import rules
from solvers.arrays import IntArray
from solvers.rules.checks import real

from ..pruner import AbstractPruner
from ..tokens import VisualTokens
from .features import DivPrune
from .solver import SolverPruner


@dataclass(frozen=True)
class ImportantAndDiverse(AbstractPruner):
    """Part of the budget by CLS attention, the rest by any other pruner among the tokens that are left.

    As in VisPruner, the second stage does not see what the first has taken: with ``VisPruner(important_ratio=0)`` as
    `diverse` this is VisPruner itself.

    Parameters
    ----------
    important_ratio
        Share of the budget that attention fills, in [0, 1]: `floor(keep * important_ratio)` tokens.
    diverse
        Chooses the others: a pruner that works before the language model and reads no grid, or a solver with an
        objective.

    Raises
    ------
    ValueError
        For a ratio outside [0, 1].
    TypeError
        For a `diverse` that is none, or one that merges, works inside a model, or reads the grid or the ground truth:
        what is left of a picture is no picture.

    References
    ----------
    Q. Zhang et al. (2025), ICCV, arXiv:2412.01818v2, for the split; code Theia-4869/VisPruner@aefa01a. Other second
    stages are no published method.
    """

    important_ratio: float = 0.5
    diverse: AbstractPruner = field(default_factory=DivPrune)

    def __post_init__(self) -> None:
        real("important_ratio", self.important_ratio, 0.0, 1.0)
        second = self.diverse
        if not isinstance(second, AbstractPruner):
            raise TypeError(f"`diverse` must be a pruner, got {second!r}")
        # Solvers are told a grid as well; only an even grid would make something of it.
        reads = second.needs & {"needed", "groups", *(() if isinstance(second, SolverPruner) else ("grid",))}
        if second.merges or second.in_encoder or second.inside or reads:
            raise TypeError(
                "`diverse` must drop tokens before the language model by what they show, without their grid or ground "
                f"truth, got {second.name!r}"
            )

    @property
    def name(self) -> str:
        """ "important+divprune", with the share if it is not one half."""
        share = "" if self.important_ratio == 0.5 else f"[{self.important_ratio:g}]"
        return f"important{share}+{self.diverse.name}"

    @property
    def needs(self) -> frozenset[str]:
        return self.diverse.needs | {"cls"}

    @property
    def cite(self) -> str:
        return f"the split of VisPruner (arXiv:2412.01818) with a second stage: {self.diverse.cite}"

    def _select(self, tokens: VisualTokens, keep: int) -> IntArray:
        important = int(keep * self.important_ratio)
        if not important:
            return self.diverse.select(tokens.only(np.arange(len(tokens))), keep)
        taken = rules.fastervlm(tokens.evidence("cls"), important)
        if important == keep:
            return taken
        left = np.setdiff1d(np.arange(len(tokens)), taken)
        return np.sort(np.concatenate([taken, left[self.diverse.select(tokens.only(left), keep - important)]]))
