"""A folder of small JSON results, each written in one atomic step, so that a killed run loses nothing it finished."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from pathlib import Path
from typing import Any

from .files import replacing


class Parts:
    """Results by key. A key is any JSON-able description of what was computed; equal keys are the same result.

    Parameters
    ----------
    folder
        Where the parts lie; created if absent.

    Raises
    ------
    NotADirectoryError
        If `folder` is a file.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        if self.folder.exists() and not self.folder.is_dir():
            raise NotADirectoryError(f"`store` must be a folder, got the file {self.folder}")
        self.folder.mkdir(parents=True, exist_ok=True)

    def path(self, key: Any) -> Path:
        """File of the result with this key."""
        return self.folder / f"{_digest(key)[:32]}.json"

    def read(self, key: Any) -> dict[str, Any] | None:
        """The stored result, or None if there is none; a damaged part is reported and counts as absent.

        Every change of a value shows: a part holds a digest of its result.
        """
        path = self.path(key)
        try:
            part = json.loads(path.read_text(encoding="utf-8"))
            if part["key"] != json.loads(json.dumps(key)):
                raise ValueError("it belongs to another key")
            if part["sha256"] != _digest(part["result"]):
                raise ValueError("its result is not the one that was stored")
            result: dict[str, Any] = part["result"]
            return result
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            warnings.warn(f"{path} is damaged and will be computed again: {error}", stacklevel=2)
            return None

    def write(self, key: Any, result: dict[str, Any]) -> None:
        """Store `result`; readers see all of it or nothing."""
        with replacing(self.path(key)) as unfinished:
            part = {"key": key, "sha256": _digest(result), "result": result}
            unfinished.write_text(json.dumps(part), encoding="utf-8")


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
