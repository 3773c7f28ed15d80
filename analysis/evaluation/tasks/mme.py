"""MME: fourteen abilities, two questions about each picture, of which both must be right for full marks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import ClassVar

import pandas as pd

from solvers.names import nearest

from .benchmark import ALL, LLAVA, SHORT_ANSWER, AbstractFolderBenchmark
from .local_files import id_of, read_text, text_of
from .parquet_table import ParquetTable
from .task import Question
from .yes_no import mme_lmms, mme_official

PERCEPTION = (
    *("existence", "count", "position", "color", "posters", "celebrity", "scene", "landmark", "artwork", "OCR"),
)
COGNITION = ("commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning")
SPLITS = {"perception": PERCEPTION, "cognition": COGNITION, ALL: PERCEPTION + COGNITION}
_SUFFIXES = (".jpg", ".png", ".jpeg")
_REQUEST = " Please answer yes or no."


@dataclass(frozen=True)
class Mme(AbstractFolderBenchmark):
    """Perception and cognition in yes-or-no questions (Fu et al., 2023, arXiv:2306.13394).

    Parameters
    ----------
    folder
        The released folder: one per category, with a picture and a text file of the same name, or with ``images`` and
        ``questions_answers_YN`` below it. A text file has two lines, question and answer with a tab between. Or the
        parquet edition: ``test-*.parquet`` with question_id (the picture), question, answer, category, image.
    split
        "perception" (10 categories, up to 2000 points), "cognition" (4, up to 800) or "all". Papers that prune tokens
        report perception, 1506.5 for LLaVA-1.5-7B, others the total.
    scorer
        "llava": MME's own evaluation, yes or no within the first four characters. "lmms-eval": full stops are dropped
        first, "y" and "n" count too.

    Notes
    -----
    Both prompts have the request "Please answer yes or no." replaced by `SHORT_ANSWER`. A category has 100 points for
    the share of right answers and 100 for the share of pictures with both right; `summary` gives sums only where all
    their categories were asked.
    """

    folder: Path | str
    split: str = ALL
    scorer: str = LLAVA
    name: ClassVar[str] = "mme"
    columns: ClassVar[tuple[str, ...]] = ("question_id", "question", "answer", "category")

    def __post_init__(self) -> None:
        super().__post_init__()
        nearest(self.split, SPLITS, "split")

    @property
    def picture_folder(self) -> Path:
        """Pictures lie beside their questions."""
        return Path(self.folder)

    @property
    def _stem(self) -> str:
        return "test"

    def _from_files(self) -> Iterator[tuple[str, Question]]:
        for category in SPLITS[self.split]:
            folder = Path(self.folder) / category
            apart = (folder / "images").is_dir()
            texts = sorted((folder / "questions_answers_YN" if apart else folder).glob("*.txt"))
            if not texts:
                raise FileNotFoundError(f"there are no questions of MME's category {category!r} in {folder}")
            for file in texts:
                picture = self._picture_beside(folder / "images" if apart else folder, file)
                for number, (words, answer) in enumerate(self._pair(file), 1):
                    yield picture, _question(f"{category}/{file.stem}/{number}", words, answer, category)

    def _from_rows(self, table: ParquetTable) -> Iterator[tuple[int, str, Question]]:
        asked: Counter[str] = Counter()
        for row, where, record in table.rows():
            category, name = text_of(record, "category", where), id_of(record, "question_id", where)
            answer = text_of(record, "answer", where).strip().lower()
            if category not in SPLITS[ALL] or answer not in ("yes", "no"):
                raise ValueError(f"{where} must have a category of MME and Yes or No, got {category!r} and {answer!r}")
            if category not in SPLITS[self.split]:
                continue
            picture = name if name.startswith(f"{category}/") else f"{category}/{name}"
            asked[picture] += 1
            path = PurePosixPath(picture)
            stem = path.with_suffix("") if path.suffix in _SUFFIXES else path
            words = text_of(record, "question", where).strip()
            yield row, picture, _question(f"{stem}/{asked[picture]}", words, answer, category)
        for picture, number in asked.items():
            if number != 2:
                raise ValueError(f"{self.folder} must hold the two questions of {picture}, got {number}")

    def _picture_beside(self, folder: Path, file: Path) -> str:
        found = [folder / f"{file.stem}{suffix}" for suffix in _SUFFIXES if (folder / f"{file.stem}{suffix}").is_file()]
        if not found:
            raise FileNotFoundError(f"there is no picture ({', '.join(_SUFFIXES)}) for {file} in {folder}")
        return found[0].relative_to(self.folder).as_posix()

    @staticmethod
    def _pair(file: Path) -> list[tuple[str, str]]:
        """The two questions of a picture with their answers."""
        lines = [line.strip() for line in read_text(file).split("\n") if line.strip()]
        if len(lines) != 2:
            raise ValueError(f"{file} must hold the two questions of a picture, got {len(lines)}")
        pairs = []
        for number, line in enumerate(lines, 1):
            words, *answer = line.split("\t")
            if len(answer) != 1 or answer[0].strip().lower() not in ("yes", "no"):
                raise ValueError(f"line {number} of {file} must be a question, a tab and Yes or No, got {line[:60]!r}")
            pairs.append((words.strip(), answer[0].strip().lower()))
        return pairs

    def _mark(self, question: Question, prediction: str) -> tuple[str, float]:
        parsed = (mme_official if self.scorer == LLAVA else mme_lmms)(prediction)
        return parsed, float(parsed == question.answer)

    def _figures(self, cell: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame, dict[str, float]]]:
        points: dict[str, float] = {}
        for category, part in cell.groupby("task", sort=False):
            pairs = part.groupby("image_id", sort=False)["score"].agg(["size", "min"])
            if (pairs["size"] != 2).any():
                odd = pairs.index[pairs["size"] != 2][0]
                raise ValueError(f"`rows` must hold both questions of a picture, got {pairs['size'][odd]} of {odd!r}")
            share, both = 100 * float(part["score"].mean()), 100 * float(pairs["min"].mean())
            points[str(category)] = share + both
            yield str(category), part, {"accuracy": share, "accuracy_plus": both, "score": share + both}
        for name, categories in SPLITS.items():
            if set(categories) <= set(points):
                part = cell[cell["task"].isin(categories)]
                yield name, part, {"score": sum(points[category] for category in categories)}


def _question(identifier: str, words: str, answer: str, category: str) -> Question:
    """A question as it is put, with another request than the published one behind it."""
    return Question(identifier, f"{words.replace(_REQUEST, '')}\n{SHORT_ANSWER}", answer, category)
