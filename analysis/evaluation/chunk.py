"""Some images with their questions, encoded once and answered under one setting after another."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch

from analysis.models import Vlm
from analysis.pruning.encode import encode_images
from analysis.pruning.inputs import PositionPolicy
from analysis.pruning.pruner import AbstractPruner
from analysis.pruning.tokens import VisualTokens
from solvers.arrays import IntArray
from solvers.provenance import provenance

from .answering import Context, answer_texts
from .cost import Cost, cost
from .prompts import tokenise
from .settings import Setting
from .tasks import AbstractTask, Sample


class Chunk:
    """Some images with their questions: encoded once, then answered under one setting after another.

    What was answered with the same tokens of the same image before is not asked again: seeds of a pruner that does
    not draw, a budget of all tokens, two pruners that agree.
    """

    def __init__(
        self,
        vlm: Vlm,
        task: AbstractTask,
        samples: Sequence[Sample],
        settings: Sequence[Setting],
        max_new_tokens: int,
    ) -> None:
        self.vlm, self.task, self.samples, self.max_new_tokens = vlm, task, samples, max_new_tokens
        needs = {need for setting in settings if setting.pruner for need in setting.pruner.needs}
        processor: Any = vlm.processor
        pixels = processor.image_processor([sample.image for sample in samples], return_tensors="pt")["pixel_values"]
        self.encoded = encode_images(vlm, pixels, needs)
        prompts = iter(tokenise(vlm, [question.question for sample in samples for question in sample.questions]))
        self.prompts = [[next(prompts) for _ in sample.questions] for sample in samples]
        self.words = self._embed_words() if "text" in needs else None
        self.known: dict[tuple[int, int, bytes], str] = {}
        self.costs: dict[tuple[int, int], Cost] = {}
        self.provenance = provenance()

    def run(self, setting: Setting) -> pd.DataFrame:
        """The rows of one setting."""
        asked: list[tuple[int, int, IntArray, float]] = []
        for image in range(len(self.samples)):
            asked += [(image, number, *choice) for number, choice in enumerate(self._selections(setting, image))]
        self._answer([entry[:3] for entry in asked], setting.policy)
        return pd.DataFrame([self._row(setting, *entry) for entry in asked])

    def _embed_words(self) -> list[list[np.ndarray]]:
        embedding = self.vlm.adapter.embedding(self.vlm.model)
        with torch.no_grad():
            return [
                [
                    embedding(torch.tensor(prompt.after, device=self.vlm.device)).float().cpu().numpy()
                    for prompt in prompts
                ]
                for prompts in self.prompts
            ]

    def _selections(self, setting: Setting, image: int) -> list[tuple[IntArray, float]]:
        """For each question of an image the kept tokens, and the milliseconds that finding them took."""
        questions = self.samples[image].questions
        tokens = self.encoded[image]
        pruner = setting.pruner
        if pruner is None:
            return [(np.arange(len(tokens)), 0.0)] * len(questions)
        tokens = replace(tokens, seed=setting.seed)
        if not pruner.question_aware:
            return [_timed(pruner, tokens, setting.keep)] * len(questions)
        words = self.words[image] if self.words is not None else [None] * len(questions)
        # ground truth may count in another grid than the model's, so only those see it who ask for it
        truth = [question.needed if "needed" in pruner.needs else None for question in questions]
        return [
            _timed(pruner, replace(tokens, text=text, needed=needed), setting.keep)
            for text, needed in zip(words, truth, strict=True)
        ]

    def _answer(self, asked: Sequence[tuple[int, int, IntArray]], policy: PositionPolicy) -> None:
        """Fill `known` for (image, question, kept tokens); questions with equal prefix go into one context."""
        together: dict[tuple[int, bytes, tuple[int, ...]], list[int]] = defaultdict(list)
        for image, number, kept in asked:
            if (image, number, kept.tobytes()) not in self.known:
                together[image, kept.tobytes(), self.prompts[image][number].before].append(number)
        contexts = [
            self._context(image, np.frombuffer(tokens, dtype=np.int64), numbers)
            for (image, tokens, _), numbers in together.items()
        ]
        answers = answer_texts(self.vlm, contexts, position_ids=policy, max_new_tokens=self.max_new_tokens)
        for ((image, tokens, _), numbers), found in zip(together.items(), answers, strict=True):
            self.known.update(((image, number, tokens), text) for number, text in zip(numbers, found, strict=True))

    def _context(self, image: int, kept: IntArray, numbers: Sequence[int]) -> Context:
        prompts = [self.prompts[image][number] for number in numbers]
        visual = self.encoded.projected[image]
        return Context(
            before=prompts[0].before,
            visual=visual[torch.tensor(kept, device=visual.device)],
            kept=kept,
            total=len(visual),
            after=tuple(prompt.after for prompt in prompts),
        )

    def _row(self, setting: Setting, image: int, number: int, kept: IntArray, milliseconds: float) -> dict[str, Any]:
        sample, prompt = self.samples[image], self.prompts[image][number]
        question = sample.questions[number]
        prediction = self.known[image, number, kept.tobytes()]
        size = len(kept), prompt.n_text
        if size not in self.costs:
            self.costs[size] = cost(self.vlm, *size)
        return {
            "model": self.vlm.id,
            "pruner": setting.name,
            "keep": setting.keep,
            "kept": len(kept),
            "position_ids": setting.policy,
            "seed": setting.seed,
            "image_id": sample.image_id,
            "question_id": question.question_id,
            "task": question.task,
            "question": question.question,
            "answer": question.answer,
            "prediction": prediction,
            "correct": self.task.correct(question, prediction),
            "n_text": prompt.n_text,
            "flops": self.costs[size].flops,
            "kv_bytes": self.costs[size].kv_bytes,
            "select_ms": milliseconds,
            **self.provenance,
        }


def _timed(pruner: AbstractPruner, tokens: VisualTokens, keep: int) -> tuple[IntArray, float]:
    start = time.perf_counter()
    kept = pruner.select(tokens, keep)
    return kept, 1e3 * (time.perf_counter() - start)
