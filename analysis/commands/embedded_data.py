"""The embedded data, and what its cards say it must be."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from .model_option import embedded_folder

STATED = re.compile(r"`([\w.-]+\.\w+)`[^`\n]*?`?\b([0-9a-f]{64})\b")
"""A file name, and on the same line the SHA-256 of its content."""
SECTION = re.compile(r"^## (\w+)$", flags=re.MULTILINE)


def checksums() -> dict[Path, str]:
    """SHA-256 by file, from every card of the data folder; a section named after a folder is about its files."""
    data = embedded_folder().parent
    found = {}
    for card in sorted(data.rglob("README.md")):
        text = card.read_text(encoding="utf-8")
        for match in STATED.finditer(text):
            section = next((name for name in reversed(SECTION.findall(text[: match.start()]))), "")
            home = card.parent / section if section and (card.parent / section).is_dir() else card.parent
            found[home / match[1]] = match[2]
    return found


def damage(path: Path, digest: str) -> str:
    """What is wrong with a file whose SHA-256 must be `digest`, or nothing."""
    try:
        content = path.read_bytes()
    except OSError as error:
        return f"{path.parent.name}/{path.name} cannot be read ({error.strerror})"
    same = hashlib.sha256(content).hexdigest() == digest
    return "" if same else f"{path.parent.name}/{path.name} is not the file that its card describes"


def measured_hash() -> str:
    """Configuration hash of the embedded model whose accuracy is in the data folder.

    Raises
    ------
    ValueError
        If the table is damaged.
    OSError
        If it is not there.
    """
    import pandas as pd

    file = embedded_folder().parent / "measured" / "accuracy.csv"
    return str(pd.read_csv(file, usecols=["config_hash"], nrows=1)["config_hash"].iloc[0])
