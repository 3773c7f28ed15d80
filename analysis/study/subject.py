"""What is studied, and its tokens with everything that pruners and solvers may ask about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from analysis.evaluation import AbstractTask, Sample
from analysis.evaluation.prompts import tokenise
from analysis.models import Vlm
from analysis.pruning import AbstractPruner, VisualTokens, encode_images
from analysis.pruning.inside.stage import AbstractInnerPruner

from .settings import EXPLORED, PRUNERS, Settings


@dataclass(frozen=True)
class Subject:
    """A model on the first images of a benchmark, and the folder of unfinished work."""

    vlm: Vlm
    task: AbstractTask
    settings: Settings
    work: Path

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of visual tokens."""
        return self.vlm.adapter.grid(self.vlm.model)

    @property
    def pruners(self) -> tuple[AbstractPruner, ...]:
        """Those that can run: what an answer needs is known on the benchmark's own grid only."""
        return tuple(p for p in PRUNERS if "needed" not in p.needs or self.task.needed_grid in (None, self.grid))

    @property
    def explored(self) -> tuple[AbstractInnerPruner, ...]:
        """Pruners inside the language model: only where visual tokens are in the prompt."""
        return () if self.vlm.adapter.cross_attention else EXPLORED

    @property
    def keeps(self) -> tuple[int, ...]:
        """Budgets that are below the number of tokens."""
        return tuple(keep for keep in self.settings.keeps if keep < self.grid[0] * self.grid[1])

    def samples(self, count: int) -> list[Sample]:
        """The first `count` samples, or all if there are fewer."""
        return list(islice(iter(self.task), count))


def pixels_of(subject: Subject, samples: Sequence[Sample]) -> torch.Tensor:
    """Preprocessed pictures [image, channel, y, x]."""
    processor: Any = subject.vlm.processor
    pictures = [sample.image for sample in samples]
    pixels: torch.Tensor = processor.image_processor(pictures, return_tensors="pt")["pixel_values"]
    return pixels


def tokens_per_question(subject: Subject, samples: Sequence[Sample]) -> list[list[VisualTokens]]:
    """For each sample and each of its questions the image's tokens, with the question's words and ground truth."""
    needs = {need for pruner in subject.pruners for need in pruner.needs}
    encoded = encode_images(subject.vlm, pixels_of(subject, samples), needs)
    embedding = subject.vlm.adapter.embedding(subject.vlm.model)
    found = []
    for tokens, sample in zip(encoded, samples, strict=True):
        asked = []
        for question, prompt in zip(
            sample.questions, tokenise(subject.vlm, [q.question for q in sample.questions]), strict=True
        ):
            with torch.no_grad():
                words = embedding(torch.tensor(prompt.after, device=subject.vlm.device))
            needed = question.needed if subject.task.needed_grid in (None, subject.grid) else None
            asked.append(replace(tokens, text=words.float().cpu().numpy(), needed=needed))
        found.append(asked)
    return found
