"""Names and identities of parameterised objects, and the nearest known name when one is not there."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import fields
from typing import Any


def described(entry: Any) -> str:
    """Class name of a dataclass instance, with the parameters that are not at their defaults.

    Raises
    ------
    TypeError
        If the instance has attributes that are not fields: neither names nor stored results would tell it apart.

    Examples
    --------
    >>> from solvers import TopK
    >>> described(TopK()), described(TopK("relevance"))
    ('TopK', 'TopK(signal=relevance)')
    """
    _check_fields(entry)
    changed = [
        f"{item.name}={value}"
        for item in fields(entry)
        if (value := getattr(entry, item.name)) != item.default
        and not (callable(item.default_factory) and value == item.default_factory())
    ]
    return type(entry).__name__ + (f"({', '.join(changed)})" if changed else "")


def identity(entry: Any) -> str:
    """Module, class and every parameter of a dataclass instance: what a stored result is recognised by.

    Raises
    ------
    TypeError
        As `described`.

    Examples
    --------
    >>> from solvers import TopK
    >>> identity(TopK())
    "solvers.baselines:TopK(signal='cls')"
    """
    _check_fields(entry)
    return f"{type(entry).__module__}:{entry!r}"


def _check_fields(entry: Any) -> None:
    known = {item.name for item in fields(entry)}
    # What the class has too (a cached property) is no parameter.
    hidden = [name for name in vars(entry) if name not in known and not hasattr(type(entry), name)]
    if hidden:
        kind = type(entry).__name__
        raise TypeError(f"{kind} must be a frozen dataclass and {hidden[0]!r} one of its fields, got a plain attribute")


def unknown(name: str, choices: Iterable[str], kind: str = "name") -> str:
    """Sentence saying that `name` is not known, which one was probably meant, and which ones there are.

    Parameters
    ----------
    name
        What was asked for.
    choices
        The known names.
    kind
        What the names are names of, for example "signal".
    """
    known = sorted(choices)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]!r}?" if close else ";"
    return f"unknown {kind} {name!r}{hint} known: {', '.join(known) if known else 'none'}"


def nearest(name: str, choices: Iterable[str], kind: str = "name") -> str:
    """Return `name` if it is one of `choices`.

    Raises
    ------
    KeyError
        Otherwise, with the nearest known name suggested.

    Examples
    --------
    >>> nearest("vispruner", ["vispruner", "divprune"])
    'vispruner'
    """
    known = list(choices)
    if name not in known:
        raise KeyError(unknown(name, known, kind))
    return name
