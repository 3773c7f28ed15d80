"""`prunescope models`: every model family."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .frame import AsJson
from .listing import AsMarkdown, Listing, Row, show, summary

if TYPE_CHECKING:
    from ..models import AbstractAdapter

TEXT = """`analysis.load` takes checkpoints of these types; a new family is one file in `analysis/models` and one
entry in its tuple."""


def models(as_json: AsJson = False, as_markdown: AsMarkdown = False) -> None:
    """Every model family: which checkpoints it takes, and what pruning means there."""
    from ..models import FAMILIES

    show("models", [Listing("Model families", TEXT, [family_row(entry) for entry in FAMILIES])], as_json, as_markdown)


def family_row(entry: AbstractAdapter) -> Row:
    """What stands about a model family in the table."""
    return {
        "model type": ", ".join(entry.model_types),
        "what it is": summary(entry),
        "visual tokens": "as many for every image" if entry.fixed_grid else "by the image",
        "CLS": "yes" if entry.has_cls else "no: mean attention received",
        "merging": "before the projector" if entry.projects_tokens else "behind the projector",
        "position ids": "keep, compact" if entry.position_axes == 1 else "keep",
    }
