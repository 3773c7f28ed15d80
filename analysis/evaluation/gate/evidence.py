"""Whether the tokens that the benchmark calls needed are those that an answer needs.

Every question that names its evidence is answered three times: from all tokens, from all but the needed ones, and from
the needed ones alone. The sets are right if accuracy falls to what the question and the rest of the scene give away,
and does not fall, respectively. Without its evidence a thing is absent, so that existence questions are then answered
wrongly.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from analysis.models import Vlm
from analysis.pruning.pruner import AbstractPruner
from analysis.pruning.tokens import VisualTokens
from solvers.arrays import IntArray

from ..run import evaluate
from ..settings import STOCK
from ..tasks import AbstractTask

IN_PALETTE = 0.25  # a scene draws its objects from four colours and four shapes, and the others show which
ABOVE_PRIOR = 0.10  # what may be left without the evidence: hints in the states of neighbouring patches
BELOW_FULL = 0.05  # what may be lost with the evidence alone: the model has seen no image so small
ANY_BUDGET = 64  # neither choice looks at it


@dataclass(frozen=True)
class WithoutNeeded(AbstractPruner):
    """Every token but those the answer needs, whatever the budget."""

    name: ClassVar[str] = "without needed"
    needs: ClassVar[frozenset[str]] = frozenset({"needed"})
    cite: ClassVar[str] = "check of the ground truth"

    def _select(self, tokens: VisualTokens, keep: int) -> IntArray:
        return np.setdiff1d(np.arange(len(tokens)), np.asarray(tokens.needed))


@dataclass(frozen=True)
class NeededAlone(AbstractPruner):
    """The tokens the answer needs and no other, whatever the budget; all of them where it needs none."""

    name: ClassVar[str] = "needed alone"
    needs: ClassVar[frozenset[str]] = frozenset({"needed"})
    cite: ClassVar[str] = "check of the ground truth"

    def _select(self, tokens: VisualTokens, keep: int) -> IntArray:
        needed = np.asarray(tokens.needed, dtype=np.int64)
        return needed if needed.size else np.arange(len(tokens))


def measure_needed(
    vlm: Vlm, task: AbstractTask, images: int, *, store: Path | str | None = None, **options: Any
) -> pd.DataFrame:
    """Accuracy with all tokens, without the needed ones, and with those alone.

    Parameters
    ----------
    vlm, task
        Who answers what.
    images
        So many images from the start of the task.
    store, options
        See `evaluate`.

    Returns
    -------
    pandas.DataFrame
        A row per task with evidence: task, questions, prior (share of its most frequent answer), all, without_needed,
        needed_alone.
    """
    chosen = [WithoutNeeded(), NeededAlone()]
    rows = evaluate(vlm, task, chosen, (ANY_BUDGET,), store=store, position_ids="keep", images=images, **options)
    has_evidence = {q.question_id for sample in task for q in sample.questions if q.needed.size}
    tasks = list(dict.fromkeys(rows["task"]))
    rows = rows[rows["question_id"].isin(has_evidence)]
    stock = rows[rows["pruner"] == STOCK].groupby("task")
    accuracy = rows.groupby(["task", "pruner"])["correct"].mean().unstack()
    accuracy = accuracy.loc[[task for task in tasks if task in accuracy.index]]
    table = accuracy[[STOCK, WithoutNeeded.name, NeededAlone.name]]
    table = table.set_axis(["all", "without_needed", "needed_alone"], axis="columns")
    table.insert(0, "prior", stock["answer"].agg(lambda answers: answers.value_counts(normalize=True).iloc[0]))
    table.insert(0, "questions", stock.size())
    return table.rename_axis(columns=None).reset_index()


def judge_needed(table: pd.DataFrame) -> list[str]:
    """What speaks against the required-token sets, a sentence each."""
    short = []
    for row in table.to_dict("records"):
        chance = row["prior"]
        if row["task"].startswith("exist"):
            chance = 0.0  # those that have evidence are all answered "yes": without it the answer must be "no"
        elif row["task"] == "attribute":
            chance = max(chance, IN_PALETTE)
        if row["without_needed"] > chance + ABOVE_PRIOR:
            short.append(
                f"{row['task']} without its needed tokens must be at most {chance + ABOVE_PRIOR:.3f}, "
                f"got {row['without_needed']:.3f}"
            )
        if row["needed_alone"] < row["all"] - BELOW_FULL:
            short.append(
                f"{row['task']} with its needed tokens alone must be at least {row['all'] - BELOW_FULL:.3f}, "
                f"got {row['needed_alone']:.3f}"
            )
    return short
