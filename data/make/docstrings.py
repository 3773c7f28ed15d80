"""Plain text for a small language model: the docstrings of installed packages, read without importing any of them."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

LEAST = 100  # characters: a shorter docstring has nothing in it to look back at
SKIPPED = {"tests", "test", "testing", "_vendor"}


class Docstring(NamedTuple):
    """What a module, class or function is called, and what is said about it."""

    name: str
    text: str


def docstrings(packages: Sequence[str]) -> list[Docstring]:
    """The docstrings of `LEAST` characters or more, without their indentation, in the order of packages and files.

    A text that occurs again, as inherited documentation does, is taken once. Files that this Python cannot parse are
    passed over, and so are tests.

    Parameters
    ----------
    packages
        Names of installed distributions, as on the package index.

    Raises
    ------
    ValueError
        If one of them is not installed, or none has any such docstring.
    """
    found: dict[str, Docstring] = {}
    for package in packages:
        for entry in _of_package(package):
            if len(entry.text) >= LEAST:
                found.setdefault(entry.text, entry)
    if not found:
        raise ValueError(f"`packages` must have docstrings of {LEAST} characters, got {', '.join(packages) or 'none'}")
    return list(found.values())


def versions(packages: Sequence[str]) -> dict[str, str]:
    """The installed version of each package: other versions say other things.

    Raises
    ------
    ValueError
        If one of them is not installed.
    """
    return {package: _distribution(package).version for package in packages}


def _distribution(package: str) -> metadata.Distribution:
    try:
        return metadata.distribution(package)
    except metadata.PackageNotFoundError:
        raise ValueError(f"`packages` must be installed, {package!r} is not") from None


def _of_package(package: str) -> Iterator[Docstring]:
    for file in sorted(_distribution(package).files or []):
        if file.suffix == ".py" and SKIPPED.isdisjoint(file.parts):
            try:
                source = Path(file.locate()).read_bytes()
            except FileNotFoundError:  # a record may outlive its file
                continue
            yield from from_source(source, file.stem)


def from_source(source: bytes, module: str) -> Iterator[Docstring]:
    """The docstrings of a file, those of its classes and functions behind its own; none if it is no valid Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # escapes of other people's strings
            tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield Docstring(getattr(node, "name", module), text)
