"""Examples of the pages: run, and what they print compared with what the page shows, or renewed.

A block of Python that is followed by a block of text shows what it prints. `python docs/examples.py` runs all pages and
writes what they print now.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import tempfile
from pathlib import Path
from types import ModuleType

DOCS = Path(__file__).parent
EXAMPLE = re.compile(r"^```python\n(.*?)^```$(?:\n\n^```text\n.*?^```$)?", flags=re.MULTILINE | re.DOTALL)


def pages() -> list[Path]:
    """Pages with examples."""
    return [path for path in sorted(DOCS.glob("*.md")) if EXAMPLE.search(path.read_text(encoding="utf-8"))]


def renewed(page: Path, folder: Path) -> str:
    """The page with what its examples print, which run in order as one session, in an empty folder with `data` in it.

    Raises
    ------
    RuntimeError
        If an example that should print does not. Whatever an example raises comes through.
    """
    (folder / "data").symlink_to(DOCS.parent / "data")
    module = ModuleType("page")
    sys.modules["page"] = module  # dataclasses look up the module of their class

    def run(found: re.Match[str]) -> str:
        code, printed = found[1], io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, page.name, "exec"), module.__dict__)
        if "print(" in code and not printed.getvalue():
            raise RuntimeError(f"an example of {page.name} printed nothing:\n{code}")
        lines = [line.rstrip() for line in printed.getvalue().strip("\n").splitlines()]
        shown = "\n\n```text\n" + "\n".join(lines) + "\n```"
        return f"```python\n{code}```" + (shown if "```text" in found[0] else "")

    before = Path.cwd()
    os.chdir(folder)
    try:
        return EXAMPLE.sub(run, page.read_text(encoding="utf-8"))
    finally:
        os.chdir(before)
        del sys.modules["page"]


if __name__ == "__main__":
    for path in pages():
        with tempfile.TemporaryDirectory() as folder:
            path.write_text(renewed(path, Path(folder)), encoding="utf-8")
