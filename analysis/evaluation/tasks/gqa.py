"""GQA: compositional questions about real pictures, answered in a word."""

from __future__ import annotations

import string
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from .benchmark import LLAVA, SHORT_ANSWER, AbstractFolderBenchmark
from .local_files import checked_name, checked_object, entry_of, existing, id_of, read_json, text_of
from .parquet_table import IMAGE, ParquetTable, shards
from .task import Question

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def gqa_llava(reply: str) -> str:
    """The reply without full stops at its end, in lower case; it is right if that is the answer, letter for letter.

    scripts/convert_gqa_for_eval.py, haotian-liu/LLaVA@c121f043, before the official comparison of texts.

    Examples
    --------
    >>> gqa_llava("Yes."), gqa_llava("t-shirt!")
    ('yes', 't-shirt!')
    """
    return reply.rstrip(".").lower()


def gqa_lmms(text: str) -> str:
    """The text in lower case without any punctuation; reply and answer are both compared like this (lmms-eval 0.7.3).

    Examples
    --------
    >>> gqa_lmms("Yes."), gqa_lmms("t-shirt!")
    ('yes', 'tshirt')
    """
    return text.lower().translate(_NO_PUNCTUATION)


@dataclass(frozen=True)
class Gqa(AbstractFolderBenchmark):
    """Open and yes-or-no questions from scene graphs (Hudson and Manning, 2019, arXiv:1902.09506).

    Parameters
    ----------
    folder
        Where ``<split>_questions.json`` lies: an object from question id to question, answer, imageId, isBalanced,
        types. Questions that are not balanced are left out, as in the official accuracy. Or the parquet edition: the
        folders ``<split>_instructions``, with id in place of the key, and ``<split>_images``, with id and image.
    split
        For example "testdev_balanced", which papers report, or "val_balanced".
    scorer
        "llava": exact text after light cleaning of the reply. "lmms-eval": case and punctuation do not matter.
    pictures
        Folder of ``<imageId>.jpg``; None is ``images`` below `folder`. A parquet edition holds its own.

    Notes
    -----
    The sub-tasks are "open", where types.structural is "query", and "binary", the others. Validity, plausibility and
    grounding of the official script need files that testdev does not have: they are not computed.
    """

    folder: Path | str
    split: str = "testdev_balanced"
    scorer: str = LLAVA
    pictures: Path | str | None = None
    name: ClassVar[str] = "gqa"
    columns: ClassVar[tuple[str, ...]] = ("id", "imageId", "question", "answer", "types")
    optional_columns: ClassVar[tuple[str, ...]] = ("isBalanced",)

    @property
    def _home(self) -> str:
        return "images"

    @cached_property
    def table(self) -> ParquetTable | None:
        """The questions of the parquet edition, or None."""
        files = self._shards("instructions")
        if files and self.pictures is not None:
            raise ValueError(f"`pictures` must be None for parquet, which holds its pictures, got {self.pictures!r}")
        return ParquetTable(files, self.columns, self.optional_columns) if files else None

    @cached_property
    def _picture_table(self) -> ParquetTable | None:
        if self.table is None:
            return None
        files = self._shards("images")
        if not files:
            raise FileNotFoundError(f"there are no parquet files in {Path(self.folder) / f'{self.split}_images'}")
        return ParquetTable(files, ("id", IMAGE))

    @cached_property
    def _picture_rows(self) -> dict[str, int]:
        found: dict[str, int] = {}
        if self._picture_table is not None:
            for row, where, record in self._picture_table.rows():
                name = f"{id_of(record, 'id', where)}.jpg"
                if name in found:
                    raise ValueError(f"{where} has the picture {name} again")
                found[name] = row
        return found

    def _shards(self, kind: str) -> tuple[Path, ...]:
        return shards(Path(self.folder) / f"{self.split}_{kind}", self.split.split("_")[0])

    def _from_files(self) -> Iterator[tuple[str, Question]]:
        file = existing(Path(self.folder) / f"{self.split}_questions.json", f"GQA file of the split {self.split!r}")
        for identifier, entry in checked_object(read_json(file), str(file)).items():
            where = f"question {identifier} of {file}"
            yield from self._question(identifier, checked_object(entry, where), where)

    def _from_rows(self, table: ParquetTable) -> Iterator[tuple[int, str, Question]]:
        for row, where, record in table.rows():
            for picture, question in self._question(id_of(record, "id", where), record, where):
                yield row, picture, question

    @staticmethod
    def _question(identifier: str, record: dict[str, Any], where: str) -> Iterator[tuple[str, Question]]:
        """The question with the name of its picture, if it is balanced."""
        if not record.get("isBalanced", True):
            return
        types = checked_object(entry_of(record, "types", where), f"'types' of {where}")
        kind = "open" if text_of(types, "structural", where) == "query" else "binary"
        words, answer = text_of(record, "question", where), text_of(record, "answer", where)
        picture = checked_name(f"{id_of(record, 'imageId', where)}.jpg", where)
        yield picture, Question(identifier, f"{words}\n{SHORT_ANSWER}", answer, kind)

    def _mark(self, question: Question, prediction: str) -> tuple[str, float]:
        if self.scorer == LLAVA:
            parsed = gqa_llava(prediction)
            return parsed, float(parsed == question.answer)
        parsed = gqa_lmms(prediction)
        return parsed, float(parsed == gqa_lmms(question.answer))
