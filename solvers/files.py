"""Where shipped files lie, and files that appear whole or not at all."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def data_folder(name: str) -> Path:
    """The part `name` of the data folder; in an installed wheel that lies beside the packages under a name of its own.

    Where there is none, the path that the repository would have.
    """
    root = Path(__file__).resolve().parents[1]
    folders = [root / data / name for data in ("data", "prunescope_data")]
    return next((folder for folder in folders if folder.is_dir()), folders[0])


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A path to write to that becomes `path` when the block ends, in one step; an exception leaves the old file.

    Its folder is created if missing. A name of its own keeps two writers apart, on machines that share a disk too, and
    its leading dot keeps readers of the folder off it.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        yield unfinished
        os.replace(unfinished, target)
    finally:
        unfinished.unlink(missing_ok=True)
