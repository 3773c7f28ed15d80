"""Greedy answers by the model's own `generate`, for what packed answering cannot do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import torch

from analysis.models import Vlm
from analysis.pruning import prune

from .answer import Answer
from .settings import Setting
from .sizes import ImageSize
from .tasks import Question, Sample

PROMPTS_PER_BATCH = 16
TOKENS_PER_BATCH = 16_384
"""Bound on the visual tokens of a batch; an image that has more goes alone."""

Place = tuple[int, int]
"""Number of an image, and of one of its questions."""


class Generated:
    """Answers about some images by `generate` inside `prune`, in batches of prompts.

    An image that a budget leaves whole is asked about once, without pruning, for all settings: keeping all tokens is
    the stock computation.
    """

    def __init__(self, vlm: Vlm, samples: Sequence[Sample], sizes: Sequence[ImageSize], max_new_tokens: int) -> None:
        self.vlm, self.samples, self.sizes, self.max_new_tokens = vlm, samples, sizes, max_new_tokens
        self.places = [
            (image, number) for image, sample in enumerate(samples) for number in range(len(sample.questions))
        ]
        self.whole: dict[Place, Answer] = {}

    def answers(self, setting: Setting) -> list[Answer]:
        """An answer per question, image by image."""
        whole = [place for place in self.places if self._left_whole(setting, place)]
        missing = [place for place in whole if place not in self.whole]
        self.whole |= zip(missing, self._generate(missing, None), strict=True)
        pruned = [place for place in self.places if not self._left_whole(setting, place)]
        found = self.whole | dict(zip(pruned, self._generate(pruned, setting), strict=True))
        return [found[place] for place in self.places]

    def _left_whole(self, setting: Setting, place: Place) -> bool:
        return setting.pruner is None or self.sizes[place[0]].kept_whole(setting.keep)

    @torch.no_grad()
    def _generate(self, places: Sequence[Place], setting: Setting | None) -> list[Answer]:
        model: Any = self.vlm.model
        found = []
        for batch in self._batches(places):
            asked = [self.samples[image].questions[number] for image, number in batch]
            pictures = [self.samples[image].image for image, _ in batch]
            inputs = self.vlm.prepare(pictures, [question.question for question in asked])
            with self._pruned(setting, asked) as log:
                ids = model.generate(**inputs, max_new_tokens=self.max_new_tokens, do_sample=False)
            texts = self.vlm.decode(ids[:, inputs["input_ids"].shape[1] :])
            by_layer = [self._unpruned(image) for image, _ in batch] if log is None else log.visual_tokens.tolist()
            for text, counts, words in zip(texts, by_layer, self._words(inputs), strict=True):
                found.append(Answer(text, tuple(counts), self._kept(counts), words, float("nan")))
        return found

    def _batches(self, places: Sequence[Place]) -> Iterator[list[Place]]:
        """Neighbours, which are about the same image or the next: padded to the longest of them."""
        batch: list[Place] = []
        for place in places:
            longest = max(self.sizes[image].placeholders for image, _ in [*batch, place])
            if batch and (len(batch) == PROMPTS_PER_BATCH or longest * (len(batch) + 1) > TOKENS_PER_BATCH):
                yield batch
                batch = []
            batch.append(place)
        if batch:
            yield batch

    def _pruned(self, setting: Setting | None, asked: Sequence[Question]) -> Any:
        if setting is None or setting.pruner is None:
            return nullcontext()
        truth = [question.needed for question in asked] if "needed" in setting.pruner.needs else None
        return prune(
            self.vlm,
            setting.pruner,
            setting.keep,
            position_ids=setting.policy,
            separators=setting.separators,
            tiles=setting.tiles,
            seed=setting.seed,
            needed=truth,
        )

    def _words(self, inputs: Any) -> list[int]:
        """Text tokens of each prompt: all, but for padding and placeholders; a word that stands for an image counts."""
        mask = inputs["attention_mask"].bool()
        if not self.vlm.adapter.cross_attention:
            mask = mask & (inputs["input_ids"] != self.vlm.adapter.image_token_id(self.vlm.model))
        counts: list[int] = mask.sum(1).tolist()
        return counts

    def _unpruned(self, image: int) -> list[int]:
        layers, tokens = len(self.vlm.adapter.text_layers(self.vlm.model)), self.sizes[image].placeholders
        attending = self._attending()
        return [tokens if attending is None or layer in attending else 0 for layer in range(layers)]

    def _kept(self, by_layer: Sequence[int]) -> int:
        attending = self._attending()
        return int(by_layer[-1 if attending is None else max(attending)])

    def _attending(self) -> list[int] | None:
        """Layers that attend to visual tokens beside the prompt; None where they stand in it and all layers do."""
        if not self.vlm.adapter.cross_attention:
            return None
        text: Any = self.vlm.model.config.get_text_config()
        return list(text.cross_attention_layers)
