"""Published selection rules as pure functions of arrays, one file each. `RULES` is the whole registry.

Every function returns the kept tokens as ascending int64. Exactly `keep` of them, with two exceptions:
`fopru_rows` keeps whole rows, and `greedyprune` may keep fewer if told to stop.
"""

from __future__ import annotations

from ..names import nearest
from .cdpruner import cdpruner
from .divprune import divprune
from .fastervlm import fastervlm
from .fopru import fopru_rank, fopru_rows
from .greedyprune import greedyprune
from .rule import Rule
from .scope import scope
from .vispruner import vispruner

__all__ = [
    "RULES",
    "Rule",
    "cdpruner",
    "divprune",
    "fastervlm",
    "fopru_rank",
    "fopru_rows",
    "greedyprune",
    "rule",
    "scope",
    "vispruner",
]

RULES: tuple[Rule, ...] = (
    Rule(
        name="vispruner",
        function=vispruner,
        needs=("features", "attention", "keep"),
        citation="Q. Zhang et al. (2025), arXiv:2412.01818v2",
        where="before LM",
        question_aware=False,
    ),
    Rule(
        name="fastervlm",
        function=fastervlm,
        needs=("attention", "keep"),
        citation="Q. Zhang et al. (2024), arXiv:2412.01818v1",
        where="before LM",
        question_aware=False,
    ),
    Rule(
        name="fopru_rank",
        function=fopru_rank,
        needs=("attention_map", "keep"),
        citation="L. Jiang et al. (2024), arXiv:2411.14164",
        where="before LM",
        question_aware=False,
    ),
    Rule(
        name="fopru_rows",
        function=fopru_rows,
        needs=("attention_map", "keep", "grid"),
        citation="L. Jiang et al. (2024), arXiv:2411.14164",
        where="before LM",
        question_aware=False,
    ),
    Rule(
        name="greedyprune",
        function=greedyprune,
        needs=("features", "text", "keep"),
        citation="R. Pei et al. (2025), arXiv:2506.13166",
        where="inside LM",
        question_aware=True,
    ),
    Rule(
        name="divprune",
        function=divprune,
        needs=("features", "keep"),
        citation="S. R. Alvar et al. (2025), arXiv:2503.02175",
        where="before LM",
        question_aware=False,
    ),
    Rule(
        name="cdpruner",
        function=cdpruner,
        needs=("features", "relevance", "keep"),
        citation="Q. Zhang et al. (2025), arXiv:2506.10967",
        where="before LM",
        question_aware=True,
    ),
    Rule(
        name="scope",
        function=scope,
        needs=("features", "attention", "keep"),
        citation="J. Deng et al. (2025), arXiv:2510.24214",
        where="before LM",
        question_aware=False,
    ),
)


def rule(name: str) -> Rule:
    """The rule of that name.

    Raises
    ------
    KeyError
        If there is none; the text suggests the nearest name.

    Examples
    --------
    >>> rule("divprune").needs
    ('features', 'keep')
    """
    by_name = {entry.name: entry for entry in RULES}
    return by_name[nearest(name, by_name, kind="rule")]
