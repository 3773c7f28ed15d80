"""Every pruner of the registry on the embedded model: `python -m data.make.peers`.

One table with all of them, before the language model, in the encoder and inside it, at equal budgets: the number of
tokens in the last layer, and beside it the mean over layers, by which methods inside the language model compare. A run
that was stopped goes on where it was.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from analysis import accuracy_table, evaluate, load
from analysis.evaluation import MiniVqa
from analysis.models import Vlm
from analysis.pruning import PRUNERS
from analysis.study.run import EMBEDDED
from solvers.provenance import provenance

TARGET = Path(__file__).parents[1] / "measured" / "peers.csv"
IMAGES, KEEPS = 60, (64,)


def peers(vlm: Vlm, task: MiniVqa, images: int, keeps: tuple[int, ...], store: Path | None = None) -> pd.DataFrame:
    """A row per pruner, budget and task, and one with task "mean": accuracy with its interval and mean tokens by layer.

    Position ids are kept for all, so that the table compares which tokens stay and nothing else.
    """
    rows = evaluate(vlm, task, PRUNERS, keeps, store=store, position_ids="keep", images=images)
    visual = rows.groupby(["pruner", "keep"])["visual_tokens"].mean().rename("visual_tokens")
    table = accuracy_table(rows).merge(visual.reset_index(), on=["pruner", "keep"])
    stamp = {"config_hash": vlm.config_hash, "task_checksum": task.checksum, **provenance()}
    return table.assign(**stamp)


def main(work: Annotated[Path, typer.Option(help="unfinished work")] = Path("runs/peers")) -> None:
    """Write `data/measured/peers.csv`."""
    vlm = replace(load(str(EMBEDDED)), id="data/mini_llava")  # as in the repository, wherever that lies
    table = peers(vlm, MiniVqa(), IMAGES, KEEPS, work)
    table.to_csv(TARGET, index=False, float_format="%.6g")
    mean = table[table["task"] == "mean"].sort_values("estimate", ascending=False)
    typer.echo(mean[["pruner", "keep", "visual_tokens", "estimate", "low", "high"]].to_string(index=False))


if __name__ == "__main__":
    typer.run(main)
