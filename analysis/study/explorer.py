"""The pictures of the token explorer: what is kept, attended to and answered, question by question."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pandas as pd
import xarray as xr

from analysis.metrics.sources import rows_by_source
from analysis.pruning import VisualTokens
from analysis.report import ExplorerImage, ExplorerQuestion, Reply
from solvers.arrays import Float64Array

from .subject import Subject, tokens_per_question


def explorer_images(
    subject: Subject, accuracy: pd.DataFrame, explored: pd.DataFrame, attention: xr.Dataset
) -> list[ExplorerImage]:
    """Some pictures with what every pruner keeps for each question, what the model attends to, and what it answers.

    Parameters
    ----------
    subject
        The model and its benchmark.
    accuracy
        Rows of `evaluate`.
    explored
        Rows of `explored.explored`.
    attention
        What `stages.explored_attention` captured.
    """
    samples = subject.samples(subject.settings.shown)
    replies = _replies(pd.concat([accuracy, explored], ignore_index=True))
    all_stages = _stages(explored)
    rows = iter(_attention(attention))
    everything = range(subject.grid[0] * subject.grid[1])
    shown = []
    for sample, per_question in zip(samples, tokens_per_question(subject, samples), strict=True):
        fixed = _selections(subject, per_question[0], aware=False)
        asked = []
        for question, tokens in zip(sample.questions, per_question, strict=True):
            encoder, inside = next(rows)
            stages = all_stages.get(question.question_id, {})
            last = {choice: next(reversed(left.values()), everything) for choice, left in stages.items()}
            asked.append(
                ExplorerQuestion(
                    question=question.question,
                    answer=question.answer,
                    task=question.task,
                    kept={**fixed, **_selections(subject, tokens, aware=True), **last},
                    replies=replies.get(question.question_id, {}),
                    needed=[] if tokens.needed is None else tokens.needed.tolist(),
                    attention=inside,
                    stages=stages,
                )
            )
        shown.append(ExplorerImage(f"image {sample.image_id}", sample.image, subject.grid, asked, encoder))
    return shown


def _selections(subject: Subject, tokens: VisualTokens, *, aware: bool) -> dict[tuple[str, int], list[int]]:
    pruners = [pruner for pruner in subject.pruners if pruner.question_aware == aware]
    return {(p.name, keep): p.select(tokens, keep).tolist() for p in pruners for keep in subject.keeps}


def _stages(explored: pd.DataFrame) -> dict[int | str, dict[tuple[str, int], dict[int, list[int]]]]:
    found: dict[int | str, dict[tuple[str, int], dict[int, list[int]]]] = {}
    columns = (explored[name].tolist() for name in ("question_id", "pruner", "keep", "stages"))
    for question, pruner, keep, stages in zip(*columns, strict=True):
        left = {int(layer): tokens for layer, tokens in json.loads(stages).items()}
        found.setdefault(question, {})[pruner, keep] = left
    return found


def _replies(answers: pd.DataFrame) -> dict[int | str, dict[tuple[str, int], Reply]]:
    found: dict[int | str, dict[tuple[str, int], Reply]] = {}
    columns = (answers[name].tolist() for name in ("question_id", "pruner", "keep", "prediction", "correct"))
    for question, pruner, keep, prediction, correct in zip(*columns, strict=True):
        found.setdefault(question, {})[pruner, keep] = Reply(prediction, correct)
    return found


Attention = dict[tuple[str, int], Float64Array]


def _attention(dump: xr.Dataset) -> Iterator[tuple[Attention, Attention]]:
    """For each question its attention in the encoder and in the language model, by source and layer."""
    by_source = list(rows_by_source(dump.load(), heads=False))
    for at in range(dump.sizes["image"]):
        encoder: Attention = {}
        inside: Attention = {}
        for source, rows in by_source:
            for layer in rows["layer"].values.tolist():
                part = encoder if source.startswith("vision") else inside
                part[source, layer] = rows.isel(image=at).sel(layer=layer).to_numpy()
        yield encoder, inside
