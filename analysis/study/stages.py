"""The stages that compute: attention, selection, accuracy, and attention for the explorer. Each resumes
from its own store."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pandas as pd
import xarray as xr

from analysis.capture import capture_dataset, default_reducers, named_reducers
from analysis.evaluation import evaluate
from analysis.models import Vlm
from analysis.pruning import VisualTokens
from analysis.pruning.pruners.features import relevance
from solvers import Problem, compare
from solvers.files import data_folder

from .settings import OBJECTIVES
from .subject import Subject, tokens_per_question

MANY = 256
"""Images from which the start of several processes is paid back."""


def attention(subject: Subject) -> xr.Dataset:
    """Attention of vision CLS and last text token, on the first question of each captured image."""
    samples = subject.samples(subject.settings.captured)
    return _of_one_grid(capture_dataset(subject.vlm, samples, str(subject.work / "attention.zarr")))


def selection(subject: Subject) -> pd.DataFrame:
    """Every solver and published rule on the tokens of some images, under every objective: rows of `compare`."""
    samples = subject.samples(subject.settings.problems)
    problems = [
        problem_of(tokens[0], subject.settings.budget, f"image {sample.image_id}")
        for sample, tokens in zip(samples, tokens_per_question(subject, samples), strict=True)
    ]
    frames = [
        compare(
            problems,
            objective=objective,
            time_limit=subject.settings.seconds_per_solve,
            n_jobs=min(len(problems), os.cpu_count() or 1),
            store=subject.work / "selection",
        ).frame
        for objective in OBJECTIVES
    ]
    return pd.concat(frames, ignore_index=True)


def problem_of(tokens: VisualTokens, budget: int, id: str) -> Problem:
    """Selection among the tokens of an image as the language model sees them, with the evidence that rules read."""
    assert tokens.text is not None
    assert tokens.attention_map is not None
    return Problem.from_features(
        tokens.projected,
        min(budget, len(tokens)),
        signals={
            "cls": tokens.evidence("cls"),
            "attention_map": tokens.attention_map,
            "relevance": relevance(tokens.unit, tokens.text),
            "text": np.asarray(tokens.text).mean(0, keepdims=True),  # the vector that the pruner of the same name uses
        },
        grid=tokens.grid,
        id=id,
    )


def accuracy(subject: Subject) -> pd.DataFrame:
    """A row per question under every pruner and budget."""
    images = min(subject.settings.images, len(subject.task))
    rows = evaluate(
        _loadable(subject.vlm),
        subject.task,
        subject.pruners,
        subject.keeps,
        store=subject.work / "accuracy",
        position_ids="keep",  # the same for all, so that the table compares which tokens are kept and nothing else
        images=images,
        n_jobs=os.cpu_count() if images >= MANY else 1,
    )
    return rows.assign(model=subject.vlm.id)


def _loadable(vlm: Vlm) -> Vlm:
    """Under an id by which other processes find it: the embedded model goes by its name in the repository."""
    return replace(vlm, id=str(data_folder("mini_llava"))) if vlm.id == "data/mini_llava" else vlm


def explored_attention(subject: Subject) -> xr.Dataset:
    """Attention as in `attention`, but head means, for every question of the explorer's images: "image" counts both."""
    asked = [
        (f"{sample.image_id}, question {number}", sample.image, question.question)
        for sample in subject.samples(subject.settings.shown)
        for number, question in enumerate(sample.questions)
    ]
    reducers = named_reducers(default_reducers(subject.vlm.adapter), heads=False)
    store = str(subject.work / "explorer.zarr")
    return _of_one_grid(capture_dataset(subject.vlm, asked, store, reducers=reducers))


def _of_one_grid(dump: xr.Dataset | xr.DataTree) -> xr.Dataset:
    if isinstance(dump, xr.DataTree):
        raise ValueError(f"a study needs images of one grid of visual tokens, got {', '.join(map(str, dump.children))}")
    return dump
