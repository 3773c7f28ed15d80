"""A method of one object replaced for the time of a context."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def shadowed(module: Any, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Iterator[None]:
    """`module.name` is `make` of what it was inside, by an attribute of the instance that goes afterwards."""
    before = vars(module).get(name)
    setattr(module, name, make(getattr(module, name)))
    try:
        yield
    finally:
        if before is None:
            delattr(module, name)
        else:
            setattr(module, name, before)
