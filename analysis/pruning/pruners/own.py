"""A rule of one's own: any function of arrays is a pruner."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from solvers.arrays import IntArray
from solvers.names import unknown

from ..pruner import AbstractPruner
from ..tokens import FIELDS, VisualTokens


@dataclass(frozen=True)
class OwnRule(AbstractPruner):
    """A function as a pruner; `own_rule(function)` makes one, and so does whatever takes a pruner.

    Parameters
    ----------
    function
        Gets the fields of `VisualTokens` that its parameters are named after, and `keep`; returns the kept tokens,
        ascending.
    reads
        The names of these fields.
    digest
        Twelve hexadecimal digits of its source, its defaults and what it closes over: results of another version are
        other results.
    """

    function: Callable[..., npt.ArrayLike] = field(repr=False)
    reads: tuple[str, ...]
    digest: str

    @property
    def name(self) -> str:
        """The function's name."""
        return getattr(self.function, "__name__", type(self.function).__name__)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset(self.reads)

    @property
    def cite(self) -> str:
        """The first line of the function's documentation."""
        return (inspect.getdoc(self.function) or "a rule of one's own").splitlines()[0]

    def _select(self, tokens: VisualTokens, keep: int) -> IntArray:
        evidence = {name: getattr(tokens, name) for name in self.reads}
        return np.asarray(self.function(**evidence, keep=keep))


def own_rule(function: Callable[..., npt.ArrayLike]) -> OwnRule:
    """A pruner that calls `function`.

    Raises
    ------
    KeyError
        If it has a parameter without default that is neither `keep` nor a field of `VisualTokens`; the nearest is
        suggested.
    TypeError
        If it has no parameter `keep`.

    Examples
    --------
    >>> def brightest(features, keep):
    ...     "The tokens of largest norm."
    ...     return np.sort(np.argsort(-np.linalg.norm(features, axis=1), kind="stable")[:keep])
    >>> own_rule(brightest).needs
    frozenset({'features'})
    """
    parameters = inspect.signature(function).parameters
    if "keep" not in parameters:
        raise TypeError(f"a rule must have a parameter `keep`, got {', '.join(parameters) or 'none'}")
    wanted = [name for name in parameters if name != "keep"]
    for name in wanted:
        if name not in FIELDS and parameters[name].default is inspect.Parameter.empty:
            raise KeyError(unknown(name, FIELDS, "evidence"))
    return OwnRule(function, tuple(name for name in wanted if name in FIELDS), _digest(function))


def _digest(function: Any) -> str:
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError):  # typed into a console, or not written in Python
        source = repr(getattr(getattr(function, "__code__", None), "co_code", function))
    closed = [cell.cell_contents for cell in getattr(function, "__closure__", None) or ()]
    text = f"{source}|{getattr(function, '__defaults__', None)!r}|{closed!r}"
    return hashlib.sha256(text.encode()).hexdigest()[:12]
