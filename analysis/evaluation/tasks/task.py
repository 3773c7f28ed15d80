"""What a benchmark is: images, each with its questions, and the rule by which an answer counts as right."""

from __future__ import annotations

import abc
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from PIL import Image

from ..scoring import exact_match

Mark = bool | float | str


@dataclass(frozen=True, eq=False)
class Question:
    """One question about an image.

    Attributes
    ----------
    question_id
        Unique within the task; integers or texts, the same for all questions.
    question
        The words as they are put to the model, without the prompt around them.
    answer
        The reference answer; where people disagree, the one that stands for them in the results.
    task
        The sub-task whose accuracy this question counts towards, for example "count".
    needed
        Ascending raster indices of the visual tokens without which the answer cannot be known; empty where the task
        states none or where the answer is an absence.
    answers
        What each of several people answered, where the scorer asks them all; empty elsewhere.
    options
        Texts of the options A, B, ... of a multiple-choice question; empty elsewhere.
    """

    question_id: int | str
    question: str
    answer: str
    task: str
    needed: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    answers: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Sample:
    """One image with all its questions."""

    image_id: int | str
    image: Image.Image
    questions: tuple[Question, ...]


class AbstractTask(abc.ABC):
    """A benchmark: iterating gives its samples, always in the same order.

    A task knows data and scoring; it never sees a model or a pruner.
    """

    name: ClassVar[str]
    needed_grid: ClassVar[tuple[int, int] | None] = None
    """Rows and columns of visual tokens in which `Question.needed` counts; None: those of any model."""

    @property
    def label(self) -> str:
        """Name of the data and of the rule they are scored by; results under another label are not mixed with these."""
        return self.name

    @abc.abstractmethod
    def __len__(self) -> int:
        """Number of images."""

    @abc.abstractmethod
    def __iter__(self) -> Iterator[Sample]:
        """The samples in a fixed order."""

    @property
    @abc.abstractmethod
    def checksum(self) -> str:
        """Twelve hexadecimal digits that change whenever an image, a question or an answer does.

        It names the data as a whole: taking fewer images of the same data leaves it unchanged, so that results of a
        small run are reused by a larger one.
        """

    def correct(self, question: Question, prediction: str) -> bool:
        """Whether `prediction` answers `question`; by default `scoring.exact_match`."""
        return exact_match(prediction, question.answer)

    def marks(self, question: Question, prediction: str) -> dict[str, Mark]:
        """The columns that scoring adds to a row of results: `correct`, where an answer is right or wrong."""
        return {"correct": self.correct(question, prediction)}
