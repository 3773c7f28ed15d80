"""A published benchmark from a user's own copy: what the readers and scorers of all of them share."""

from __future__ import annotations

import abc
import hashlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import pandas as pd

from solvers.names import nearest

from ..accuracy import SETTING
from .local_files import decode_picture
from .parquet_table import IMAGE, ParquetTable, shards
from .task import AbstractTask, Mark, Question, Sample

LLAVA, LMMS_EVAL = "llava", "lmms-eval"
SHORT_ANSWER = "Answer the question using a single word or phrase."
"""What LLaVA-1.5 and lmms-eval write below a question that is answered in a word."""

ALL = "all"
IDENTITY = ("benchmark", "split", "prompt", "scorer")


class AbstractBenchmark(AbstractTask):
    """Questions from local files, grouped by picture, under a named prompt and a named scorer.

    A subclass is a frozen dataclass with a field `scorer`; it reads its files in `_questions` and
    scores a reply in `_mark`. Numbers of two scorers are not comparable: the scorer is a column of the results and
    part of what a store is bound to.
    """

    scorers: ClassVar[tuple[str, ...]] = (LLAVA, LMMS_EVAL)
    scorer: str

    def __post_init__(self) -> None:
        nearest(self.scorer, self.scorers, "scorer")

    @property
    @abc.abstractmethod
    def split_name(self) -> str:
        """Which part of the benchmark the questions are."""

    @property
    def soft(self) -> bool:
        """Whether a score may lie between 0 and 1; the results have no column `correct` then."""
        return False

    @property
    def prompt_name(self) -> str:
        """Which prompt is built around the questions."""
        return "short answer"

    @property
    def label(self) -> str:
        """Benchmark, split, prompt and scorer."""
        return ", ".join(f"{key} {value}" for key, value in self.identity.items())

    @property
    def identity(self) -> dict[str, str]:
        """The columns `IDENTITY` of the results."""
        return dict(zip(IDENTITY, (self.name, self.split_name, self.prompt_name, self.scorer), strict=True))

    @cached_property
    def questions(self) -> dict[str, tuple[Question, ...]]:
        """The questions by picture, pictures in order of first appearance.

        Raises
        ------
        ValueError
            If a file is damaged, a question is malformed or its id occurs twice, or there is no question.
        FileNotFoundError
            If a file or a picture is missing.
        """
        grouped: dict[str, list[Question]] = {}
        seen: set[int | str] = set()
        for picture, question in self._questions():
            if question.question_id in seen:
                raise ValueError(f"question {question.question_id!r} occurs twice in {self._place}")
            seen.add(question.question_id)
            grouped.setdefault(picture, []).append(question)
        if not grouped:
            raise ValueError(f"{self._place} holds no question")
        self._check_pictures(list(grouped))
        return {picture: tuple(asked) for picture, asked in grouped.items()}

    def __len__(self) -> int:
        return len(self.questions)

    def __iter__(self) -> Iterator[Sample]:
        for picture, asked in self.questions.items():
            yield Sample(picture, decode_picture(self._picture(picture), f"picture {picture} of {self._place}"), asked)

    @cached_property
    def checksum(self) -> str:
        """Start of the SHA-256 over questions, answers and the bytes of every picture."""
        digest = hashlib.sha256()
        for picture, asked in self.questions.items():
            content = hashlib.sha256(self._picture(picture)).hexdigest()
            texts = [(q.question_id, q.question, q.answer, q.task, q.answers, q.options) for q in asked]
            digest.update(repr((picture, content, texts)).encode())
        return digest.hexdigest()[:12]

    def correct(self, question: Question, prediction: str) -> bool:
        """Whether `prediction` has full marks."""
        return self._mark(question, prediction)[1] == 1

    def marks(self, question: Question, prediction: str) -> dict[str, Mark]:
        """`correct` (absent where scores are soft), `score` in [0, 1], `parsed` (what the scorer read), `IDENTITY`."""
        parsed, score = self._mark(question, prediction)
        verdict: dict[str, Mark] = {} if self.soft else {"correct": score == 1}
        return {**verdict, "score": float(score), "parsed": parsed, **self.identity}

    def summary(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The benchmark's own figures from the rows of `evaluate`, in percent unless said otherwise.

        Returns
        -------
        pandas.DataFrame
            A row per setting, seed and subset: model, pruner, keep, position_ids, seed, the columns `IDENTITY`,
            subset ("all", or a sub-task), the figures, `questions` (how many were scored) and `empty` (empty replies
            among them, which are scored like any other).

        Raises
        ------
        ValueError
            If `rows` is empty, lacks a column, or was made with another split, prompt or scorer.
        """
        self._check_rows(rows)
        found = []
        for key, cell in rows.groupby([*SETTING, "seed"], sort=False):
            setting = dict(zip([*SETTING, "seed"], key, strict=True)) | self.identity
            for subset, part, figures in self._figures(cell):
                size = {"questions": len(part), "empty": int((part["prediction"] == "").sum())}
                found.append({**setting, "subset": subset, **figures, **size})
        return pd.DataFrame(found)

    def rescored(self, rows: pd.DataFrame) -> pd.DataFrame:
        """`rows` of the same benchmark, split and prompt, scored again by this task's scorer: nothing is asked again.

        Raises
        ------
        ValueError
            If the replies were given to other data or another prompt.
        """
        self._check_rows(rows, IDENTITY[:3])
        known = {question.question_id: question for asked in self.questions.values() for question in asked}
        unknown = [name for name in rows["question_id"].unique() if name not in known]
        if unknown:
            raise ValueError(f"`rows` holds {len(unknown)} question(s) that are not in {self._place}: {unknown[0]!r}")
        marks = [
            self.marks(known[row], reply) for row, reply in zip(rows["question_id"], rows["prediction"], strict=True)
        ]
        kept = rows.drop(columns="correct", errors="ignore") if self.soft else rows
        return kept.assign(**pd.DataFrame(marks, index=rows.index))

    @property
    @abc.abstractmethod
    def _place(self) -> str:
        """Where the data lie, for messages."""

    @abc.abstractmethod
    def _questions(self) -> Iterator[tuple[str, Question]]:
        """Each question with the name of its picture, in the order of the files."""

    @abc.abstractmethod
    def _picture(self, name: str) -> bytes:
        """Content of the picture of that name."""

    @abc.abstractmethod
    def _mark(self, question: Question, prediction: str) -> tuple[str, float]:
        """What the scorer reads in a reply, and its score in [0, 1]."""

    def _check_pictures(self, names: list[str]) -> None:
        """Refuse data whose pictures are missing, before anything is computed."""

    def _figures(self, cell: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame, dict[str, float]]]:
        """Subsets of the rows of one setting, each with its figures: the mean score, over all and per sub-task."""
        for subset, part in ((ALL, cell), *cell.groupby("task", sort=False)):
            yield str(subset), part, {"accuracy": 100 * float(part["score"].mean())}

    def _check_rows(self, rows: pd.DataFrame, keys: tuple[str, ...] = IDENTITY) -> None:
        needed = [*SETTING, "seed", "image_id", "question_id", "task", "prediction", "score", "parsed", *IDENTITY]
        missing = [name for name in needed if name not in rows.columns]
        if missing:
            raise ValueError(f"`rows` lacks the column(s) {', '.join(missing)}")
        if rows.empty:
            raise ValueError("`rows` must not be empty")
        for key in keys:
            others = sorted(set(rows[key].astype(str)) - {self.identity[key]})
            if others:
                raise ValueError(f"`rows` must have {key} {self.identity[key]!r}, got {', '.join(map(repr, others))}")


class AbstractFolderBenchmark(AbstractBenchmark):
    """A benchmark in its official files with pictures beside them, or in its parquet edition with pictures inside.

    Where `folder` is a parquet file, or parquet shards of the split lie in it, they are read. A subclass has these
    fields, says `_home`, and reads official files in `_from_files`, parquet in `_from_rows`. The columns are those of
    the data sets of lmms-lab on the hub of Hugging Face, as their cards state them.
    """

    columns: ClassVar[tuple[str, ...]]
    """Columns that a parquet edition must have, besides the pictures."""
    optional_columns: ClassVar[tuple[str, ...]] = ()
    folder: Path | str
    split: str
    pictures: Path | str | None

    @property
    def split_name(self) -> str:
        """The split as given."""
        return self.split

    @property
    def _place(self) -> str:
        return str(self.folder)

    @property
    def _home(self) -> str:
        """Folder of the pictures below `folder`, where `pictures` does not say another."""
        return ""

    @property
    def picture_folder(self) -> Path:
        """Where the pictures are looked up."""
        return Path(self.pictures) if self.pictures is not None else Path(self.folder) / self._home

    @cached_property
    def table(self) -> ParquetTable | None:
        """The parquet edition, if `folder` is such a file or holds shards of the split; else None."""
        files = shards(self.folder, self._stem)
        pictures = getattr(self, "pictures", None)
        if files and pictures is not None:
            raise ValueError(f"`pictures` must be None for parquet, which holds its pictures, got {str(pictures)!r}")
        return ParquetTable(files, (*self.columns, IMAGE), self.optional_columns) if files else None

    @property
    def _stem(self) -> str:
        """How the names of the split's parquet shards begin."""
        return self.split

    @property
    def _beside(self) -> Path:
        """Where other files lie that belong to the data."""
        return Path(self.folder).parent if Path(self.folder).suffix == ".parquet" else Path(self.folder)

    @abc.abstractmethod
    def _from_files(self) -> Iterator[tuple[str, Question]]:
        """As `_questions`, out of the official files."""

    @abc.abstractmethod
    def _from_rows(self, table: ParquetTable) -> Iterator[tuple[int, str, Question]]:
        """Each question of the parquet edition with its row and the name of its picture."""

    @cached_property
    def _asked(self) -> list[tuple[int, str, Question]]:
        return [] if self.table is None else list(self._from_rows(self.table))

    @property
    def _picture_table(self) -> ParquetTable | None:
        """Where the pictures of the parquet edition are."""
        return self.table

    @cached_property
    def _picture_rows(self) -> dict[str, int]:
        """The first row that shows each picture."""
        return {picture: row for row, picture, _ in reversed(self._asked)}

    def _questions(self) -> Iterator[tuple[str, Question]]:
        if self.table is None:
            yield from self._from_files()
        for _, picture, question in self._asked:
            yield picture, question

    def _picture(self, name: str) -> bytes:
        if self._picture_table is not None:
            return self._picture_table.picture(self._picture_rows[name])
        return (self.picture_folder / name).read_bytes()

    def _check_pictures(self, names: list[str]) -> None:
        where: Path | str = self.picture_folder if self.table is None else self._place
        missing = [name for name in names if not self._has_picture(name)]
        if missing:
            raise FileNotFoundError(
                f"{len(missing)} of the {len(names)} pictures of {self.name} are not in {where}, first {missing[0]!r}"
            )

    def _has_picture(self, name: str) -> bool:
        return (self.picture_folder / name).is_file() if self.table is None else name in self._picture_rows
