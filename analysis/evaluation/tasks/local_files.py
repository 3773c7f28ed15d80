"""Reading a user's copy of a benchmark: text, JSON, tables and pictures, each refused with its place when damaged."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from PIL import Image, UnidentifiedImageError


def existing(path: Path, what: str) -> Path:
    """`path`, if it is a file.

    Raises
    ------
    FileNotFoundError
        Otherwise; `what` says what it should have been.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no {what} at {path}")
    return path


def read_text(path: Path) -> str:
    """A UTF-8 file; a byte order mark, which some editors write, is no part of the text.

    Raises
    ------
    ValueError
        If it is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} must be UTF-8 text: {error}") from error


def read_json(path: Path) -> Any:
    """The content of a JSON file, in which no object may name a key twice."""
    return _parsed(read_text(path), str(path))


def read_records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Objects of a file of JSON lines, or of one JSON array, each with the place where it stands."""
    text = read_text(path)
    if text.lstrip().startswith("["):
        entries = ((f"entry {number} of {path}", entry) for number, entry in enumerate(_parsed(text, str(path)), 1))
    else:
        # a JSON text may hold the rarer line separators that `splitlines` cuts at
        lines = ((f"line {number} of {path}", line) for number, line in enumerate(text.split("\n"), 1) if line.strip())
        entries = ((where, _parsed(line, where)) for where, line in lines)
    for where, entry in entries:
        yield where, checked_object(entry, where)


def checked_object(entry: Any, where: str) -> dict[str, Any]:
    """`entry`, if it is a JSON object."""
    if not isinstance(entry, dict):
        raise ValueError(f"{where} must be an object, got {str(entry)[:60]!r}")
    return entry


def entry_of(record: dict[str, Any], key: str, where: str) -> Any:
    """What `record` holds under `key`, which must be there."""
    if key not in record:
        raise ValueError(f"{where} lacks {key!r}; it has {', '.join(map(repr, record)) or 'nothing'}")
    return record[key]


def text_of(record: dict[str, Any], key: str, where: str) -> str:
    """The text under `key`, which must not be blank."""
    value = entry_of(record, key, where)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{where} must have a text that is not empty under {key!r}, got {value!r}")
    return value


def id_of(record: dict[str, Any], key: str, where: str) -> str:
    """The identifier under `key`, a text or an integer, as a text."""
    value = entry_of(record, key, where)
    if isinstance(value, bool) or not isinstance(value, int | str) or not str(value).strip():
        raise ValueError(f"{where} must have an integer or a text under {key!r}, got {value!r}")
    return str(value)


def texts_of(record: dict[str, Any], key: str, where: str, length: int | None = None) -> tuple[str, ...]:
    """The list of texts under `key`, at least one and, if given, exactly `length`."""
    values = entry_of(record, key, where)
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError(f"{where} must have a list of texts under {key!r}, got {str(values)[:60]!r}")
    if not values or (length is not None and len(values) != length):
        rule = "at least one" if length is None else f"exactly {length}"
        raise ValueError(f"{where} must have {rule} under {key!r}, got {len(values)}")
    return tuple(values)


def checked_name(name: str, where: str) -> str:
    """`name`, if it is a relative path that stays below the folder it is looked up in.

    Links are followed: where they lead is the business of who made them.
    """
    parts = {*PurePosixPath(name).parts, *PureWindowsPath(name).parts}
    if PurePosixPath(name).is_absolute() or PureWindowsPath(name).anchor or ".." in parts or "\0" in name:
        raise ValueError(f"{where} names the picture {name!r}: it must be a path below the folder of the pictures")
    return name


def decode_picture(data: bytes, what: str) -> Image.Image:
    """The picture in `data`, in RGB."""
    try:
        return Image.open(io.BytesIO(data)).convert("RGB")
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{what} is not a readable picture: {error}") from error


def _parsed(text: str, where: str) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"{where} names {twice!r} twice")
        return found

    try:
        return json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where} is not JSON: {error}") from error
