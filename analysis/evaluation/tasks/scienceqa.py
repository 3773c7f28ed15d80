"""ScienceQA-IMG: school questions with a picture and several options."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from solvers.names import nearest

from .benchmark import LLAVA, LMMS_EVAL, AbstractFolderBenchmark
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
from .option_letter import DIRECTLY, LETTERS, scienceqa_llava, scienceqa_lmms
from .parquet_table import ParquetTable
from .task import Question


@dataclass(frozen=True)
class ScienceQa(AbstractFolderBenchmark):
    """The questions of ScienceQA that come with a picture (Lu et al., 2022, arXiv:2209.09513).

    Parameters
    ----------
    folder
        Where ``problems.json`` and ``pid_splits.json`` lie. Or the parquet edition: ``<split>-*.parquet``
        ("validation" for "val") with question, choices, answer, image and, if there, hint and subject.
    split
        "test" is what papers report.
    scorer
        "llava": the letter, "X. " in front, or "The answer is X." "lmms-eval": the letter in either case, or "X." in
        front.
    prompt
        "llava", read from ``llava_<split>_CQM-A.json`` in `folder`, or "lmms-eval", built from ``problems.json``; None
        is that of the scorer. A parquet edition does not say which problem a row is, so that LLaVA's cannot be found.
    pictures
        Folder of ``<pid>/<image>``; None is ``images/<split>`` below `folder`. A parquet edition holds its own.

    Notes
    -----
    The sub-tasks are the subjects where ``problems.json`` names them. LLaVA's published 66.8 and what its script
    measures, about 69.5, differ: compare with the unpruned model as measured here. Questions of a parquet edition are
    named by their row, from 0, rows without a picture counted.
    """

    folder: Path | str
    split: str = "test"
    scorer: str = LLAVA
    prompt: str | None = None
    pictures: Path | str | None = None
    name: ClassVar[str] = "scienceqa"
    columns: ClassVar[tuple[str, ...]] = ("question", "choices", "answer")
    optional_columns: ClassVar[tuple[str, ...]] = ("hint", "subject")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.prompt is not None:
            nearest(self.prompt, (LLAVA, LMMS_EVAL), "prompt")

    @property
    def prompt_name(self) -> str:
        """Whose prompt."""
        return self.prompt or self.scorer

    @property
    def _home(self) -> str:
        return f"images/{self.split}"

    @property
    def _stem(self) -> str:
        return {"val": "validation"}.get(self.split, self.split)

    def _from_rows(self, table: ParquetTable) -> Iterator[tuple[int, str, Question]]:
        if self.prompt_name == LLAVA:
            raise ValueError(
                f"{self.folder} does not name its problems, so that LLaVA's prompts cannot be found: say "
                "prompt='lmms-eval'"
            )
        for (row, where, record), digest in zip(table.rows(), table.digests, strict=True):
            if digest is not None:
                yield row, f"{self.split}/{row}", self._question(str(row), record, where)

    def _from_files(self) -> Iterator[tuple[str, Question]]:
        folder = Path(self.folder)
        file = existing(folder / "problems.json", "ScienceQA file")
        listing = existing(folder / "pid_splits.json", "ScienceQA list of splits")
        splits = checked_object(read_json(listing), str(listing))
        nearest(self.split, splits, "split")
        problems = checked_object(read_json(file), str(file))
        for identifier in texts_of(splits, self.split, str(listing)):
            where = f"problem {identifier} of {file}"
            record = checked_object(entry_of(problems, identifier, str(file)), where)
            if entry_of(record, "image", where) is None:
                continue
            picture = checked_name(f"{identifier}/{text_of(record, 'image', where)}", where)
            yield picture, self._question(identifier, record, where)

    def _question(self, identifier: str, record: dict[str, Any], where: str) -> Question:
        options = texts_of(record, "choices", where)
        right = entry_of(record, "answer", where)
        if len(options) > len(LETTERS) or isinstance(right, bool) or not isinstance(right, int):
            raise ValueError(f"{where} must have at most {len(LETTERS)} choices and an integer under 'answer'")
        if not 0 <= right < len(options):
            raise ValueError(f"{where} must have an answer in [0, {len(options) - 1}], got {right}")
        subject = str(record.get("subject") or self.name)
        words = self._published(identifier) if self.prompt_name == LLAVA else self._built(record, options, where)
        return Question(identifier, f"{words}\n{DIRECTLY}", LETTERS[right], subject, options=options)

    def _published(self, identifier: str) -> str:
        if identifier not in self._llava_texts:
            raise ValueError(f"{self._llava_file} has no prompt for problem {identifier}")
        return self._llava_texts[identifier]

    @staticmethod
    def _built(record: dict[str, Any], options: tuple[str, ...], where: str) -> str:
        hint = record.get("hint")
        context = f"Context: {hint}\n" if hint else ""
        lines = "\n".join(f"{letter}. {text}" for letter, text in zip(LETTERS, options, strict=False))
        return f"{context}{text_of(record, 'question', where)}\n{lines}"

    @property
    def _llava_file(self) -> Path:
        return Path(self.folder) / f"llava_{self.split}_CQM-A.json"

    @cached_property
    def _llava_texts(self) -> dict[str, str]:
        """What LLaVA asks about each problem, without the mark of the image."""
        file = existing(self._llava_file, "file of LLaVA's prompts (or say prompt='lmms-eval')")
        found = {}
        for where, record in read_records(file):
            said = entry_of(record, "conversations", where)
            first = checked_object(said[0] if isinstance(said, list) and said else None, f"the conversation in {where}")
            found[id_of(record, "id", where)] = text_of(first, "value", where).replace("<image>", "").strip()
        return found

    def _mark(self, question: Question, prediction: str) -> tuple[str, float]:
        if self.scorer == LLAVA:
            parsed = scienceqa_llava(prediction, len(question.options))
        else:
            parsed = scienceqa_lmms(prediction)
        return parsed, float(parsed == question.answer)
