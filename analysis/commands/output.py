"""Where a command writes: a folder that belongs to one kind of run, so that none overwrites another's results."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

MARK = "prunescope.json"


def output_folder(out: Path, command: str, about: Mapping[str, str] | None = None) -> Path:
    """`out`, made if missing, and marked as that of `command`.

    Parameters
    ----------
    out
        Where results go.
    command
        Name of the command.
    about
        What the results are of, by name; another run of the same command must agree.

    Raises
    ------
    ValueError
        If the folder holds other results, or files of somebody else.
    OSError
        If it cannot be made or written to, or is a file.
    """
    from solvers.files import replacing

    mark, wanted = out / MARK, {"command": command, **(about or {})}
    if out.exists() and not out.is_dir():
        raise NotADirectoryError(f"`--out` must be a folder, got the file {out}")
    if mark.is_file():
        _check(mark, wanted)
    elif out.is_dir() and any(not entry.name.startswith(".") for entry in out.iterdir()):
        raise ValueError(f"`--out` must be empty or hold results of `prunescope {command}`, got {out}: choose another")
    try:
        with replacing(mark) as unfinished:
            unfinished.write_text(json.dumps(wanted, indent=1), encoding="utf-8")
    except OSError as error:
        raise OSError(f"cannot write to {out}: {error.strerror or error}") from error
    return out


def _check(mark: Path, wanted: Mapping[str, str]) -> None:
    try:
        found = dict(json.loads(mark.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{mark} is damaged ({error}); choose another folder") from error
    for key, value in wanted.items():
        if found.get(key) != value:
            raise ValueError(
                f"{mark.parent} holds results of {key} {found.get(key)!r}, this run has {value!r}: "
                "give it another folder with --out"
            )


def write_table(table: pd.DataFrame, path: Path) -> Path:
    """Write `table` as CSV or Parquet, by the suffix of `path`, in one step."""
    from solvers.files import replacing

    with replacing(path) as unfinished:
        if path.suffix == ".parquet":
            table.to_parquet(unfinished, index=False)
        else:
            table.to_csv(unfinished, index=False, float_format="%.6g")
    return path
