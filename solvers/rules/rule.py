"""What a published rule is besides its function: source, place in the model, evidence it needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..arrays import IntArray

EVIDENCE = ("features", "attention", "attention_map", "relevance", "text", "grid", "keep")


@dataclass(frozen=True)
class Rule:
    """One published selection rule.

    Parameters
    ----------
    name
        Name in the registry, the same as the function's.
    function
        Pure function of arrays that returns the kept tokens, int64, ascending.
    needs
        Arguments the function must get, out of `EVIDENCE`.
    citation
        Authors, year and arXiv id.
    where
        Whether the published method prunes before or inside the language model.
    question_aware
        Whether another question about the same image can keep other tokens.

    Raises
    ------
    ValueError
        If `needs` names something that is not in `EVIDENCE`.
    """

    name: str
    function: Callable[..., IntArray]
    needs: tuple[str, ...]
    citation: str
    where: Literal["before LM", "inside LM"]
    question_aware: bool

    def __post_init__(self) -> None:
        foreign = [argument for argument in self.needs if argument not in EVIDENCE]
        if foreign:
            raise ValueError(f"`needs` of rule {self.name!r} must be among {', '.join(EVIDENCE)}, got {foreign[0]!r}")

    def missing(self, evidence: Mapping[str, Any]) -> tuple[str, ...]:
        """The arguments this rule needs and `evidence` lacks (absent, or None)."""
        return tuple(argument for argument in self.needs if evidence.get(argument) is None)

    def select(self, evidence: Mapping[str, Any], **options: Any) -> IntArray:
        """Run the rule on what it needs of `evidence`; the rest of it is ignored.

        Parameters
        ----------
        evidence
            Arguments by name, for example {"features": x, "attention": a, "keep": 64}.
        **options
            Parameters of the rule itself, for example important_ratio=0.75.

        Returns
        -------
        int64
            Kept tokens, ascending.

        Raises
        ------
        ValueError
            If something needed is missing, or the function refuses what it gets.
        """
        missing = self.missing(evidence)
        if missing:
            given = ", ".join(sorted(key for key, value in evidence.items() if value is not None)) or "nothing"
            raise ValueError(f"rule {self.name!r} needs {', '.join(f'`{name}`' for name in missing)}, got {given}")
        return self.function(**{argument: evidence[argument] for argument in self.needs}, **options)
