"""Sphinx extension: what pages do not say themselves is read off the code and the measured tables.

A page holds a comment on a line of its own, and nothing of this shows where Markdown is displayed without Sphinx:

    <!-- api: analysis.metrics -->              every public name with its docstring, a table of first lines before it
    <!-- measured: gaps -->                     a table of `measured_tables`
    <!-- picture: 02_dispersion figures.dispersion -->      a picture of a notebook, by a part of the code that drew it
    <!-- commands -->                           what `prunescope COMMAND --help` says

A comment of the first kind may go on with groups, a line each, `Title: names`; names that no group has come last, and
those of the group "Elsewhere" have their entry on another page. A name with dots is one that the package does not
export.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import measured_tables
import notebook_pictures
import numpy.typing as npt
from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.errors import PycodeError
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.typing import stringify_annotation

PACKAGES = ("solvers", "analysis")
COMMENT = re.compile(r"^<!-- (api|measured|picture|commands)(?:: (\S+))?\s+(.*?)-->$", re.MULTILINE | re.DOTALL)


def public_names(module: ModuleType) -> list[str]:
    """Names that a module exports: those of `__all__`, else what it defines or imports as `name as name`."""
    listed = getattr(module, "__all__", None) or [name for name in _exported(module) if not name.startswith("_")]
    return [name for name in listed if _is_ours(module, name)]


def _exported(module: ModuleType) -> Iterator[str]:
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.ImportFrom):
            yield from (alias.name for alias in node.names if alias.asname == alias.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (target.id for target in targets if isinstance(target, ast.Name))


def _is_ours(module: ModuleType, name: str) -> bool:
    entry = getattr(module, name)
    if inspect.ismodule(entry):
        return False
    if _is_code(entry):
        return entry.__module__.split(".")[0] in PACKAGES
    return bool(comment_below(module, name))


def comment_below(module: ModuleType, name: str) -> str:
    """The string below the assignment of a constant, wherever in its package that is."""
    value = getattr(module, name)
    root = module.__name__.split(".")[0]
    for home in [module, *(entry for key, entry in sorted(sys.modules.items()) if key.startswith(f"{root}."))]:
        if getattr(home, name, None) is value:
            try:
                attributes = ModuleAnalyzer.for_module(home.__name__).find_attr_docs()
            except PycodeError:
                continue
            if ("", name) in attributes:
                return "\n".join(attributes["", name]).strip()
    return ""


def groups(module: ModuleType, wanted: str) -> Iterator[tuple[str, list[str]]]:
    """Title and names of each group, those of no group last.

    Raises
    ------
    ValueError
        If a group has a name that the package does not export, or two have the same.
    """
    left = public_names(module)
    for line in wanted.strip().splitlines():
        title, _, names = line.partition(":")
        for name in names.split():
            if "." in name:
                continue
            if name not in left:
                raise ValueError(f"{module.__name__} exports no {name!r}, or it stands in two groups")
            left.remove(name)
        if title.strip() != "Elsewhere":
            yield title.strip(), names.split()
    if left:
        yield ("Further" if wanted.strip() else ""), left


def api(name: str, wanted: str) -> str:
    """Reference of one package, as MyST."""
    module = importlib.import_module(name)
    return "\n\n".join(_group(module, title, names) for title, names in groups(module, wanted))


def _group(module: ModuleType, title: str, names: list[str]) -> str:
    constants = [name for name in names if not _is_code(_entry(module, name))]
    others = [name for name in names if name not in constants]
    lines = [f".. currentmodule:: {module.__name__}", ""]
    if len(others) > 1:
        lines += [
            ".. autosummary::",
            "   :nosignatures:",
            "",
            *(f"   {name.removeprefix(f'{module.__name__}.')}" for name in others),
            "",
        ]
    for name in others:
        kind = "autoclass" if inspect.isclass(_entry(module, name)) else "autofunction"
        lines += [f".. {kind}:: {name}", *(["   :members:"] if kind == "autoclass" else []), ""]
    for name in constants:
        text = comment_below(module, name).replace("\n", "\n   ")
        lines += [f".. py:data:: {name}", "", f"   {text}", ""]
    return (f"## {title}\n\n" if title else "") + "```{eval-rst}\n" + "\n".join(lines) + "```"


def _entry(module: ModuleType, name: str) -> Any:
    home, _, last = name.rpartition(".")
    return getattr(importlib.import_module(home) if home else module, last)


def _is_code(entry: object) -> bool:
    return inspect.isclass(entry) or inspect.isroutine(entry)


def commands() -> str:
    """Help of every command, as MyST."""
    import typer

    from analysis.cli import app

    root: Any = typer.main.get_command(app)
    parts = []
    for name, command in sorted(root.commands.items()):
        command.rich_markup_mode = None  # plain text instead of boxes as wide as some terminal
        context = command.make_context(f"prunescope {name}", [], resilient_parsing=True, max_content_width=100)
        parts.append(f"## prunescope {name}\n\n```text\n{command.get_help(context).strip()}\n```")
    return "\n\n".join(parts)


def filled(text: str) -> str:
    """The page with its comments replaced."""

    def content(found: re.Match[str]) -> str:
        kind, name, body = found.groups()
        if kind == "api":
            return api(name, body)
        if kind == "picture":
            return notebook_pictures.picture(name, body.strip())
        return commands() if kind == "commands" else measured_tables.table(name)

    return COMMENT.sub(content, text)


def _fill(app: Sphinx, page: str, source: list[str]) -> None:
    if not page.startswith("notebooks/"):
        source[0] = filled(source[0])


def _outdated(app: Sphinx, env: BuildEnvironment, added: set[str], changed: set[str], removed: set[str]) -> list[str]:
    """Pages that hold comments: code and tables may have changed although the page did not."""
    pages = [page for page in env.found_docs if not page.startswith("notebooks/")]
    return [page for page in pages if COMMENT.search(Path(env.doc2path(page)).read_text(encoding="utf-8"))]


def _as_code(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement
) -> nodes.TextElement | None:
    """Backticks around what is no entry of this site stay code: parameters, expressions, names of other packages."""
    return content if node.get("reftype") == "obj" else None


def _readable(
    app: Sphinx, what: str, name: str, entry: object, options: object, signature: str | None, returns: str | None
) -> tuple[str, str | None] | None:
    """Signatures as they are written: aliases by their names, and defaults made anew as `...`."""
    spelled_out = stringify_annotation(npt.ArrayLike, "smart")

    def plain(text: str) -> str:
        text = text.replace(spelled_out, "ArrayLike")
        return re.sub(r"~?\bTypeAliasForwardRef\('(\w+)'\)", r"\1", text).replace("<factory>", "...")

    return None if signature is None else (plain(signature), None if returns is None else plain(returns))


LITERAL = re.compile(r"(``.+?``|`[^`]+`)")
MARKUP = re.compile(r"(?<!\\)\||(?<![\\*\w])\*(?=\w)(?![^*]*\w\*(?!\w))")


def _as_text(app: Sphinx, what: str, name: str, entry: object, options: object, lines: list[str]) -> None:
    """Bars and lone asterisks of docstrings are mathematics, not markup."""
    for at, line in enumerate(lines):
        if line.lstrip().startswith((">>>", "...")):
            continue
        pieces = LITERAL.split(line)
        pieces[::2] = [MARKUP.sub(r"\\\g<0>", text) for text in pieces[::2]]
        lines[at] = "".join(pieces)


def setup(app: Sphinx) -> dict[str, Callable[..., Any] | bool | str]:
    app.connect("env-get-outdated", _outdated)
    app.connect("source-read", _fill)
    app.connect("autodoc-process-docstring", _as_text)
    app.connect("autodoc-process-signature", _readable)
    app.connect("missing-reference", _as_code)
    return {"version": "1", "parallel_read_safe": True}
