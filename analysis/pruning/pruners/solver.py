"""Any solver with any objective as a pruner."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from solvers import AbstractObjective, AbstractSolver, FacilityLocation, Greedy, Problem
from solvers.arrays import IntArray
from solvers.names import nearest

from ..pruner import AbstractPruner, child_seed
from ..tokens import VisualTokens
from .features import relevance

SPACES = ("projected", "features")
SIGNALS = ("cls", "relevance", "attention_map")


@dataclass(frozen=True)
class SolverPruner(AbstractPruner):
    """Selection as an optimisation problem: `solver` looks for the tokens that `objective` values most.

    Parameters
    ----------
    solver
        Any solver of `solvers`.
    objective
        Any objective of `solvers` that it supports.
    signal
        Evidence besides the features that the pair reads by this name: "cls", "relevance" (mean cosine with the
        question's words, which makes the pruner question-aware), "attention_map", or None.
    space
        "projected" (embedding space of the language model) or "features" (before the projector).
    time_limit
        Seconds per image for solvers that search; None lets them finish.

    Raises
    ------
    KeyError
        For an unknown signal or space; the nearest name is suggested.
    """

    solver: AbstractSolver = field(default_factory=Greedy)
    objective: AbstractObjective[Any] = field(default_factory=FacilityLocation)
    signal: str | None = None
    space: str = "projected"
    time_limit: float | None = None
    position_ids: ClassVar[str] = "keep"
    cite: ClassVar[str] = "baseline: combinatorial optimisation"

    def __post_init__(self) -> None:
        nearest(self.space, SPACES, "space")
        if self.signal is not None:
            nearest(self.signal, SIGNALS, "signal")

    @property
    def name(self) -> str:
        """Solver and objective, then what differs from the defaults: "Greedy+Saliency(signal=cls)[features]"."""
        changed = [self.signal] if self.signal is not None else []
        changed += [self.space] if self.space != SPACES[0] else []
        changed += [f"time_limit={self.time_limit:g}"] if self.time_limit is not None else []
        return f"{self.solver.name}+{self.objective.name}" + (f"[{', '.join(changed)}]" if changed else "")

    @property
    def needs(self) -> frozenset[str]:
        evidence = {None: set(), "cls": {"cls"}, "attention_map": {"attention_map"}, "relevance": {"projected", "text"}}
        return frozenset({self.space, "grid"} | evidence[self.signal])

    def problem(self, tokens: VisualTokens, keep: int) -> Problem:
        """The instance that the solver gets; all budgets of a picture share its similarities."""

        def build() -> Problem:
            signals: dict[str, Any] = {}
            if self.signal == "relevance":
                signals["relevance"] = relevance(tokens.unit, tokens.evidence("text"))
            elif self.signal is not None:
                signals[self.signal] = getattr(tokens, self.signal)
            return Problem.from_features(getattr(tokens, self.space), keep, signals=signals, grid=tokens.grid)

        if self.signal == "relevance":
            return build()
        return tokens.shared(("problem", self.space, self.signal), build).with_budget(keep)

    def _select(self, tokens: VisualTokens, keep: int) -> IntArray:
        solution = self.solver.solve(
            self.problem(tokens, keep),
            self.objective,
            seed=child_seed(self.name, tokens),
            time_limit=self.time_limit,
        )
        return np.sort(solution.selected)
