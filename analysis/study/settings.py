"""How large a study is, and what it compares."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any

from analysis.pruning.inside.stage import AbstractInnerPruner
from analysis.pruning.pruners import (
    AbstractPruner,
    CDPruner,
    DivPrune,
    FasterVLM,
    FastV,
    FoPruRank,
    FoPruRows,
    GreedyPrune,
    Oracle,
    PyramidDrop,
    Random,
    SolverPruner,
    UniformGrid,
    VisPruner,
)
from solvers import AbstractObjective, DppMap, FacilityLocation, Greedy, LogDet, MaxMin

OBJECTIVES: tuple[AbstractObjective[Any], ...] = (FacilityLocation(), LogDet(), MaxMin())
"""Under which every rule and solver is valued."""

PRUNERS: tuple[AbstractPruner, ...] = (
    VisPruner(),
    FasterVLM(),
    FoPruRank(),
    FoPruRows(rounding="floor"),  # never above the budget that the table states
    GreedyPrune(),
    DivPrune(),
    CDPruner(),
    SolverPruner(Greedy(), FacilityLocation()),
    SolverPruner(DppMap(), LogDet()),
    UniformGrid(),
    Random(),
    Oracle(),
)
"""What the accuracy table compares; the stock model is always there too."""

EXPLORED: tuple[AbstractInnerPruner, ...] = (FastV(), PyramidDrop())
"""Shown in the token explorer besides: each of their answers takes a run of the whole model, too long for the table."""


@dataclass(frozen=True)
class Settings:
    """The size of a study; two studies of equal settings and model share their results.

    Attributes
    ----------
    captured
        Images whose attention is captured, one question each.
    problems
        Images whose token selection is solved.
    budget
        Tokens kept in the selection problems.
    seconds_per_solve
        Time limit of each solver run and each bound.
    images
        Images whose questions are answered under every pruner and budget.
    keeps
        Budgets of the accuracy table.
    shown
        Images in the token explorer.
    """

    captured: int
    problems: int
    budget: int
    seconds_per_solve: float
    images: int
    keeps: tuple[int, ...] = (192, 128, 64, 32)
    shown: int = 4

    def with_images(self, images: int) -> Settings:
        """The same with another number of images in the accuracy table."""
        return replace(self, images=images, shown=min(self.shown, images))

    @property
    def digest(self) -> str:
        """Eight hexadecimal digits that change with any setting."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:8]


DEFAULT = Settings(captured=64, problems=6, budget=64, seconds_per_solve=5.0, images=64)
FAST = Settings(captured=6, problems=1, budget=64, seconds_per_solve=2.0, images=4, shown=2)
