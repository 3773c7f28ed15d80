"""Names: of parameterised objects, and the nearest known one when a name is not there."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import fields
from typing import Any


def described(entry: Any) -> str:
    """Class name of a dataclass instance, with the parameters that are not at their defaults.

    Examples
    --------
    >>> from solvers import TopK
    >>> described(TopK()), described(TopK("relevance"))
    ('TopK', 'TopK(signal=relevance)')
    """
    changed = [
        f"{item.name}={value}"
        for item in fields(entry)
        if (value := getattr(entry, item.name)) != item.default
        and not (callable(item.default_factory) and value == item.default_factory())
    ]
    return type(entry).__name__ + (f"({', '.join(changed)})" if changed else "")


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
