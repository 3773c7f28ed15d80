"""Published selection rules as pure functions of arrays, one file each. `RULES` is the whole registry.

What a function returns is said by its entry. "indices" are the kept tokens as ascending int64, exactly `keep` of them
with two exceptions: `fopru_rows` keeps whole rows, and `greedyprune` may keep fewer if told to stop; `dart` and
`feather` keep other numbers only if told to do as published. An "assignment" merges into exactly `keep` tokens, but
`pooling` into a whole grid. Rules inside the language model come with a schedule: how many tokens each stage keeps.
"""

from __future__ import annotations

from ..names import nearest
from .assignment import Assignment
from .cdpruner import cdpruner
from .dart import dart
from .divprune import divprune
from .eadp import eadp, eadp_scores
from .fastervlm import fastervlm
from .fastv import fastv, fastv_schedule
from .feather import feather, feather_schedule
from .fopru import fopru_rank, fopru_rows
from .greedyprune import greedyprune
from .hired import hired, hired_quotas
from .holov import holov
from .mmtok import mmtok
from .otprune import otprune, otprune_kernel
from .pooling import pooling
from .prumerge import prumerge
from .pyramiddrop import pyramiddrop, pyramiddrop_schedule
from .rule import Rule
from .scope import scope
from .sparsevlm import rope_response, sparsevlm, sparsevlm_corrected, sparsevlm_raters, sparsevlm_recycle
from .sparsevlm_schedule import sparsevlm_schedule
from .stages import Stage, average_tokens, tokens_per_layer
from .tome import tome_schedule
from .trim import trim
from .visionzip import visionzip
from .vispruner import vispruner

__all__ = [
    "RULES",
    "Assignment",
    "Rule",
    "Stage",
    "average_tokens",
    "cdpruner",
    "dart",
    "divprune",
    "eadp",
    "eadp_scores",
    "fastervlm",
    "fastv",
    "fastv_schedule",
    "feather",
    "feather_schedule",
    "fopru_rank",
    "fopru_rows",
    "greedyprune",
    "hired",
    "hired_quotas",
    "holov",
    "mmtok",
    "otprune",
    "otprune_kernel",
    "pooling",
    "prumerge",
    "pyramiddrop",
    "pyramiddrop_schedule",
    "rope_response",
    "rule",
    "scope",
    "sparsevlm",
    "sparsevlm_corrected",
    "sparsevlm_raters",
    "sparsevlm_recycle",
    "sparsevlm_schedule",
    "tokens_per_layer",
    "tome_schedule",
    "trim",
    "visionzip",
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
    Rule(
        name="mmtok",
        function=mmtok,
        needs=("features", "words", "keep"),
        citation="S. Dong et al. (2025), arXiv:2508.18264",
        where="before LM",
        question_aware=True,
    ),
    Rule(
        name="otprune",
        function=otprune,
        needs=("features", "keep"),
        citation="X. Chen et al. (2026), arXiv:2602.20205",
        where="before LM",
        question_aware=False,
    ),
    Rule(
        name="eadp",
        function=eadp,
        needs=("features", "relevance", "keep"),
        citation="X. Wang et al. (2026), arXiv:2607.02484",
        where="before LM",
        question_aware=True,
    ),
    Rule(
        name="holov",
        function=holov,
        needs=("features", "attention", "keep"),
        citation="X. Zou et al. (2025), arXiv:2510.02912",
        where="before LM",
        question_aware=False,
    ),
    Rule(
        name="hired",
        function=hired,
        needs=("attention", "keep"),
        citation="K. H. I. Arif et al. (2024), arXiv:2408.10945",
        where="before LM",
        question_aware=False,
    ),
    Rule(
        name="hired_quotas",
        function=hired_quotas,
        needs=("first_attention", "grid", "tiles", "keep"),
        citation="K. H. I. Arif et al. (2024), arXiv:2408.10945",
        where="before LM",
        question_aware=False,
        gives="quotas",
    ),
    Rule(
        name="fastv",
        function=fastv,
        needs=("attention", "keep"),
        citation="L. Chen et al. (2024), arXiv:2403.06764",
        where="inside LM",
        question_aware=True,
    ),
    Rule(
        name="pyramiddrop",
        function=pyramiddrop,
        needs=("attention", "keep"),
        citation="L. Xing et al. (2024), arXiv:2410.17247",
        where="inside LM",
        question_aware=True,
    ),
    Rule(
        name="sparsevlm",
        function=sparsevlm,
        needs=("attention", "keep"),
        citation="Y. Zhang et al. (2024), arXiv:2410.04417",
        where="inside LM",
        question_aware=True,
    ),
    Rule(
        name="dart",
        function=dart,
        needs=("keys", "text_keys", "keep"),
        citation="Z. Wen et al. (2025), arXiv:2502.11494",
        where="inside LM",
        question_aware=True,
    ),
    Rule(
        name="feather",
        function=feather,
        needs=("attention", "keep", "grid"),
        citation="M. Endo et al. (2024), arXiv:2412.13180",
        where="inside LM",
        question_aware=True,
    ),
    Rule(
        name="visionzip",
        function=visionzip,
        needs=("attention", "keys", "keep"),
        citation="S. Yang et al. (2024), arXiv:2412.04467",
        where="before LM",
        question_aware=False,
        gives="assignment",
    ),
    Rule(
        name="prumerge",
        function=prumerge,
        needs=("attention", "keys", "keep"),
        citation="Y. Shang et al. (2024), arXiv:2403.15388",
        where="before LM",
        question_aware=False,
        gives="assignment",
    ),
    Rule(
        name="trim",
        function=trim,
        needs=("relevance", "keep"),
        citation="D. Song et al. (2024), arXiv:2409.10994",
        where="before LM",
        question_aware=True,
        gives="assignment",
    ),
    Rule(
        name="pooling",
        function=pooling,
        needs=("grid", "keep"),
        citation="T. Peng et al. (2025), arXiv:2511.02650",
        where="before LM",
        question_aware=False,
        gives="assignment",
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
