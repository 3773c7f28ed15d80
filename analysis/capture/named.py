"""Reducers by name, and those that a dump holds by default."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from solvers.names import nearest

from ..models import AbstractAdapter
from .reducers import AbstractReducer, ClsRow, LastRow, TextMean
from .streamed import Entropy, ImageRows, MeanReceived

REDUCERS: dict[str, AbstractReducer] = {
    "cls": ClsRow(),
    "received": MeanReceived(heads=True),
    "vision_entropy": Entropy(heads=True),
    "last": LastRow(),
    "text_mean": TextMean(heads=True),
    "image_rows": ImageRows(heads=True),
    "text_entropy": Entropy(heads=True, of="text"),
}
"""What the command line offers, by the name of the variable in the dump; a new one is one entry."""


def vision_reducer(adapter: AbstractAdapter) -> AbstractReducer:
    """What scores the tokens in the encoder: the CLS row, or, declared in its stead, what each token receives."""
    return REDUCERS["cls" if adapter.has_cls else "received"]


def default_reducers(adapter: AbstractAdapter) -> dict[str, AbstractReducer]:
    """What a dump holds unless told otherwise: `cls` (or `received`, without CLS) of the encoder, and `last`.

    Without `last` where visual tokens stand beside the prompt.
    """
    return named_reducers(["cls" if adapter.has_cls else "received", *([] if adapter.cross_attention else ["last"])])


def named_reducers(names: Iterable[str], *, heads: bool = True) -> dict[str, AbstractReducer]:
    """The entries of REDUCERS called `names`, per head or as head means; KeyError with the nearest name for others."""
    return {name: replace(REDUCERS[nearest(name, REDUCERS, "reducer")], heads=heads) for name in names}
