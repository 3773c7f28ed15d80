"""Questions of your own, from one file and without any code."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import pyarrow.parquet as pq

from ..scoring import exact_match, normalise
from .benchmark import AbstractBenchmark
from .local_files import checked_name, entry_of, existing, id_of, read_records, text_of, texts_of
from .parquet_table import picture_content, readable
from .soft_accuracy import ANSWERS, evalai, textvqa_accuracy
from .task import Question

EXACT, SOFT = "exact", "soft"


@dataclass(frozen=True)
class Manifest(AbstractBenchmark):
    """Questions in a file of JSON lines, or in a parquet table of the same columns.

    Parameters
    ----------
    path
        A ``.jsonl`` file with an object per line, or a ``.parquet`` file: id; image, the path of a picture below
        `pictures` or, in parquet, its bytes (also as the structure with "bytes" that Hugging Face data sets have);
        question, put to the model as it is; answers, a list of texts; and, if wanted, category, the sub-task.
    scorer
        "exact": right if the reply equals one of the answers after `scoring.normalise`. "soft": accuracy in [0, 1]
        against exactly ten people's answers, as for TextVQA.
    pictures
        Folder of the pictures; None is that of the file.

    Examples
    --------
    >>> task = Manifest("my_questions.jsonl")  # doctest: +SKIP
    >>> analysis.evaluate(vlm, task, "vispruner", keeps=(64,))  # doctest: +SKIP
    """

    path: Path | str
    scorer: str = EXACT
    pictures: Path | str | None = None
    name: ClassVar[str] = "manifest"
    scorers: ClassVar[tuple[str, ...]] = (EXACT, SOFT)

    @property
    def split_name(self) -> str:
        """Name of the file."""
        return Path(self.path).stem

    @property
    def prompt_name(self) -> str:
        """The file has the whole prompt."""
        return "as given"

    @property
    def soft(self) -> bool:
        """Whether a score may lie between 0 and 1."""
        return self.scorer == SOFT

    @property
    def picture_folder(self) -> Path:
        """Where the pictures are looked up."""
        return Path(self.pictures) if self.pictures is not None else Path(self.path).parent

    @property
    def _place(self) -> str:
        return str(self.path)

    @cached_property
    def _records(self) -> list[tuple[str, dict[str, Any]]]:
        path = existing(Path(self.path), "manifest")
        if path.suffix != ".parquet":
            return list(read_records(path))
        with readable(path):
            rows = pq.read_table(path).to_pylist()
        return [(f"row {number} of {path}", row) for number, row in enumerate(rows, 1)]

    @cached_property
    def _embedded(self) -> dict[str, bytes]:
        """Pictures whose bytes stand in the table, by the name made for them."""
        contents = (picture_content(record.get("image")) for _, record in self._records)
        return {_name(content): content for content in contents if content is not None}

    def _questions(self) -> Iterator[tuple[str, Question]]:
        for where, record in self._records:
            answers = texts_of(record, "answers", where, ANSWERS if self.soft else None)
            if not all(answer.strip() for answer in answers):
                raise ValueError(f"{where} must have no empty text under 'answers'")
            content = picture_content(entry_of(record, "image", where))
            picture = checked_name(text_of(record, "image", where), where) if content is None else _name(content)
            category = self.split_name if record.get("category") is None else text_of(record, "category", where)
            identifier, words = id_of(record, "id", where), text_of(record, "question", where)
            yield picture, Question(identifier, words, answers[0], category, answers=answers)

    def _picture(self, name: str) -> bytes:
        return self._embedded[name] if name in self._embedded else (self.picture_folder / name).read_bytes()

    def _check_pictures(self, names: list[str]) -> None:
        on_disk = [name for name in names if name not in self._embedded]
        for name in on_disk:
            existing(self.picture_folder / name, f"picture {name!r} of {self.path}")

    def _mark(self, question: Question, prediction: str) -> tuple[str, float]:
        if self.soft:
            return evalai(prediction), textvqa_accuracy(prediction, question.answers)
        return normalise(prediction), float(any(exact_match(prediction, answer) for answer in question.answers))


def _name(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]
