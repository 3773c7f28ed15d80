"""Which models are being pruned, and by what: at most one pruner before the language model and one inside it."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

_ACTIVE: weakref.WeakKeyDictionary[nn.Module, dict[str, Any]] = weakref.WeakKeyDictionary()


@contextmanager
def only_one(base: nn.Module, where: str, hooks: Any) -> Iterator[None]:
    """`hooks` are what prunes the base model at `where` ("before" or "inside") in this context.

    Raises
    ------
    RuntimeError
        If something else does there already.
    """
    places = _ACTIVE.setdefault(base, {})
    if where in places:
        raise RuntimeError(
            f"this model is being pruned already {where} its language model: `prune` contexts of one kind must not be "
            "nested"
        )
    places[where] = hooks
    try:
        yield
    finally:
        del places[where]


def active(base: nn.Module, where: str) -> Any:
    """The hooks that prune the base model at `where`, or None."""
    return _ACTIVE.get(base, {}).get(where)
