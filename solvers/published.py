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
from .rules import RULES, Rule
from .rules import rule as rule_named
from .solver import AbstractSolver, Outcome

STAND_INS = {"attention": "cls"}
"""Signal taken where the one a rule asks for is absent: CLS attention is what rules before the language model call
attention. Inside of it attention is another thing."""
SERVED = {"features", "attention", "attention_map", "relevance", "text", "words", "grid", "keep"}
"""What a problem can hold of the evidence that rules ask for. Keys and hidden states of a model are not among it."""
WEIGHTED_BY_ATTENTION = {"holov", "scope"}
"""Rules that take attention as a weight, not only as an order."""
INSIDE_LM = {"greedyprune"}
"""Rules of methods that prune inside the language model, but choose by what is known before it, too."""


@dataclass(frozen=True)
class PublishedRule(AbstractSolver):
    """One entry of `RULES`. It chooses by its own rule; the objective only scores the result.

    Features, grid and budget come from the problem, everything else from the signal of the argument's name: "attention"
    (or "cls"), "attention_map", "relevance", "text" (or the problem's queries), of which a rule for one question vector
    gets the mean over words. A rule for word vectors gets the queries (or the signal "text"), as does
    `MultimodalFacilityLocation`.

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
        if rule_named(self.rule).where != "inside LM":
            for wanted, stand_in in STAND_INS.items():
                evidence.setdefault(wanted, problem.signals.get(stand_in))
        evidence["words"] = problem.queries if problem.queries is not None else problem.signals.get("text")
        return evidence | {"features": problem.features, "grid": problem.grid, "keep": problem.budget}

    def _supports(self, problem: Problem, objective: AbstractObjective[Any]) -> str | None:
        entry, evidence = rule_named(self.rule), self._evidence(problem)
        reason = _cannot_run(entry) or _lacks(entry, evidence, problem) or _misfit(entry, evidence, problem)
        if reason is not None:
            return f"rule {self.rule!r} {reason}"
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


def published_rules() -> tuple[PublishedRule, ...]:
    """The rules that select tokens by what a `Problem` can hold, at their defaults.

    Left out are those that merge tokens or divide a budget, those that need states of a model, and those that choose by
    the attention of the language model, for which that of CLS would be no stand-in.
    """
    return tuple(
        PublishedRule(entry.name)
        for entry in RULES
        if _cannot_run(entry) is None and (entry.where == "before LM" or entry.name in INSIDE_LM)
    )


def _cannot_run(entry: Rule) -> str | None:
    """Why no problem suits the rule, or None if some can."""
    if entry.gives != "indices":
        return f"gives {entry.gives}, not a selection of tokens"
    foreign = [name for name in entry.needs if name not in SERVED]
    return f"needs `{foreign[0]}` of a model, which no problem holds" if foreign else None


def _lacks(entry: Rule, evidence: Mapping[str, Any], problem: Problem) -> str | None:
    """What the rule needs and the problem does not have, or None."""
    missing = entry.missing(evidence)
    if not missing:
        return None
    if missing[0] == "words":
        return "needs words: the problem has neither `queries` nor a signal 'text'"
    if missing[0] in ("features", "grid"):
        return f"needs `{missing[0]}`, which the problem does not have"
    return f"needs signal {missing[0]!r}: {unknown(missing[0], problem.signals, 'signal')}"


def _misfit(entry: Rule, evidence: Mapping[str, Any], problem: Problem) -> str | None:
    """What the problem has in another shape or range than the rule needs it, or None."""
    n = problem.tokens
    width = 0 if problem.features is None else problem.features.shape[1]
    for name, shape in {"attention": (n,), "relevance": (n,), "attention_map": (n, n), "text": (width,)}.items():
        if name in entry.needs and evidence[name].shape != shape:
            return f"needs {name!r} of shape {shape}, got {evidence[name].shape}"
    if "words" in entry.needs and evidence["words"].shape[1] != width:
        return f"needs words of dimension {width}, got {evidence['words'].shape[1]}"
    for name in ("features", "text", "words"):
        if name in entry.needs and not np.atleast_2d(evidence[name]).any(axis=1).all():
            return f"takes cosines and needs {name!r} without zero vectors"
    if entry.name in WEIGHTED_BY_ATTENTION and evidence["attention"].min() < 0:
        return f"needs 'attention' without negative values, got {evidence['attention'].min():g}"
    return None
