"""Whether packed evaluation, which answers all questions about an image in one sequence, answers as `generate` does."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import pandas as pd

from analysis.models import Vlm

from ..chunk import Chunk
from ..settings import settings_of
from ..tasks import AbstractTask

PACKED_IMAGES = 8
PRUNERS = ("vispruner", "cdpruner", "visionzip")
"""One that chooses without the question, one that chooses by it, and one that merges."""
EVERY = 3  # question of an image: `generate` takes seconds for a handful
LONGEST = 16  # tokens of an answer, as in `evaluate`


def measure_packed(vlm: Vlm, task: AbstractTask, images: int = PACKED_IMAGES, keep: int = 64) -> pd.DataFrame:
    """A third of the questions about the first images of a task, answered in both ways.

    Returns
    -------
    pandas.DataFrame
        A row for the stock model and each of `PRUNERS`: pruner, keep, questions, differ (how many of the answers are
        not the same words). Without rows where the model does not allow packing: images that are several pictures.
    """
    settings = [each for each in settings_of(vlm, task, PRUNERS, (keep,), (0,), "keep") if each.packed]
    samples = [replace(sample, questions=sample.questions[::EVERY]) for sample in islice(task, images)]
    chunk = Chunk(vlm, task, samples, settings, LONGEST)
    rows = []
    for setting in settings:
        packed, plain = chunk.run(setting), chunk.run(replace(setting, packed=False))
        differ = int((packed["prediction"] != plain["prediction"]).sum())
        rows.append({"pruner": setting.name, "keep": setting.keep, "questions": len(packed), "differ": differ})
    return pd.DataFrame(rows, columns=["pruner", "keep", "questions", "differ"])
