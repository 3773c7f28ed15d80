"""What a published rule is besides its function: source, place in the model, evidence it needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

Where = Literal["in encoder", "before LM", "inside LM"]
Gives = Literal["indices", "assignment", "quotas"]

EVIDENCE = (
    "features",
    "attention",
    "attention_map",
    "relevance",
    "text",
    "grid",
    "keep",
    "words",
    "keys",
    "text_keys",
    "hidden",
    "first_attention",
    "tiles",
)
"""What rules ask for, beside `keep`, the budget.

features [token, dim]; attention [token]; attention_map [query token, key token]; relevance [token] to the question;
text [dim] or words [word, dim] of the question in the space of the features; keys of an attention layer [token, dim]
and text_keys [word, dim] of the words after the image there; hidden states of the language model [token, dim];
first_attention [token] of CLS in the encoder's first block; grid (rows, columns) of the tokens; tiles (rows, columns)
of the sub-images that the whole image is cut into.
"""


@dataclass(frozen=True)
class Rule:
    """One published selection rule.

    Parameters
    ----------
    name
        Name in the registry, the same as the function's.
    function
        Pure function of arrays.
    needs
        Arguments the function must get, out of `EVIDENCE`.
    citation
        Authors, year and arXiv id.
    where
        Whether the published method shortens the sequence inside the vision encoder, between it and the language model,
        or inside the language model.
    question_aware
        Whether another question about the same image can keep other tokens.
    gives
        What the function returns: "indices", the kept tokens, ascending int64; an "assignment" of tokens to the merged
        ones that replace them; or "quotas", tokens per tile, int64 [tile].

    Raises
    ------
    ValueError
        If `needs` names something that is not in `EVIDENCE`, or `where` or `gives` is none of the above.
    """

    name: str
    function: Callable[..., Any]
    needs: tuple[str, ...]
    citation: str
    where: Where
    question_aware: bool
    gives: Gives = "indices"

    def __post_init__(self) -> None:
        for name, known in (("where", get_args(Where)), ("gives", get_args(Gives))):
            if getattr(self, name) not in known:
                choices = ", ".join(map(repr, known))
                raise ValueError(
                    f"`{name}` of rule {self.name!r} must be one of {choices}, got {getattr(self, name)!r}"
                )
        foreign = [argument for argument in self.needs if argument not in EVIDENCE]
        if foreign:
            raise ValueError(f"`needs` of rule {self.name!r} must be among {', '.join(EVIDENCE)}, got {foreign[0]!r}")

    def missing(self, evidence: Mapping[str, Any]) -> tuple[str, ...]:
        """The arguments this rule needs and `evidence` lacks (absent, or None)."""
        return tuple(argument for argument in self.needs if evidence.get(argument) is None)

    def select(self, evidence: Mapping[str, Any], **options: Any) -> Any:
        """Run the rule on what it needs of `evidence`; the rest of it is ignored.

        Parameters
        ----------
        evidence
            Arguments by name, for example {"features": x, "attention": a, "keep": 64}.
        **options
            Parameters of the rule itself, for example important_ratio=0.75.

        Returns
        -------
        ndarray or Assignment
            What `gives` says: for "indices" the kept tokens, ascending int64.

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
