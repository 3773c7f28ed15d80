"""Texts of the command line as the objects they name: `vispruner(important_ratio=0.7)`, `64,32`."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from solvers import AbstractObjective, AbstractSolver

    from ..pruning import AbstractPruner

ENTRY = re.compile(r"\s*([^\s(),]+)\s*(\([^()]*(?:\([^()]*\)[^()]*)*\))?\s*(?:,|$)")


class Named(NamedTuple):
    """A name with parameters."""

    name: str
    parameters: dict[str, Any]


def entries(texts: Sequence[str], option: str) -> list[Named]:
    """What was asked for by one or several texts, each a comma-separated list of names with or without parameters.

    Raises
    ------
    ValueError
        If a text is something else.

    Examples
    --------
    >>> entries(["TopK(signal=relevance), Greedy", "oracle"], "solvers")[0]
    Named(name='TopK', parameters={'signal': 'relevance'})
    """
    return [named for text in texts for named in _split(text, option)]


def _split(text: str, option: str) -> list[Named]:
    found, at = [], 0
    while at < len(text):
        entry = ENTRY.match(text, at)
        if entry is None:
            raise ValueError(f"`--{option}` must be names such as name or name(parameter=value), got {text!r}")
        found.append(Named(entry[1], _parameters(entry[2] or "()", text, option)))
        at = entry.end()
    if not found:
        raise ValueError(f"`--{option}` must not be empty")
    return found


def _parameters(brackets: str, text: str, option: str) -> dict[str, Any]:
    try:
        call = ast.parse(f"f{brackets}", mode="eval").body
        assert isinstance(call, ast.Call)
        if call.args or any(keyword.arg is None for keyword in call.keywords):
            raise ValueError("parameters need names")
        return {str(keyword.arg): _value(keyword.value) for keyword in call.keywords}
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"`--{option}` must be name(parameter=value, ...) with plain values, got {text!r}") from error


def _value(node: ast.expr) -> Any:
    """A literal; a bare word is a text, so that the names that tables print can be typed."""
    return node.id if isinstance(node, ast.Name) else ast.literal_eval(node)


def numbers(texts: Sequence[str], option: str) -> tuple[int, ...]:
    """Integers out of comma-separated texts.

    Raises
    ------
    ValueError
        If one is no integer.
    """
    parts = [part.strip() for text in texts for part in text.split(",")]
    wrong = next((part for part in parts if not re.fullmatch(r"[+-]?\d+", part)), None)
    if wrong is not None:
        raise ValueError(f"`--{option}` must be integers such as 64,32, got {wrong!r}")
    return tuple(map(int, parts))


def budgets(texts: Sequence[str], option: str) -> tuple[int | float, ...]:
    """Numbers of tokens, or shares of them, out of comma-separated texts.

    Raises
    ------
    ValueError
        If one is no number.
    """
    try:
        return numbers(texts, option)
    except ValueError as error:
        try:
            return tuple(float(part) if "." in part else int(part) for text in texts for part in text.split(","))
        except ValueError:
            raise error from None


def pruners(texts: Sequence[str]) -> list[AbstractPruner] | dict[str, AbstractPruner]:
    """Pruners of the registry, by name and with other hyper-parameters if wanted.

    One method under several hyper-parameters gets names that tell them apart, as `evaluate` wants them.
    """
    from ..pruning.pruners import pruner

    asked = entries(texts, "pruners")
    found = [with_parameters(pruner(name), name, parameters) for name, parameters in asked]
    names = [entry.name for entry in found]
    if len(set(names)) == len(names):
        return found
    labels = [_label(named) for named in asked]
    return dict(zip(labels, found, strict=True)) if len(set(labels)) == len(labels) else found


def _label(named: Named) -> str:
    inside = ", ".join(f"{key}={value}" for key, value in named.parameters.items())
    return f"{named.name}({inside})" if inside else named.name


def solvers(texts: Sequence[str]) -> list[AbstractSolver]:
    """Solvers by class name, published rules by their own."""
    from solvers import RULES, SOLVERS, PublishedRule
    from solvers.names import nearest

    classes = {kind.__name__: kind for kind in SOLVERS if kind is not PublishedRule}
    known = [*classes, *(rule.name for rule in RULES)]
    found: list[AbstractSolver] = []
    for name, parameters in entries(texts, "solvers"):
        nearest(name, known, "solver")
        rule = name not in classes
        found.append(PublishedRule(name, parameters) if rule else with_parameters(classes[name](), name, parameters))
    return found


def objectives(texts: Sequence[str]) -> list[AbstractObjective[Any]]:
    """Objectives by class name."""
    from solvers import OBJECTIVES
    from solvers.names import nearest

    classes = {kind.__name__: kind for kind in OBJECTIVES}
    return [
        with_parameters(classes[nearest(name, classes, "objective")](), name, parameters)
        for name, parameters in entries(texts, "objective")
    ]


def with_parameters(entry: Any, name: str, parameters: dict[str, Any]) -> Any:
    """A frozen dataclass instance with some of its fields replaced.

    Raises
    ------
    KeyError
        For a field that it does not have.
    """
    from solvers.names import nearest

    known = [item.name for item in fields(entry) if item.init]
    for parameter in parameters:
        nearest(parameter, known, f"parameter of {name!r}")
    return replace(entry, **parameters) if parameters else entry
