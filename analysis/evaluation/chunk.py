"""Some images with their questions, answered under one setting after another: the rows of a table."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import pandas as pd

from analysis.models import Vlm
from solvers.provenance import provenance

from .answer import Answer, run_lengths
from .generating import Generated
from .packed import Packed
from .settings import Setting
from .sizes import Counter, sizes_of
from .tasks import AbstractTask, Sample


class Chunk:
    """Some images with their questions, to be answered under the given settings.

    Images are encoded once for all settings whose questions can be packed; the others are run by `generate` in the
    model itself.

    Raises
    ------
    ValueError
        If a pruner needs ground truth of images that the model cuts into several pictures.
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
        self.settings = settings
        self.sizes = sizes_of(vlm, samples)
        self.counter = Counter(vlm)
        self.provenance = provenance()
        self._check_ground_truth()

    @cached_property
    def packed(self) -> Packed:
        """What answers packed settings."""
        return Packed(self.vlm, self.samples, [entry for entry in self.settings if entry.packed], self.max_new_tokens)

    @cached_property
    def generated(self) -> Generated:
        """What answers the others."""
        return Generated(self.vlm, self.samples, self.sizes, self.max_new_tokens)

    def run(self, setting: Setting) -> pd.DataFrame:
        """The rows of one setting."""
        answers = (self.packed if setting.packed else self.generated).answers(setting)
        places = (
            (image, number) for image, sample in enumerate(self.samples) for number in range(len(sample.questions))
        )
        return pd.DataFrame([self._row(setting, *place, answer) for place, answer in zip(places, answers, strict=True)])

    def _check_ground_truth(self) -> None:
        guided = [entry.name for entry in self.settings if entry.pruner and "needed" in entry.pruner.needs]
        cut = [(sample, size) for sample, size in zip(self.samples, self.sizes, strict=True) if size.pictures > 1]
        if guided and cut:
            sample, size = cut[0]
            raise ValueError(
                f"pruner {guided[0]!r} needs ground truth, which task {self.task.name!r} states for whole images; this "
                f"model cuts image {sample.image_id} into {size.pictures} pictures"
            )

    def _row(self, setting: Setting, image: int, number: int, answer: Answer) -> dict[str, Any]:
        sample, size = self.samples[image], self.sizes[image]
        question = sample.questions[number]
        flops, kv_bytes = self.counter.count(size, answer.by_layer, answer.n_text)
        return {
            "model": self.vlm.id,
            "pruner": setting.name,
            "keep": setting.keep,
            "kept": answer.kept,
            "visual_tokens": sum(answer.by_layer) / len(answer.by_layer),
            "tokens_by_layer": run_lengths(answer.by_layer),
            "position_ids": setting.policy,
            "tiles": setting.tiles,
            "separators": setting.separators,
            "seed": setting.seed,
            "image_id": sample.image_id,
            "question_id": question.question_id,
            "task": question.task,
            "question": question.question,
            "answer": question.answer,
            "prediction": answer.prediction,
            **self.task.marks(question, answer.prediction),
            "n_visual": size.tokens,
            "n_text": answer.n_text,
            "flops": flops,
            "kv_bytes": kv_bytes,
            "select_ms": answer.milliseconds,
            **self.provenance,
        }
