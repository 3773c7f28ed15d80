"""What a report is made of. Every table is a frame that the measuring code has finished: nothing is computed here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from analysis.figures import frames

Choice = tuple[str, int]
"""Pruner name and number of tokens kept."""
Place = tuple[str, int]
"""Where attention was captured: its source, for example "text last token", and the layer, from 1."""

DIFFERENCES = frames.Schema("differences", ("against", "pruner", "keep"), ("difference", "low", "high", "p_corrected"))


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


class Reply(NamedTuple):
    """What a model answered."""

    text: str
    correct: bool | None = None
    """Whether the benchmark counts it as right; None where that is not known."""


@dataclass(frozen=True)
class ExplorerQuestion:
    """One question about a picture, with what every pruner kept for it.

    Attributes
    ----------
    question, answer, task
        As in the benchmark.
    kept
        (pruner, keep) to the token indices that reach the last layer of the language model. Pruners that do not read
        the question have the same indices for every question of an image; equal sets are stored once.
    replies
        (pruner, keep) to the model's reply; the full model's under ("none", number of tokens). May be empty.
    needed
        Tokens without which the question cannot be answered; empty where that is not known.
    attention
        (source, layer) inside the language model, which has read the question, to weights [token].
    stages
        Of pruners inside the language model: (pruner, keep) to, by layer from 1, the tokens that are left from it on.
        All tokens reach the layers before. Others shorten ahead of the first layer and have none.
    """

    question: str
    answer: str
    task: str
    kept: Mapping[Choice, Iterable[int]]
    replies: Mapping[Choice, Reply] = field(default_factory=dict)
    needed: Sequence[int] = ()
    attention: Mapping[Place, npt.ArrayLike] = field(default_factory=dict)
    stages: Mapping[Choice, Mapping[int, Iterable[int]]] = field(default_factory=dict)

    def token_sets(self) -> Iterator[Iterable[int]]:
        """Every set of tokens in it."""
        yield self.needed
        yield from self.kept.values()
        for stages in self.stages.values():
            yield from stages.values()


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
    attention
        (source, layer) in the vision encoder, which no question changes, to weights [token].

    Raises
    ------
    ValueError
        For no question, tokens outside the grid, weights of another shape, negative or not finite, or stages of a
        choice that is not in `kept`.
    """

    name: str
    image: Image.Image
    grid: tuple[int, int]
    questions: Sequence[ExplorerQuestion]
    attention: Mapping[Place, npt.ArrayLike] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.questions:
            raise ValueError(f"`questions` of {self.name!r} must hold at least one question")
        size = self.grid[0] * self.grid[1]
        self._check_attention(self.attention)
        for question in self.questions:
            self._check_attention(question.attention)
            for tokens in question.token_sets():
                wrong = [token for token in tokens if not 0 <= token < size]
                if wrong:
                    raise ValueError(f"tokens of {self.name!r} must be in [0, {size - 1}], got {wrong[0]}")
            strange = [choice for choice in question.stages if choice not in question.kept]
            if strange:
                raise ValueError(f"`stages` of {self.name!r} must be of choices in `kept`, got {strange[0]}")

    def _check_attention(self, attention: Mapping[Place, npt.ArrayLike]) -> None:
        size = self.grid[0] * self.grid[1]
        for (source, layer), given in attention.items():
            weights = np.asarray(given)
            place = f"attention of {self.name!r}, {source}, layer {layer},"
            if weights.shape != (size,):
                raise ValueError(f"{place} must have shape [{size}], got {list(weights.shape)}")
            if not (np.isfinite(weights).all() and (weights >= 0).all()):
                raise ValueError(f"{place} must be finite and not negative, got {weights.min()}")


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
    differences
        Columns against ("none" or another pruner), pruner, keep, difference, low, high (in [-1, 1]) and p_corrected:
        the rows of task "mean" of `paired_comparison`. None leaves the tables out.
    warnings
        Sentences on what the numbers do not say, for example what was skipped.
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
    differences: pd.DataFrame | None = None
    warnings: Sequence[str] = ()
    files: Sequence[OutputFile] = ()

    def __post_init__(self) -> None:
        frames.ATTENTION.check(self.attention)
        frames.QUARTILES.check(self.quartiles)
        frames.SELECTION.check(self.selection)
        frames.ACCURACY.check(self.accuracy)
        frames.COST.check(self.cost)
        if self.differences is not None:
            DIFFERENCES.check(self.differences)
        frames.chosen_budget(self.accuracy, None, "accuracy")
