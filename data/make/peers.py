"""Every pruner of the registry on the embedded model: `python -m data.make.peers`.

Those that answer quickly are asked all questions of the test split at five budgets, the others, which change the
vision encoder, work inside the language model or choose slowly, those of the first images at one budget. At equal
budgets the number of tokens in the last layer is the same; beside it stands the mean over layers, by which methods
inside the language model compare. How long the first part took goes into a table of its own, if it ran in one piece.
A run that was stopped goes on where it was.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from analysis import accuracy_table, evaluate, load
from analysis.evaluation import MiniVqa
from analysis.models import Vlm
from analysis.pruning import PRUNERS, AbstractPruner
from analysis.study.run import EMBEDDED
from solvers.kernels import warm_up
from solvers.provenance import provenance

MEASURED = Path(__file__).parents[1] / "measured"
TARGET, TIME = MEASURED / "peers.csv", MEASURED / "peers_time.csv"
KEEPS = (192, 128, 64, 32, 16)
OTHERS_IMAGES, OTHERS_KEEPS = 60, (64,)
SLOW = frozenset({"mmtok", "eadp", "trim"})
"""Their choices depend on the question and take as long as the answers."""


def quick(entry: AbstractPruner) -> bool:
    """Whether all questions can be asked in minutes: several in one pass of the language model, chosen for fast."""
    return not (entry.inside or entry.in_encoder or entry.name in SLOW)


def peers(
    vlm: Vlm,
    task: MiniVqa,
    pruners: Sequence[AbstractPruner],
    keeps: Sequence[int],
    *,
    images: int | None = None,
    store: Path | None = None,
    n_jobs: int = 1,
) -> pd.DataFrame:
    """A row per pruner, budget and task, and one with task "mean": accuracy with its interval and mean tokens by layer.

    Position ids are kept for all, so that the table compares which tokens stay and nothing else.
    """
    rows = evaluate(vlm, task, pruners, keeps, store=store, position_ids="keep", images=images, n_jobs=n_jobs)
    visual = rows.groupby(["pruner", "keep"])["visual_tokens"].mean().rename("visual_tokens")
    table = accuracy_table(rows).merge(visual.reset_index(), on=["pruner", "keep"])
    stamp = {"config_hash": vlm.config_hash, "task_checksum": task.checksum, **provenance()}
    return table.assign(model="data/mini_llava", **stamp)


def main(
    n_jobs: Annotated[int, typer.Option(help="processes")] = 2,
    work: Annotated[Path, typer.Option(help="unfinished work")] = Path("runs/peers"),
) -> None:
    """Write `data/measured/peers.csv` and `peers_time.csv`."""
    vlm, task = load(str(EMBEDDED)), MiniVqa()
    first = [entry for entry in PRUNERS if quick(entry)]
    others = [entry for entry in PRUNERS if not quick(entry)]
    warm_up()  # loops are compiled once in an installation
    fresh, begun = not work.exists(), time.perf_counter()
    whole = peers(vlm, task, first, KEEPS, store=work, n_jobs=n_jobs)
    if fresh:
        took(whole, first, task, n_jobs, time.perf_counter() - begun).to_csv(TIME, index=False, float_format="%.4g")
    part = peers(vlm, task, others, OTHERS_KEEPS, images=OTHERS_IMAGES, store=work, n_jobs=n_jobs)
    # the full model of the whole split stands for that of the first images
    table = pd.concat([whole, part[part["pruner"] != "none"]], ignore_index=True)
    table.to_csv(TARGET, index=False, float_format="%.6g")
    mean = table[table["task"] == "mean"].sort_values(["keep", "estimate"], ascending=False)
    typer.echo(mean[["pruner", "keep", "visual_tokens", "images", "estimate", "low", "high"]].to_string(index=False))


def took(
    table: pd.DataFrame, pruners: Sequence[AbstractPruner], task: MiniVqa, n_jobs: int, seconds: float
) -> pd.DataFrame:
    """One row: how much was asked, and how long that took, the start of the processes included."""
    questions = int(table.loc[table["task"] == "mean", "questions"].max())
    row = {"pruners": len(pruners), "budgets": len(KEEPS), "images": len(task), "questions": questions}
    row |= {"answers": questions * (1 + len(pruners) * len(KEEPS)), "processes": n_jobs, "cores": os.cpu_count() or 0}
    return pd.DataFrame([row | {"minutes": seconds / 60} | provenance()])


if __name__ == "__main__":
    typer.run(main)
