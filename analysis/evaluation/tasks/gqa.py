"""GQA: compositional questions about real pictures, answered in a word."""

from __future__ import annotations

import string
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from .benchmark import LLAVA, SHORT_ANSWER, AbstractFolderBenchmark
from .local_files import checked_name, checked_object, entry_of, existing, id_of, read_json, text_of
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
        types. Questions that are not balanced are left out, as in the official accuracy.
    split
        For example "testdev_balanced", which papers report, or "val_balanced".
    scorer
        "llava": exact text after light cleaning of the reply. "lmms-eval": case and punctuation do not matter.
    pictures
        Folder of ``<imageId>.jpg``; None is ``images`` below `folder`.

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

    @property
    def _home(self) -> str:
        return "images"

    def _questions(self) -> Iterator[tuple[str, Question]]:
        file = existing(Path(self.folder) / f"{self.split}_questions.json", f"GQA file of the split {self.split!r}")
        for identifier, entry in checked_object(read_json(file), str(file)).items():
            where = f"question {identifier} of {file}"
            record = checked_object(entry, where)
            if not record.get("isBalanced", True):
                continue
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
