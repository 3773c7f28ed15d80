"""Images with their questions, encoded once and answered again under one intervention after another."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from analysis.evaluation import AbstractTask, Context, answer_texts, answer_tokens
from analysis.evaluation.prompts import tokenise
from analysis.evaluation.tasks import Question, Sample
from analysis.models import Vlm
from analysis.pruning import encode_images
from solvers.arrays import IntArray

from .positions import arranged
from .replay import Replay, replayable

Kept = Mapping[tuple[int, int], IntArray]
"""Kept visual tokens, ascending, by (image, question), both numbered from 0 as in the exam."""


class Asked(NamedTuple):
    """The replay of one image's packed questions, and the columns of the words of each question behind the image."""

    replay: Replay
    words: tuple[Tensor, ...]


class Exam:
    """Some images with all their questions.

    Parameters
    ----------
    vlm
        The model. Its template must put the image first, as the visual tokens of all questions must lie alike.
    task
        Decides which answers are right.
    samples
        The images.

    Raises
    ------
    ValueError
        For no samples, or a template that puts the question before the image.
    """

    def __init__(self, vlm: Vlm, task: AbstractTask, samples: Sequence[Sample]) -> None:
        if not samples:
            raise ValueError("`samples` must hold at least one image, got none")
        self.vlm, self.task, self.samples = vlm, task, list(samples)
        processor: Any = vlm.processor
        pixels = processor.image_processor([sample.image for sample in samples], return_tensors="pt")["pixel_values"]
        self.encoded = encode_images(vlm, pixels)
        prompts = iter(tokenise(vlm, [question.question for sample in samples for question in sample.questions]))
        self.prompts = [[next(prompts) for _ in sample.questions] for sample in self.samples]
        before = {prompt.before for asked in self.prompts for prompt in asked}
        if len(before) != 1:
            raise ValueError("the prompt template must put the image before the question")
        self.before: tuple[int, ...] = before.pop()
        self.tokens = vlm.adapter.tokens(vlm.model)

    @property
    def start(self) -> int:
        """Column, and position id, of the first visual token."""
        return len(self.before)

    def question(self, image: int, number: int) -> Question:
        return self.samples[image].questions[number]

    def answered(self, kept: Kept | None = None, *, max_new_tokens: int = 16, **labels: Any) -> pd.DataFrame:
        """A row per question, in their order: `labels`, image_id, question_id, task, prediction, correct.

        Parameters
        ----------
        kept
            Visual tokens that stay, at their own position ids; None keeps all.
        max_new_tokens
            Longest answer.
        labels
            Columns in front.
        """
        together: dict[tuple[int, bytes], list[int]] = defaultdict(list)
        everything = np.arange(self.tokens)
        for image, asked in enumerate(self.prompts):
            for number in range(len(asked)):
                tokens = everything if kept is None else np.asarray(kept[image, number], dtype=np.int64)
                together[image, tokens.tobytes()].append(number)
        contexts = [
            self._context(image, np.frombuffer(tokens, dtype=np.int64), numbers)
            for (image, tokens), numbers in together.items()
        ]
        found = answer_texts(self.vlm, contexts, max_new_tokens=max_new_tokens)
        texts = {
            (image, number): text
            for ((image, _), numbers), answers in zip(together.items(), found, strict=True)
            for number, text in zip(numbers, answers, strict=True)
        }
        return pd.DataFrame([labels | self._row(*place, texts[place]) for place in sorted(texts)])

    def asked(self, image: int) -> Asked:
        """Read an image with all its questions once, so that its attention layers can be run again."""
        context = self._context(image, np.arange(self.tokens), range(len(self.prompts[image])))
        with replayable(self.vlm) as replay:
            answer_tokens(self.vlm, [context], max_new_tokens=1)
        return Asked(replay, tuple(torch.tensor(columns) for columns in context.columns))

    def attention(self, asked: Asked, arrangement: str = "true", *, seed: int = 0, asking: str = "last") -> Tensor:
        """Attention to the visual tokens, each layer recomputed alone, float32 [question, layer, head, token].

        Parameters
        ----------
        asked
            The image.
        arrangement, seed
            Position ids, see `arranged`.
        asking
            "last": the last prompt token. "text": mean over the words behind the image without the last (for a
            question of one word, that word).
        """
        ids = arranged(asked.replay.position_ids, self.start, self.tokens, arrangement, seed=seed)
        layers = range(len(asked.replay.layers))
        visual = slice(self.start, self.start + self.tokens)
        if asking == "last":
            ends = torch.stack([words[-1] for words in asked.words])[None]
            rows = [asked.replay.call(layer, ids).rows(ends)[0, ..., visual] for layer in layers]
            return torch.stack(rows, 1).permute(2, 1, 0, 3)
        if asking != "text":
            raise ValueError(f"`asking` must be 'last' or 'text', got {asking!r}")
        calls = [asked.replay.call(layer, ids) for layer in layers]
        means = [
            torch.stack([call.rows((words[:-1] if len(words) > 1 else words)[None])[0].mean(1) for call in calls])
            for words in asked.words
        ]
        return torch.stack(means)[..., visual]

    def _context(self, image: int, kept: IntArray, numbers: Sequence[int]) -> Context:
        visual = self.encoded.projected[image]
        return Context(
            before=self.before,
            visual=visual[torch.tensor(kept, device=visual.device)],
            kept=kept,
            total=self.tokens,
            after=tuple(self.prompts[image][number].after for number in numbers),
        )

    def _row(self, image: int, number: int, prediction: str) -> dict[str, Any]:
        question = self.question(image, number)
        return {
            "image_id": self.samples[image].image_id,
            "question_id": question.question_id,
            "task": question.task,
            "prediction": prediction,
            "correct": self.task.correct(question, prediction),
        }
