"""POPE: is there such a thing in the picture? Polling for objects that are not there, in three difficulties."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import pandas as pd

from solvers.names import nearest

from .benchmark import ALL, LLAVA, SHORT_ANSWER, AbstractFolderBenchmark
from .local_files import checked_name, id_of, read_records, text_of
from .parquet_table import ParquetTable
from .task import Question
from .yes_no import pope_llava, pope_lmms, rates

CATEGORIES = ("random", "popular", "adversarial")
MEAN = "mean"


@dataclass(frozen=True)
class Pope(AbstractFolderBenchmark):
    """Questions "Is there a ... in the image?" with yes or no (Li et al., 2023, arXiv:2305.10355).

    Parameters
    ----------
    folder
        Where ``coco_pope_random.json``, ``coco_pope_popular.json`` and ``coco_pope_adversarial.json`` lie: JSON lines
        of question_id, image, text, label. Other sources (A-OKVQA, GQA), in JSON arrays, are read alike under the
        names ``*pope*_random.json``. The random file has 2910 questions in the version that LLaVA links and 3000 in
        later ones: `summary` says how many were scored. Or the parquet edition: ``test-*.parquet`` with question_id,
        question, answer, category, image_source, image.
    split
        "random", "popular", "adversarial" or "all" three.
    scorer
        "llava": everything that does not deny is a yes; figures per file, and their mean, which papers report as F1.
        "lmms-eval": only a bare "yes" or "no" can be right, a full stop is wrong; figures over all files together;
        its yes_ratio is that of the labels, not of the replies.
    pictures
        Folder of the pictures; None is ``val2014`` below `folder`. A parquet edition holds its own.

    Notes
    -----
    Both prompts are the question and `SHORT_ANSWER` (docs/Evaluation.md, haotian-liu/LLaVA@c121f043; lmms-eval 0.7.3).
    Each label stands in the line of its question; the published script matches answers to labels by their order
    instead. A model that always says yes has accuracy 50 and F1 66.7.
    """

    folder: Path | str
    split: str = ALL
    scorer: str = LLAVA
    pictures: Path | str | None = None
    name: ClassVar[str] = "pope"
    columns: ClassVar[tuple[str, ...]] = ("question_id", "question", "answer", "category", "image_source")

    def __post_init__(self) -> None:
        super().__post_init__()
        nearest(self.split, (ALL, *CATEGORIES), "split")

    @property
    def _home(self) -> str:
        return "val2014"

    @property
    def _stem(self) -> str:
        return "test"

    def _file(self, category: str) -> Path:
        found = sorted(Path(self.folder).glob(f"*pope*_{category}.json"))
        if not found:
            raise FileNotFoundError(f"there is no POPE file *pope*_{category}.json in {self.folder}")
        if len(found) > 1:
            names = ", ".join(path.name for path in found)
            raise ValueError(f"{self.folder} must hold one POPE file for {category!r}, got {names}")
        return found[0]

    def _from_files(self) -> Iterator[tuple[str, Question]]:
        for category in CATEGORIES if self.split == ALL else (self.split,):
            for where, record in read_records(self._file(category)):
                question = self._question(record, where, category, words="text", label="label")
                yield checked_name(text_of(record, "image", where), where), question

    def _from_rows(self, table: ParquetTable) -> Iterator[tuple[int, str, Question]]:
        for row, where, record in table.rows():
            category = text_of(record, "category", where)
            if category not in CATEGORIES:
                raise ValueError(f"{where} must have one of {CATEGORIES} under 'category', got {category!r}")
            if self.split not in (ALL, category):
                continue
            source = text_of(record, "image_source", where)
            picture = source if PurePosixPath(source).suffix else f"{source}.jpg"
            yield row, picture, self._question(record, where, category, words="question", label="answer")

    @staticmethod
    def _question(record: dict[str, Any], where: str, category: str, *, words: str, label: str) -> Question:
        """The question whose text and label stand under these keys."""
        right = text_of(record, label, where).strip().lower()
        if right not in ("yes", "no"):
            raise ValueError(f"{where} must have 'yes' or 'no' under {label!r}, got {right!r}")
        asked = f"{text_of(record, words, where).strip()}\n{SHORT_ANSWER}"
        # the three files number their questions alike
        return Question(f"{category}/{id_of(record, 'question_id', where)}", asked, right, category)

    def _mark(self, question: Question, prediction: str) -> tuple[str, float]:
        parsed = (pope_llava if self.scorer == LLAVA else pope_lmms)(prediction)
        return parsed, float(parsed == question.answer)

    def _figures(self, cell: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame, dict[str, float]]]:
        parts = {str(category): part for category, part in cell.groupby("task", sort=False)}
        found = {category: self._rates(part) for category, part in parts.items()}
        for category, part in parts.items():
            yield category, part, found[category]
        if self.scorer == LLAVA:
            yield MEAN, cell, {str(name): float(mean) for name, mean in pd.DataFrame(found).mean(axis=1).items()}
        else:
            yield ALL, cell, self._rates(cell)

    def _rates(self, part: pd.DataFrame) -> dict[str, float]:
        found = rates(part["parsed"], part["answer"])
        if self.scorer != LLAVA:
            found["yes_ratio"] = 100 * float((part["answer"] == "yes").mean())
        return {"accuracy": 100 * float(part["score"].mean()), **found}
