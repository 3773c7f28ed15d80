"""Benchmarks as parquet shards with the pictures inside, read a row group at a time."""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from .local_files import existing

IMAGE = "image"
_PART = re.compile(r"-(\d{5})-of-(\d{5})")
Shards = tuple[Path, ...]


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """What reads a parquet file inside this context fails with a text that names it.

    Raises
    ------
    ValueError
        If the file is damaged, or no parquet file.
    """
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} is not a readable parquet file: {error}") from error


def picture_content(image: object) -> bytes | None:
    """Bytes of a picture in a table: as they are, or under "bytes" as in data sets of Hugging Face; None without."""
    if isinstance(image, dict):
        image = image.get("bytes")
    return image if isinstance(image, bytes) else None


def shards(place: Path | str, stem: str) -> Shards:
    """The parquet files of a split, in order.

    `place` itself if its name ends in ``.parquet``; else the files ``<stem>.parquet`` or ``<stem>-*.parquet`` in the
    folder, or in ``data`` below it. Nothing if there are none.

    Raises
    ------
    ValueError
        If files are numbered ``-00000-of-00003`` and one of them is missing or there twice.
    """
    path = Path(place)
    if path.suffix == ".parquet":
        return (path,)
    for folder in (path, path / "data"):
        found = sorted(file for file in folder.glob(f"{stem}*.parquet") if file.stem.split("-")[0] == stem)
        if found:
            _check_numbers(folder, found)
            return tuple(found)
    return ()


def _check_numbers(folder: Path, files: Sequence[Path]) -> None:
    numbered = [match for file in files if (match := _PART.search(file.stem))]
    if not numbered:
        return
    there = [int(match[1]) for match in numbered]
    expected = int(numbered[0][2])
    if len(numbered) != len(files) or there != list(range(expected)):
        names = ", ".join(file.name for file in files)
        raise ValueError(f"{folder} must hold each of {expected} shards once, got {names}")


class ParquetTable:
    """Rows of one table in several files, counted from 0 over all of them.

    Rows are read without their pictures; a picture is read with the row group it stands in, of which only the latest
    is kept, so that a pass over the pictures in the order of their rows reads each file once.

    Parameters
    ----------
    files
        The shards in order.
    columns
        Columns that every shard must have.
    optional
        Columns that are read where a shard has them.

    Raises
    ------
    FileNotFoundError
        If a file is not there.
    ValueError
        If a file is damaged, lacks a column, or has no bytes in the column `IMAGE`, if it needs that one.
    """

    def __init__(self, files: Shards, columns: Sequence[str], optional: Sequence[str] = ()) -> None:
        self.files, self._columns = files, (*columns, *optional)
        self._starts: list[int] = []
        self._groups: list[tuple[Path, int]] = []
        self._rows = 0
        for file in files:
            with readable(existing(file, "parquet file")), pq.ParquetFile(file) as opened:
                _check_columns(file, opened.schema_arrow, columns)
                for number in range(opened.num_row_groups):
                    self._starts.append(self._rows)
                    self._groups.append((file, number))
                    self._rows += opened.metadata.row_group(number).num_rows
        self._latest: tuple[int, pa.ChunkedArray] | None = None

    def __len__(self) -> int:
        return self._rows

    def rows(self) -> Iterator[tuple[int, str, dict[str, Any]]]:
        """Number, place (for messages) and record of each row, without its picture."""
        for start, (file, number) in zip(self._starts, self._groups, strict=True):
            with readable(file), pq.ParquetFile(file) as opened:
                there = [name for name in self._columns if name != IMAGE and name in opened.schema_arrow.names]
                records = opened.read_row_group(number, columns=there).to_pylist()
            for row, record in enumerate(records, start):
                yield row, f"row {row} of {file}", record

    def picture(self, row: int) -> bytes:
        """Content of the picture in a row.

        Raises
        ------
        ValueError
            If there is none.
        """
        content = self._content(row)
        if content is None:
            raise ValueError(f"row {row} of {self._file(row)} holds no picture")
        return content

    @cached_property
    def digests(self) -> list[str | None]:
        """Start of the SHA-256 of each row's picture, None where a row has none."""
        contents = (self._content(row) for row in range(self._rows))
        return [None if content is None else hashlib.sha256(content).hexdigest()[:16] for content in contents]

    def _file(self, row: int) -> Path:
        return self._groups[bisect_right(self._starts, row) - 1][0]

    def _content(self, row: int) -> bytes | None:
        group = bisect_right(self._starts, row) - 1
        if self._latest is None or self._latest[0] != group:
            file, number = self._groups[group]
            with readable(file), pq.ParquetFile(file) as opened:
                self._latest = group, opened.read_row_group(number, columns=[IMAGE]).column(IMAGE)
        return picture_content(self._latest[1][row - self._starts[group]].as_py())


def _check_columns(file: Path, schema: pa.Schema, columns: Sequence[str]) -> None:
    missing = [name for name in columns if name not in schema.names]
    if missing:
        raise ValueError(f"{file} lacks the column(s) {', '.join(missing)}; it has {schema.names}")
    if IMAGE not in columns:
        return
    kind = schema.field(IMAGE).type
    if pa.types.is_struct(kind):
        kind = kind.field("bytes").type if kind.get_field_index("bytes") >= 0 else kind
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        raise ValueError(f"column {IMAGE!r} of {file} must hold bytes, or structures with 'bytes', got {kind}")
