"""Where a number comes from: versions, machine, commit, source code."""

from __future__ import annotations

import functools
import hashlib
import inspect
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("prunescope", "numpy", "numba", "scipy", "ortools", "torch", "transformers")
UNKNOWN = "unknown"


@functools.cache
def _provenance() -> tuple[tuple[str, str], ...]:
    found = {name: _version(name) for name in PACKAGES}
    found |= {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu(),
        "commit": _commit(),
    }
    return tuple(found.items())


def provenance() -> dict[str, str]:
    """Versions of this package and of those its numbers depend on, platform, processor and git commit.

    Versions are read from the installed metadata without importing anything; what cannot be found is "unknown".
    """
    return dict(_provenance())


@functools.cache
def code_digest() -> str:
    """First 16 digits of the SHA-256 over this package's Python sources: equal digests mean equal code.

    A version number stays the same while code is worked on, and a commit does not tell two working trees apart. Read
    when the package is imported: files that are edited later are not what runs.
    """
    return sources_digest(Path(__file__).parent)


def sources_digest(folder: Path) -> str:
    """The same over the Python sources in any folder and its subfolders, as they are now."""
    digest = hashlib.sha256()
    for name, path in sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*.py")):
        content = path.read_bytes()
        digest.update(f"{name}|{len(content)}|".encode() + content)
    return digest.hexdigest()[:16]


code_digest()


def own_code_digest(entry: Any) -> str:
    """The same over the source of those classes of `entry` that are not of this package; empty if there are none.

    A class whose source cannot be found, for example one typed into an interpreter, counts by its name.
    """
    package = __name__.partition(".")[0]
    foreign = [
        kind for kind in type(entry).__mro__ if kind.__module__.partition(".")[0] not in (package, "abc", "builtins")
    ]
    sources = [_source(kind) for kind in foreign if kind.__module__ != "typing"]
    return hashlib.sha256("\x1f".join(sources).encode()).hexdigest()[:16] if sources else ""


def _source(kind: type) -> str:
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):
        return f"{kind.__module__}:{kind.__qualname__}"


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return UNKNOWN


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or UNKNOWN
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), UNKNOWN)


def _commit() -> str:
    folder = Path(__file__).parent
    if not (folder.parent / ".git").exists():
        return UNKNOWN  # an installed copy: a repository further up is somebody else's
    try:
        shown = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True, text=True, timeout=5, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return UNKNOWN
    return shown.stdout.strip() or UNKNOWN
