"""Where a number comes from: versions, machine, commit."""

from __future__ import annotations

import functools
import platform
import subprocess
from importlib import metadata
from pathlib import Path

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
