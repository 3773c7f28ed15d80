"""What a report is made of. Every table is a frame that the measuring code has finished: nothing is computed here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from PIL import Image

from analysis.figures import frames

Choice = tuple[str, int]
"""Pruner name and number of tokens kept."""


class Stage(NamedTuple):
    """One step of the run."""

    name: str
    seconds: float
    detail: str = ""
    """What was done, for example "432 images, 6 + 8 layers"."""


class OutputFile(NamedTuple):
    """A file that the run wrote."""

    name: str
    """Path relative to the report."""
    detail: str


@dataclass(frozen=True)
class ExplorerQuestion:
    """One question about a picture, with what every pruner kept for it.

    Attributes
    ----------
    question, answer, task
        As in the benchmark.
    kept
        (pruner, keep) to the token indices kept. Pruners that do not read the question have the same indices for every
        question of an image; equal sets are stored once.
    predictions
        (pruner, keep) to the model's answer; the full model's under ("none", number of tokens). May be empty.
    needed
        Tokens without which the question cannot be answered; empty where that is not known.
    """

    question: str
    answer: str
    task: str
    kept: Mapping[Choice, Iterable[int]]
    predictions: Mapping[Choice, str] = field(default_factory=dict)
    needed: Sequence[int] = ()


@dataclass(frozen=True)
class ExplorerImage:
    """One picture of the token explorer.

    Attributes
    ----------
    name
        What the reader picks it by, for example "image 17".
    image
        The picture as the vision tower sees it (cropped and resized), else the patches lie askew.
    grid
        (rows, columns) of visual tokens.
    questions
        At least one.
    """

    name: str
    image: Image.Image
    grid: tuple[int, int]
    questions: Sequence[ExplorerQuestion]

    def __post_init__(self) -> None:
        if not self.questions:
            raise ValueError(f"`questions` of {self.name!r} must hold at least one question")
        rows, cols = self.grid
        for question in self.questions:
            for tokens in (question.needed, *question.kept.values()):
                wrong = [token for token in tokens if not 0 <= token < rows * cols]
                if wrong:
                    raise ValueError(f"tokens of {self.name!r} must be in [0, {rows * cols - 1}], got {wrong[0]}")


@dataclass(frozen=True)
class ReportInput:
    """Everything that `write_report` needs.

    Attributes
    ----------
    model
        Path or hub id of the model.
    command
        The command line that repeats the run.
    provenance
        What the numbers depend on, for example config hash, versions, platform, seed; in the order to print.
    stages
        The steps of the run with their times.
    attention
        Columns source, layer, metric, estimate, low, high, uniform: a row per source, layer (from 1) and metric.
    quartiles
        Columns source, layer, quartile (1 to 4), estimate, low, high: shares in [0, 1].
    selection
        Columns solver, kind ("rule", "solver", "exact" or "baseline"), objective, keep, value, gap (certified,
        as a share of the bound), low, high (of the gap), seconds. The gap is not finite where nothing is proven, the
        value where the combination is not supported.
    accuracy
        Columns pruner, keep, task (a task or "mean"), estimate, low, high in [0, 1]. Pruner "none" is the full model,
        its `keep` the number of visual tokens.
    cost
        Columns pruner, keep, flops_ratio, kv_ratio: shares of the full model. Pruner "none" may be left out.
    figures
        Figure name (see `analysis.figures.FIGURES`) to its PNG file; names that are not known come last.
    explorer
        Pictures of the token explorer; none leaves the section out.
    benchmark
        What the accuracy was measured on, a sentence.
    feature_layer
        Vision layer, from 1, whose output the model uses: the headline speaks of its attention. None: of the last one.
    notes
        Sentences under the headline, for example what was skipped.
    files
        Other files of the run.
    """

    model: str
    command: str
    provenance: Mapping[str, object]
    stages: Sequence[Stage]
    attention: pd.DataFrame
    quartiles: pd.DataFrame
    selection: pd.DataFrame
    accuracy: pd.DataFrame
    cost: pd.DataFrame
    figures: Mapping[str, Path] = field(default_factory=dict)
    explorer: Sequence[ExplorerImage] = ()
    benchmark: str = ""
    feature_layer: int | None = None
    notes: Sequence[str] = ()
    files: Sequence[OutputFile] = ()

    def __post_init__(self) -> None:
        frames.ATTENTION.check(self.attention)
        frames.QUARTILES.check(self.quartiles)
        frames.SELECTION.check(self.selection)
        frames.ACCURACY.check(self.accuracy)
        frames.COST.check(self.cost)
        frames.chosen_budget(self.accuracy, None, "accuracy")
