"""The one way in which this package compiles loops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def fused(function: Function) -> Function:
    """Compile `function` on first use, cached on disk, free of the interpreter lock.

    Sums may be reassociated so that they vectorise; NaN and infinity keep their meaning.
    """
    compiled = numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "arcp", "nsz"})(function)
    return cast(Function, compiled)
