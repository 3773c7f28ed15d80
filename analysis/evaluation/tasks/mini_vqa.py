"""The embedded benchmark: rendered scenes, eight kinds of questions, and the visual tokens that each answer needs."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from solvers.files import data_folder
from solvers.names import nearest

from .local_files import decode_picture
from .parquet_table import readable
from .task import AbstractTask, Question, Sample

SPLITS = ("test", "validation")


def _is_binary(kind: pa.DataType) -> bool:
    result: bool = pa.types.is_binary(kind.value_type if pa.types.is_dictionary(kind) else kind)
    return result


def _is_text(kind: pa.DataType) -> bool:
    result: bool = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return result


def _is_integer_list(kind: pa.DataType) -> bool:
    result: bool = pa.types.is_list(kind) and pa.types.is_integer(kind.value_type)
    return result


_TYPES: dict[str, tuple[Callable[[pa.DataType], bool], str]] = {
    "image_id": (pa.types.is_integer, "integers"),
    "image": (_is_binary, "bytes"),
    "question_id": (pa.types.is_integer, "integers"),
    "question": (_is_text, "texts"),
    "answer": (_is_text, "texts"),
    "task": (_is_text, "texts"),
    "needed": (_is_integer_list, "lists of integers"),
}
COLUMNS = tuple(_TYPES)
KNOBS = ("background", "clutter", "object_size", "objects", "text_length")


@dataclass(frozen=True)
class MiniVqa(AbstractTask):
    """Questions on existence (random, popular, adversarial), attribute, count, space, text and tiny objects.

    Parameters
    ----------
    split
        "test" or "validation".
    images
        Take only this many images, from the start; None takes all.
    path
        A parquet file to read instead of the embedded one: a row per question with the columns image_id, image (PNG
        bytes), question_id, question, answer, task, needed (list of token indices).

    Raises
    ------
    KeyError
        If there is no such split.
    ValueError
        If `images` is out of range, or the file lacks a column, holds nulls, or is no readable parquet. The file is
        read at the first use.
    FileNotFoundError
        If the file is not there.
    """

    split: str = "test"
    images: int | None = None
    path: Path | str | None = None
    name: ClassVar[str] = "mini_vqa"
    needed_grid: ClassVar[tuple[int, int] | None] = (24, 24)

    def __post_init__(self) -> None:
        nearest(self.split, SPLITS, "split")
        if self.images is not None and self.images < 1:
            raise ValueError(f"`images` must be at least 1, got {self.images}")

    @cached_property
    def file(self) -> Path:
        """The parquet file that is read."""
        return Path(self.path) if self.path is not None else data_folder(self.name) / f"{self.split}.parquet"

    @cached_property
    def checksum(self) -> str:
        """Start of the SHA-256 of the file."""
        return hashlib.sha256(self._bytes).hexdigest()[:12]

    @cached_property
    def knobs(self) -> pd.DataFrame:
        """How hard each question is: question_id and the columns `KNOBS` of the file, to slice accuracy with.

        Raises
        ------
        ValueError
            If the file has no such columns; a file of your own need not have them.

        Examples
        --------
        >>> rows.merge(MiniVqa().knobs, on="question_id").groupby(["pruner", "background"])["correct"].mean()
        ... # doctest: +SKIP
        """
        missing = [name for name in KNOBS if name not in self._table.column_names]
        if missing:
            raise ValueError(f"{self.file} does not say how hard its questions are: it lacks {', '.join(missing)}")
        result: pd.DataFrame = self._table.select(["question_id", *KNOBS]).to_pandas()
        return result

    def __len__(self) -> int:
        available = len(self._rows)
        if self.images is not None and self.images > available:
            raise ValueError(f"`images` must be in [1, {available}], the images of {self.file}, got {self.images}")
        return self.images or available

    def __iter__(self) -> Iterator[Sample]:
        wanted = len(self)
        for number, (image_id, rows) in enumerate(self._rows.items()):
            if number == wanted:
                return
            picture = self._table.column("image")[int(rows[0])].as_py()
            questions = self._table.take(rows).select(COLUMNS[2:]).to_pylist()
            yield Sample(
                image_id,
                decode_picture(picture, f"image {image_id} of {self.file}"),
                tuple(Question(**{**row, "needed": np.array(row["needed"], dtype=np.int64)}) for row in questions),
            )

    @cached_property
    def _bytes(self) -> bytes:
        if not self.file.is_file():
            raise FileNotFoundError(f"there is no benchmark file at {self.file}")
        return self.file.read_bytes()

    @cached_property
    def _table(self) -> pa.Table:
        content = io.BytesIO(self._bytes)
        with readable(self.file):
            # the same picture stands in the row of each of its questions: keep it once
            table = pq.read_table(content, read_dictionary=["image"])
        missing = [name for name in COLUMNS if name not in table.column_names]
        if missing:
            raise ValueError(f"{self.file} lacks the column(s) {', '.join(missing)}; it has {table.column_names}")
        if table.num_rows == 0:
            raise ValueError(f"{self.file} holds no question")
        for name, (holds, what) in _TYPES.items():
            column = table.column(name)
            if column.null_count:
                raise ValueError(f"column {name!r} of {self.file} holds nulls")
            if not holds(column.type):
                raise ValueError(f"column {name!r} of {self.file} must hold {what}, got {column.type}")
        ids = table.column("question_id").to_numpy()
        if len(np.unique(ids)) != len(ids):
            raise ValueError(f"column 'question_id' of {self.file} must not repeat")
        return table

    @cached_property
    def _rows(self) -> dict[int, np.ndarray]:
        """Rows of the table by image, images in order of first appearance."""
        ids = self._table.column("image_id").to_numpy()
        images, first, member = np.unique(ids, return_index=True, return_inverse=True)
        return {int(images[i]): np.flatnonzero(member == i) for i in np.argsort(first)}
