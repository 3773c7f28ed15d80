"""The one way in which this package compiles loops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def fused(function: Function) -> Function:
    """Compile `function` on first use, cached on disk where a folder can be written, free of the interpreter lock.

    Sums may be reassociated so that they vectorise; NaN and infinity keep their meaning.
    """
    options: dict[str, Any] = {"nogil": True, "fastmath": {"reassoc", "contract", "arcp", "nsz"}}
    try:
        compiled = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no folder for the cache: a read-only installation without a writable home
        compiled = numba.njit(**options)(function)
    return cast(Function, compiled)
