"""The one way in which this package compiles loops, and the one place that does without a compiler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, overload

try:
    from numba import njit
except ImportError:
    njit = None  # type: ignore[assignment]

Function = TypeVar("Function", bound=Callable[..., Any])

COMPILED = njit is not None
"""Whether loops are compiled here. Without numba every solver runs and picks the same tokens, more slowly."""


@overload
def fused(function: Function) -> Function: ...
@overload
def fused(*, plain: Callable[..., Any]) -> Callable[[Function], Function]: ...
def fused(function: Any = None, *, plain: Callable[..., Any] | None = None) -> Any:
    """Compile `function` on first use, cached on disk where a folder can be written, free of the interpreter lock.

    Sums may be reassociated so that they vectorise; NaN and infinity keep their meaning. Where numba is missing, the
    function `plain` takes its place: the same result by NumPy (see `solvers.kernels.plain`). A loop without one then
    runs as it is written, in Python.
    """
    if function is None:
        return lambda loop: fused(loop) if COMPILED else plain
    if not COMPILED:
        return function
    options: dict[str, Any] = {"nogil": True, "fastmath": {"reassoc", "contract", "arcp", "nsz"}}
    try:
        compiled = njit(cache=True, **options)(function)
    except RuntimeError:  # no folder for the cache: a read-only installation without a writable home
        compiled = njit(**options)(function)
    return compiled
