"""Answers about some images that are encoded once, packed: for models that see an image as one picture."""

from __future__ import annotations

import functools
import inspect
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from analysis.models import Vlm
from analysis.pruning.encode import encode_images
from analysis.pruning.inputs import PositionPolicy
from analysis.pruning.merger import AbstractMerger
from analysis.pruning.selection import Kept, Selector
from analysis.pruning.tokens import VisualTokens
from solvers.arrays import IntArray

from .answer import Answer
from .answering import Context, answer_texts
from .prompts import tokenise
from .settings import Setting
from .tasks import Question, Sample

_ALL = b"all"


@dataclass(frozen=True, eq=False)
class _Asked:
    """A question on its way to an answer under one setting; equal names of what is kept mean equal answers."""

    image: int
    number: int
    kept: Kept
    name: bytes
    milliseconds: float


class Packed:
    """Answers about some images, encoded once for all settings.

    What was answered with the same tokens of the same image at the same positions before is not asked again: seeds of a
    pruner that does not draw, a budget of all tokens, two pruners that agree.
    """

    def __init__(self, vlm: Vlm, samples: Sequence[Sample], settings: Sequence[Setting], max_new_tokens: int) -> None:
        self.vlm, self.samples, self.max_new_tokens = vlm, samples, max_new_tokens
        self.layers = len(vlm.adapter.text_layers(vlm.model))
        needs = {need for setting in settings if setting.pruner for need in setting.pruner.needs}
        self.encoded = encode_images(vlm, **self._pictures(), needs=needs)
        prompts = iter(tokenise(vlm, [question.question for sample in samples for question in sample.questions]))
        self.prompts = [[next(prompts) for _ in sample.questions] for sample in samples]
        self.words = self._embed_words() if "text" in needs else None
        self.known: dict[tuple[int, int, bytes], str] = {}

    def answers(self, setting: Setting) -> list[Answer]:
        """An answer per question, image by image."""
        asked = [entry for image in range(len(self.samples)) for entry in self._selections(setting, image)]
        self._answer(asked, setting.policy)
        return [
            Answer(
                self.known[entry.image, entry.number, entry.name],
                (len(entry.kept.places),) * self.layers,
                len(entry.kept.places),
                self.prompts[entry.image][entry.number].n_text,
                entry.milliseconds,
            )
            for entry in asked
        ]

    def _pictures(self) -> dict[str, Any]:
        """What the family's encoder takes of all images."""
        processor: Any = self.vlm.processor
        base: Any = self.vlm.model.base_model
        made = processor.image_processor([sample.image for sample in self.samples], return_tensors="pt")
        return {name: made[name] for name in inspect.signature(base.get_image_features).parameters if name in made}

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

    def _selections(self, setting: Setting, image: int) -> list[_Asked]:
        """For each question of an image the kept tokens, and the milliseconds that finding them took."""
        questions, pruner = self.samples[image].questions, setting.pruner
        if pruner is None:
            everything = Kept(np.arange(self.encoded.layouts[image].tokens))
            return [_Asked(image, number, everything, _ALL, 0.0) for number in range(len(questions))]
        adapter, model = self.vlm.adapter, self.vlm.model
        selector = Selector(
            pruner,
            setting.keep,
            reorder=setting.policy == "compact",
            project=functools.partial(adapter.project, model) if adapter.projects_tokens else None,
        )
        merges = setting.name.encode() if isinstance(pruner, AbstractMerger) else b""
        found: list[_Asked] = []
        for number, question in enumerate(questions):
            if number and not pruner.question_aware:
                found.append(replace(found[0], number=number))
                continue
            asked = functools.partial(self._asked, setting=setting, image=image, number=number, question=question)
            start = time.perf_counter()
            with torch.no_grad():
                kept = selector.of_image(self.encoded, image, asked)
            milliseconds = 1e3 * (time.perf_counter() - start)
            # other positions are another prompt, and merged tokens are other tokens than those at the same places
            name = setting.policy.encode() + kept.places.tobytes() + (merges if kept.merged is not None else b"")
            if len(kept.places) == len(self.encoded.projected[image]) and kept.merged is None:
                name = _ALL
            found.append(_Asked(image, number, kept, name, milliseconds))
        return found

    def _asked(
        self, tokens: VisualTokens, *, setting: Setting, image: int, number: int, question: Question
    ) -> VisualTokens:
        """The tokens as the pruner of a setting sees them when a question is asked."""
        assert setting.pruner is not None
        tokens = tokens.seeded(setting.seed)
        if self.words is not None and "text" in setting.pruner.needs:
            tokens = tokens.asked(self.words[image][number])
        # ground truth may count in another grid than the model's, so only those see it who ask for it
        if question.needed is not None and "needed" in setting.pruner.needs:
            tokens = tokens.with_needed(question.needed)
        return tokens

    def _answer(self, asked: Sequence[_Asked], policy: PositionPolicy) -> None:
        """Fill `known`; questions with equal prefix go into one context."""
        together: dict[tuple[int, bytes, tuple[int, ...]], list[_Asked]] = defaultdict(list)
        for entry in asked:
            if (entry.image, entry.number, entry.name) not in self.known:
                together[entry.image, entry.name, self.prompts[entry.image][entry.number].before].append(entry)
        contexts = [self._context(entries) for entries in together.values()]
        answers = answer_texts(self.vlm, contexts, position_ids=policy, max_new_tokens=self.max_new_tokens)
        for entries, found in zip(together.values(), answers, strict=True):
            for entry, text in zip(entries, found, strict=True):
                self.known[entry.image, entry.number, entry.name] = text

    def _context(self, entries: Sequence[_Asked]) -> Context:
        first = entries[0]
        prompts = [self.prompts[entry.image][entry.number] for entry in entries]
        every: Tensor = self.encoded.projected[first.image]
        places: IntArray = first.kept.places
        own = every[torch.tensor(places, device=every.device)]
        return Context(
            before=prompts[0].before,
            visual=own if first.kept.merged is None else first.kept.merged,
            kept=places,
            total=len(every),
            after=tuple(prompt.after for prompt in prompts),
        )
