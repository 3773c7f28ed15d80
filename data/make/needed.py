"""Checks the required-token sets of the benchmark: `python -m data.make.needed`. Exits with 1 if they do not hold.

Every question that names its evidence is answered three times: from all tokens, from all but the needed ones, and from
the needed ones alone. The sets are right if accuracy falls to what the question and the rest of the scene give away,
and does not fall, respectively. Without its evidence a thing is absent, so that existence questions are then answered
wrongly.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
import pandas as pd
import typer

from analysis import load
from analysis.evaluation import MiniVqa, evaluate
from analysis.models import Vlm
from analysis.pruning.pruner import AbstractPruner
from analysis.pruning.tokens import VisualTokens
from analysis.study.run import EMBEDDED
from solvers.arrays import IntArray
from solvers.provenance import provenance

from .vocabulary import TASKS

MEASURED = Path(__file__).parents[1] / "measured" / "needed.csv"
IN_PALETTE = 0.25  # a scene draws its objects from four colours and four shapes, and the others show which
ABOVE_PRIOR = 0.10  # what may be left without the evidence: hints in the states of neighbouring patches
BELOW_FULL = 0.05  # what may be lost with the evidence alone: the model has seen no image so small


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


def measure_needed(vlm: Vlm, task: MiniVqa, images: int) -> pd.DataFrame:
    """A row per task: questions with evidence, their majority prior, and accuracy with all tokens, without the needed
    ones, and with those alone."""
    rows = evaluate(vlm, task, [WithoutNeeded(), NeededAlone()], keeps=(64,), position_ids="keep", images=images)
    has_evidence = {q.question_id for sample in task for q in sample.questions if q.needed.size}
    rows = rows[rows["question_id"].isin(has_evidence)]
    accuracy = rows.pivot_table(index="task", columns="pruner", values="correct", aggfunc="mean").loc[list(TASKS)]
    stock = rows[rows["pruner"] == "none"].groupby("task")
    return pd.DataFrame(
        {
            "task": list(TASKS),
            "questions": stock.size().loc[list(TASKS)].to_numpy(),
            "prior": [stock.get_group(name)["answer"].value_counts(normalize=True).iloc[0] for name in TASKS],
            "all": accuracy["none"].to_numpy(),
            "without_needed": accuracy["without needed"].to_numpy(),
            "needed_alone": accuracy["needed alone"].to_numpy(),
        }
    )


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


def main(
    images: Annotated[int, typer.Option(help="images of the test split")] = 300,
    model: Annotated[Path, typer.Option(help="a model folder")] = EMBEDDED,
) -> None:
    """Measure, keep the table, and say whether the sets hold."""
    vlm, task = load(str(model)), MiniVqa()
    table = measure_needed(vlm, task, images)
    stamp = {"config_hash": vlm.config_hash, "task_checksum": task.checksum, **provenance()}
    table.assign(**stamp).to_csv(MEASURED, index=False, float_format="%.6g")
    typer.echo(table.to_string(index=False, float_format="%.3f"))
    short = judge_needed(table)
    for sentence in short:
        typer.echo(f"needed: {sentence}", err=True)
    raise typer.Exit(1 if short else 0)


if __name__ == "__main__":
    typer.run(main)
