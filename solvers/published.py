"""Published selection rules as solvers, so that they stand in the same table as greedy and exact."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .constraints import WholeRows
from .names import nearest, unknown
from .objectives.objective import AbstractObjective
from .problem import Problem
from .rules import rule as rule_named
from .solver import AbstractSolver, Outcome

STAND_INS = {"attention": "cls"}
"""Signal taken where the one a rule asks for is absent: the CLS attention is what these rules call attention."""


@dataclass(frozen=True)
class PublishedRule(AbstractSolver):
    """One entry of `RULES`. It chooses by its own rule; the objective only scores the result.

    Features, grid and budget come from the problem, everything else from the signal of the argument's name: "attention"
    (or "cls"), "attention_map", "relevance", "text" (or the problem's queries), of which a rule for one question vector
    gets the mean over words.

    Parameters
    ----------
    rule
        Name of a rule in `RULES`.
    options
        Parameters of the rule itself, for example {"important_ratio": 0.75}.

    Raises
    ------
    KeyError
        For an unknown rule or option; the nearest name is suggested.
    """

    rule: str = "vispruner"
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        entry = rule_named(self.rule)
        known = [name for name in inspect.signature(entry.function).parameters if name not in entry.needs]
        for name in self.options:
            nearest(name, known, f"option of rule {self.rule!r}")
        object.__setattr__(self, "options", dict(self.options))

    def __hash__(self) -> int:
        return hash(self.name)

    @property
    def name(self) -> str:
        """The rule's name, with its options where there are any."""
        options = ", ".join(f"{key}={value}" for key, value in self.options.items())
        return f"{self.rule}({options})" if options else self.rule

    def _evidence(self, problem: Problem) -> dict[str, Any]:
        evidence: dict[str, Any] = {"text": problem.queries} | dict(problem.signals)
        if evidence["text"] is not None:
            evidence["text"] = evidence["text"].mean(axis=0)
        for wanted, stand_in in STAND_INS.items():
            evidence.setdefault(wanted, problem.signals.get(stand_in))
        return evidence | {"features": problem.features, "grid": problem.grid, "keep": problem.budget}

    def _supports(self, problem: Problem, objective: AbstractObjective[Any]) -> str | None:
        entry, evidence = rule_named(self.rule), self._evidence(problem)
        missing = entry.missing(evidence)
        if missing:
            if missing[0] in ("features", "grid"):
                return f"rule {self.rule!r} needs `{missing[0]}`, which the problem does not have"
            return f"rule {self.rule!r} needs signal {missing[0]!r}: {unknown(missing[0], problem.signals, 'signal')}"
        n = problem.tokens
        width = 0 if problem.features is None else problem.features.shape[1]
        for name, shape in {"attention": (n,), "relevance": (n,), "attention_map": (n, n), "text": (width,)}.items():
            if name in entry.needs and evidence[name].shape != shape:
                return f"rule {self.rule!r} needs {name!r} of shape {shape}, got {evidence[name].shape}"
        for name in ("features", "text"):
            if name in entry.needs and not np.atleast_2d(evidence[name]).any(axis=1).all():
                return f"rule {self.rule!r} takes cosines and needs {name!r} without zero vectors"
        if self.rule == "scope" and evidence["attention"].min() < 0:
            return f"rule 'scope' needs 'attention' without negative values, got {evidence['attention'].min():g}"
        if self.rule == "fopru_rows":
            assert problem.grid is not None
            if problem.budget % problem.grid[1]:
                return (
                    f"rule 'fopru_rows' keeps whole rows of {problem.grid[1]} tokens; "
                    f"`budget` must be a multiple of it, got {problem.budget}"
                )
        return None

    def _refuses(self, problem: Problem) -> str | None:
        whole = self.rule == "fopru_rows" and type(problem.constraint) is WholeRows
        return None if whole else super()._refuses(problem)

    def _solve(
        self, problem: Problem, objective: AbstractObjective[Any], rng: np.random.Generator, time_limit: float | None
    ) -> Outcome:
        return Outcome(rule_named(self.rule).select(self._evidence(problem), **self.options))
