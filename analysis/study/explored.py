"""Pruners inside the language model on the images of the explorer: what they leave, stage by stage, and the answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from analysis.evaluation.settings import settings_of
from analysis.evaluation.sharding import binding
from analysis.evaluation.store import ResultStore
from analysis.evaluation.tasks import Sample
from analysis.models import Vlm
from analysis.pruning import prune
from analysis.pruning.inside.evidence import StageEvidence
from analysis.pruning.inside.stage import AbstractInnerPruner
from solvers.arrays import IntArray
from solvers.progress import progress_bar
from solvers.rules import Stage

from .subject import Subject

MAX_NEW_TOKENS = 16


@dataclass(frozen=True)
class Watched(AbstractInnerPruner):
    """Another pruner, whose choices for a single prompt are taken down.

    Parameters
    ----------
    pruner
        What chooses.
    tokens
        Visual tokens of the prompt.
    """

    pruner: AbstractInnerPruner
    tokens: int
    _left: dict[int, IntArray] = field(default_factory=dict, init=False, repr=False, compare=False)
    """By layer from 0, which token each of those from there on is; -1 stands for several."""

    @property
    def name(self) -> str:
        return self.pruner.name

    @property
    def needs(self) -> frozenset[str]:
        return self.pruner.needs

    @property
    def cite(self) -> str:
        return self.pruner.cite

    def left(self) -> dict[int, list[int]]:
        """By layer from 1, the tokens that are left from it on, ascending; those that were merged are none of them."""
        return {layer + 1: sorted(token for token in left.tolist() if token >= 0) for layer, left in self._left.items()}

    def _stages(self, tokens: int, layers: int, keep: int) -> tuple[Stage, ...]:
        return self.pruner.stages(tokens, layers, keep)

    def _choose(self, evidence: StageEvidence, stage: Stage) -> IntArray:
        kept = self.pruner.choose(evidence, stage)
        before = next(reversed(self._left.values()), np.arange(self.tokens))
        merged = stage.merged if len(kept) < evidence.tokens else 0
        self._left[stage.layer] = np.concatenate([before[kept], np.full(merged, -1)])
        return kept

    def _clusters(self, evidence: StageEvidence, stage: Stage, kept: IntArray) -> IntArray:
        return self.pruner.clusters(evidence, stage, kept)


def explored(subject: Subject) -> pd.DataFrame:
    """A row per question of the explorer's images, pruner inside the language model and budget; resumes by setting.

    Columns image_id, question_id, pruner, keep, prediction, correct, and stages: by layer from 1 the tokens that are
    left from it on, as JSON. Position ids stay as they are, as everywhere in a study.
    """
    settings = settings_of(subject.vlm, subject.task, subject.explored, subject.keeps, (0,), "keep")[1:]
    if not settings:
        return pd.DataFrame(columns=["image_id", "question_id", "pruner", "keep", "prediction", "correct", "stages"])
    bound = binding(subject.vlm, subject.task) | {"max_new_tokens": MAX_NEW_TOKENS}
    results = ResultStore(subject.work / "explorer", bound)
    samples = subject.samples(subject.settings.shown)
    parts = []
    with progress_bar(True) as bar:
        job = bar.add_task("explorer", total=len(settings))
        for setting in settings:
            part = setting.part(0, len(samples))
            assert isinstance(setting.pruner, AbstractInnerPruner)
            if part not in results:
                results.put(part, _answered(subject, setting.pruner, int(setting.keep), samples))
            parts.append(part)
            bar.advance(job)
    return results.read(parts)


def _answered(subject: Subject, pruner: AbstractInnerPruner, keep: int, samples: Sequence[Sample]) -> pd.DataFrame:
    rows = []
    for sample in samples:
        for question in sample.questions:
            watched = watching(subject.vlm, pruner)
            with prune(subject.vlm, watched, keep, position_ids="keep"):
                prediction = subject.vlm.answer(sample.image, question.question, MAX_NEW_TOKENS)
            rows.append(
                {
                    "image_id": sample.image_id,
                    "question_id": question.question_id,
                    "pruner": pruner.name,
                    "keep": keep,
                    "prediction": prediction,
                    "correct": subject.task.correct(question, prediction),
                    "stages": json.dumps(watched.left()),
                }
            )
    return pd.DataFrame(rows)


def watching(vlm: Vlm, pruner: AbstractInnerPruner) -> Watched:
    """`pruner`, to be used for one prompt with one image."""
    return Watched(pruner, vlm.adapter.tokens(vlm.model))
