"""VQAv2: open questions about photographs, each answered by ten people."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from .benchmark import LLAVA, SHORT_ANSWER, AbstractFolderBenchmark
from .local_files import checked_object, entry_of, existing, id_of, read_json, text_of
from .parquet_table import ParquetTable
from .soft_accuracy import ANSWERS, evalai, vqa_cleaned, vqav2_llava, vqav2_lmms
from .task import Question


@dataclass(frozen=True)
class VqaV2(AbstractFolderBenchmark):
    """Questions against ten people's answers (Goyal et al., 2017, arXiv:1612.00837).

    Parameters
    ----------
    folder
        Where ``v2_OpenEnded_mscoco_<split>_questions.json`` and ``v2_mscoco_<split>_annotations.json`` lie. Or the
        parquet edition: ``validation-*.parquet`` for "val2014" with what both have for a question, and image.
    split
        "val2014" (214,354 questions) or "train2014". Papers report test-dev, whose answers only the EvalAI server
        has: numbers from here are not comparable with those.
    scorer
        "llava": the reply through EvalAI's processing, as LLaVA submits it, then the official evaluation, which cleans
        texts only if the ten answers differ. "lmms-eval": reply and answers are always cleaned.
    pictures
        Folder of ``COCO_<split>_<12 digits>.jpg``; None is ``<split>`` below `folder`. A parquet edition holds its own.

    Notes
    -----
    The sub-tasks are the answer types "yes/no", "number" and "other".
    """

    folder: Path | str
    split: str = "val2014"
    scorer: str = LLAVA
    pictures: Path | str | None = None
    name: ClassVar[str] = "vqav2"
    columns: ClassVar[tuple[str, ...]] = (
        *("question_id", "image_id", "question", "answers", "multiple_choice_answer", "answer_type"),
    )

    @property
    def soft(self) -> bool:
        """Scores lie in [0, 1]."""
        return True

    @property
    def _home(self) -> str:
        return self.split

    @property
    def _stem(self) -> str:
        return {"val2014": "validation", "train2014": "train"}.get(self.split, self.split)

    def _from_files(self) -> Iterator[tuple[str, Question]]:
        folder = Path(self.folder)
        asked = self._entries(
            existing(folder / f"v2_OpenEnded_mscoco_{self.split}_questions.json", "VQAv2 question file"), "questions"
        )
        answered = self._entries(
            existing(
                folder / f"v2_mscoco_{self.split}_annotations.json",
                f"VQAv2 file of answers (those of test splits are not public) for the split {self.split!r}",
            ),
            "annotations",
        )
        if len(asked) != len(answered):
            raise ValueError(
                f"the split {self.split!r} in {folder} has {len(asked)} questions and {len(answered)} answers"
            )
        for identifier, (where, record) in asked.items():
            if identifier not in answered:
                raise ValueError(f"{where} has no answers")
            yield self._picture_name(record, where), self._question(identifier, record, where, *answered[identifier])

    def _from_rows(self, table: ParquetTable) -> Iterator[tuple[int, str, Question]]:
        for row, where, record in table.rows():
            identifier = id_of(record, "question_id", where)
            question = self._question(identifier, record, where, where, record)
            yield row, self._picture_name(record, where), question

    def _picture_name(self, record: dict[str, Any], where: str) -> str:
        image = id_of(record, "image_id", where)
        if not image.isdecimal():
            raise ValueError(f"{where} must have an integer under 'image_id', got {image!r}")
        return f"COCO_{self.split}_{int(image):012d}.jpg"

    @staticmethod
    def _entries(file: Path, key: str) -> dict[str, tuple[str, dict[str, Any]]]:
        """The entries of a file by question, each with its place."""
        found: dict[str, tuple[str, dict[str, Any]]] = {}
        for number, entry in enumerate(entry_of(checked_object(read_json(file), str(file)), key, str(file)), 1):
            where = f"entry {number} of {file}"
            identifier = id_of(checked_object(entry, where), "question_id", where)
            if identifier in found:
                raise ValueError(f"question {identifier!r} occurs twice in {file}")
            found[identifier] = where, entry
        return found

    @staticmethod
    def _question(identifier: str, asked: dict[str, Any], place: str, where: str, record: dict[str, Any]) -> Question:
        """What is asked at `place`, with the answers that stand in `record`."""
        words = f"{text_of(asked, 'question', place)}\n{SHORT_ANSWER}"
        entries = entry_of(record, "answers", where)
        if not isinstance(entries, list) or len(entries) != ANSWERS:
            got = len(entries) if isinstance(entries, list) else entries
            raise ValueError(f"{where} must have exactly {ANSWERS} under 'answers', got {got}")
        # a person may have left the field empty
        answers = tuple(str(entry_of(checked_object(entry, where), "answer", where)) for entry in entries)
        common, kind = text_of(record, "multiple_choice_answer", where), text_of(record, "answer_type", where)
        return Question(identifier, words, common, kind, answers=answers)

    def _mark(self, question: Question, prediction: str) -> tuple[str, float]:
        if self.scorer == LLAVA:
            return evalai(prediction), vqav2_llava(prediction, question.answers)
        return vqa_cleaned(prediction), vqav2_lmms(prediction, question.answers)
