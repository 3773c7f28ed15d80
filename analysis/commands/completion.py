"""Names that the shell completes, without waiting for PyTorch: the registries are read once and remembered.

What is remembered belongs to the sources of the package as they were: an edited registry is read again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import typer

KINDS = ("pruners", "solvers", "objectives", "tasks", "reducers", "published models", "instances")


def completing(kind: str) -> Callable[[str], list[str]]:
    """A completion function for one of `KINDS`; in a comma-separated list it completes the last name."""

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        return [before + comma + name for name in _names()[kind] if name.startswith(last)]

    return complete


def problems(incomplete: str) -> list[str]:
    """Names of the embedded problems, and problem files."""
    files = [str(path) for path in Path(incomplete).parent.glob("*.npz") if str(path).startswith(incomplete)]
    return completing("instances")(incomplete) + sorted(files)


def model_folders(incomplete: str) -> list[str]:
    """Folders that the text begins; those of checkpoints first."""
    folder = Path(incomplete) if incomplete.endswith("/") else Path(incomplete).parent
    found = [path for path in folder.glob("*/") if str(path).startswith(incomplete.removeprefix("./"))]
    return [str(path) for path in sorted(found, key=lambda path: (not (path / "config.json").is_file(), path))]


def _names() -> dict[str, list[str]]:
    memory, sources = Path(typer.get_app_dir("prunescope")) / "names.json", _sources()
    try:
        known = json.loads(memory.read_text(encoding="utf-8"))
        if known["sources"] == sources:
            return {kind: list(known[kind]) for kind in KINDS}
    except (OSError, ValueError, KeyError, TypeError):
        pass  # nothing remembered, or nothing of use
    names = _read()
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        memory.write_text(json.dumps({"sources": sources, **names}), encoding="utf-8")
    except OSError:
        pass  # completion is slower then, and works
    return names


def _sources() -> list[int]:
    """Number and newest change of the package's source files."""
    from importlib.util import find_spec

    folders = [Path(str(find_spec(name).origin)).parent for name in ("analysis", "solvers")]  # type: ignore[union-attr]
    changed = [path.stat().st_mtime_ns for folder in folders for path in folder.rglob("*.py")]
    return [len(changed), max(changed)]


def _read() -> dict[str, list[str]]:
    from solvers import OBJECTIVES, RULES, SOLVERS, PublishedRule, instances

    from ..capture import REDUCERS
    from ..cost.models import SHIPPED
    from ..evaluation import TASKS
    from ..pruning import PRUNERS

    classes = [kind.__name__ for kind in SOLVERS if kind is not PublishedRule]
    lists = (
        [entry.name for entry in PRUNERS],
        [*classes, *(rule.name for rule in RULES)],
        [kind.__name__ for kind in OBJECTIVES],
        [kind.name for kind in TASKS],
        list(REDUCERS),
        list(SHIPPED),
        list(instances.names()),
    )
    return dict(zip(KINDS, lists, strict=True))
