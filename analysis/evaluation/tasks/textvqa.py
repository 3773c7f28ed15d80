"""TextVQA: questions whose answers are written in the picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from solvers.names import nearest

from .benchmark import LLAVA, LMMS_EVAL, SHORT_ANSWER, AbstractFolderBenchmark
from .local_files import (
    checked_name,
    checked_object,
    entry_of,
    existing,
    id_of,
    read_json,
    read_records,
    text_of,
    texts_of,
)
from .parquet_table import ParquetTable
from .soft_accuracy import ANSWERS, evalai, textvqa_accuracy
from .task import Question

OCR_FILE = "llava_textvqa_val_v051_ocr.jsonl"


@dataclass(frozen=True)
class TextVqa(AbstractFolderBenchmark):
    """Questions on text in pictures, against ten people's answers (Singh et al., 2019, arXiv:1904.08920).

    Parameters
    ----------
    folder
        Where ``TextVQA_0.5.1_<split>.json`` lies: under "data" the entries question_id, image_id, question, answers.
        Or the parquet edition: ``validation-*.parquet`` for "val" (else the split's name) with these, image and
        ocr_tokens.
    split
        "val" is what papers report.
    scorer
        "llava" or "lmms-eval"; the rule is the same, mean over ten leave-one-out subsets of min(1, matches / 3).
    prompt
        "llava" or "lmms-eval"; None is that of the scorer. lmms-eval makes the first letter of a question a capital
        and all others small.
    pictures
        Folder of ``<image_id>.jpg``; None is ``train_images`` below `folder`. A parquet edition holds its own.
    ocr
        Whether the prompt shows the text that an OCR system read in the picture. There is no default: LLaVA-1.5's
        published figure has it, lmms-eval's default task has not, and the two must not be compared. LLaVA's prompts are
        read from ``llava_textvqa_val_v051_ocr.jsonl`` in `folder` (beside a parquet file); lmms-eval's need
        "ocr_tokens" in the entries.

    Notes
    -----
    LLaVA's prompt without OCR tokens is the plain question and `SHORT_ANSWER`; its authors publish the other only.
    """

    folder: Path | str
    split: str = "val"
    scorer: str = LLAVA
    prompt: str | None = None
    pictures: Path | str | None = None
    _: KW_ONLY
    ocr: bool
    name: ClassVar[str] = "textvqa"
    columns: ClassVar[tuple[str, ...]] = ("question_id", "image_id", "question", "answers")
    optional_columns: ClassVar[tuple[str, ...]] = ("ocr_tokens",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.prompt is not None:
            nearest(self.prompt, (LLAVA, LMMS_EVAL), "prompt")

    @property
    def soft(self) -> bool:
        """Scores lie in [0, 1]."""
        return True

    @property
    def prompt_name(self) -> str:
        """Whose prompt, and whether it shows OCR tokens."""
        return f"{self._style} {'with' if self.ocr else 'without'} OCR tokens"

    @property
    def _style(self) -> str:
        return self.prompt or self.scorer

    @property
    def _home(self) -> str:
        return "train_images"

    @property
    def _stem(self) -> str:
        return {"val": "validation"}.get(self.split, self.split)

    def _from_files(self) -> Iterator[tuple[str, Question]]:
        file = existing(Path(self.folder) / f"TextVQA_0.5.1_{self.split}.json", "TextVQA file")
        data = entry_of(checked_object(read_json(file), str(file)), "data", str(file))
        for number, entry in enumerate(data, 1):
            where = f"entry {number} of {file}"
            yield self._question(checked_object(entry, where), where)

    def _from_rows(self, table: ParquetTable) -> Iterator[tuple[int, str, Question]]:
        for row, where, record in table.rows():
            yield row, *self._question(record, where)

    def _question(self, record: dict[str, Any], where: str) -> tuple[str, Question]:
        """The name of the picture, and the question."""
        answers = texts_of(record, "answers", where, ANSWERS)
        if not any(answer.strip() for answer in answers):
            raise ValueError(f"{where} has no answers: those of the test split are not public")
        common = Counter(answers).most_common(1)[0][0]
        identifier = id_of(record, "question_id", where)
        picture = checked_name(f"{id_of(record, 'image_id', where)}.jpg", where)
        return picture, Question(identifier, self._prompt(record, where), common, self.name, answers=answers)

    def _prompt(self, record: dict[str, Any], where: str) -> str:
        words = text_of(record, "question", where)
        if self._style == LLAVA:
            if not self.ocr:
                return f"{words}\n{SHORT_ANSWER}"
            key = id_of(record, "image_id", where), words.lower()
            if key not in self._published_prompts:
                raise ValueError(f"{OCR_FILE} has no prompt for {where}, {words!r}")
            return self._published_prompts[key]
        read = ""
        if self.ocr:
            tokens = entry_of(record, "ocr_tokens", where)
            read = f"\nReference OCR token: {', '.join(map(str, tokens))}"
        return f"{words.capitalize()}{read}\n{SHORT_ANSWER}"

    @cached_property
    def _published_prompts(self) -> dict[tuple[str, str], str]:
        """LLaVA's prompts by picture and question in lower case; its question_id is the id of the picture."""
        file = existing(self._beside / OCR_FILE, "file of LLaVA's prompts with OCR tokens (or say ocr=False)")
        found = {}
        for where, record in read_records(file):
            text = text_of(record, "text", where)
            found[id_of(record, "question_id", where), text.split("\n")[0].lower()] = text
        return found

    def _mark(self, question: Question, prediction: str) -> tuple[str, float]:
        return evalai(prediction), textvqa_accuracy(prediction, question.answers)
