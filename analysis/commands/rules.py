"""`prunescope rules`: every pruner."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .frame import AsJson
from .listing import AsMarkdown, Listing, Row, show, summary

if TYPE_CHECKING:
    from ..pruning import AbstractPruner

TEXT = """`prune(vlm, "vispruner", keep=64)` takes any of these by name, `analysis.pruners` holds their classes
with their parameters, and a function of your own does as well. Position ids are those that the method itself uses."""


def rules(as_json: AsJson = False, as_markdown: AsMarkdown = False) -> None:
    """Every pruner: where it works, what it reads, which position ids it uses, and its source."""
    from ..pruning import PRUNERS

    show("rules", [Listing("Pruners", TEXT, [rule_row(entry) for entry in PRUNERS])], as_json, as_markdown)


def rule_row(entry: AbstractPruner) -> Row:
    """What stands about a pruner in the table."""
    where = "inside the language model" if entry.inside else "before the language model"
    return {
        "name": entry.name,
        "what it keeps": summary(entry),
        "where": "in the encoder" if entry.in_encoder else where,
        "others are": "merged" if entry.merges else "dropped",
        "reads": ", ".join(sorted(entry.needs)) or "nothing",
        "question": "yes" if entry.question_aware else "no",
        "position ids": entry.position_ids,
        "source": entry.cite,
    }
