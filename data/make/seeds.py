"""Does another training of the embedded model rank the pruners alike? `python -m data.make.seeds [--train]`.

Trains the recipe of the embedded model with other seeds (runs that were stopped go on; hours on one core each),
exports them beside their checkpoints, and asks all of them and the shipped model the same questions under the pruners
of the study. Beside that stands which of the needed tokens the scores of these pruners find in each model. The models
themselves are not shipped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import comb
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from analysis import accuracy_table, evaluate, load
from analysis.evaluation import MiniVqa, ranking_agreement, reproducibility
from analysis.evaluation.gate import LEVEL
from analysis.models import Vlm
from analysis.study.run import EMBEDDED
from analysis.study.settings import PRUNERS
from solvers.provenance import provenance

from .export import export
from .history import core_minutes, phase_table
from .score_recall import score_recall
from .train import Recipe, Trainer

MEASURED = Path(__file__).parents[1] / "measured"
SHIPPED, RECIPE = "data/mini_llava", "cpu"
KEEPS = (64, 32)
IMAGES = 1080


def trained(seed: int, work: Path, *, train: bool) -> Vlm:
    """The model of a seed, exported from its finished run.

    Raises
    ------
    FileNotFoundError
        If its run is not finished and `train` does not say to go on with it.
    """
    folder, recipe = work / f"{RECIPE}-{seed}", replace(Recipe.read(RECIPE), seed=seed)
    if train:
        Trainer(recipe, folder).run()
    log = folder / "log.jsonl"
    done = len(phase_table(log)) if log.exists() else 0
    if done < len(recipe.phases):
        raise FileNotFoundError(f"seed {seed} has finished {done} of {len(recipe.phases)} phases in {folder}: --train")
    typer.echo(export(folder / "checkpoint.safetensors", RECIPE, folder / "model"))
    return load(str(folder / "model"))


def history(seed: int, work: Path) -> pd.DataFrame:
    """What each phase of a seed's run reached, and what the run cost."""
    log = work / f"{RECIPE}-{seed}" / "log.jsonl"
    return phase_table(log).assign(seed=seed, core_minutes=core_minutes(log))


def compare(models: Mapping[str, Vlm], task: MiniVqa, work: Path, n_jobs: int = 1) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Accuracy of every model under every pruner, with intervals, and how well the rankings of the pruners agree."""
    answers, stamps = [], []
    for name, vlm in models.items():
        store = work / "seeds" / vlm.config_hash
        found = evaluate(vlm, task, PRUNERS, KEEPS, position_ids="keep", store=store, n_jobs=n_jobs)
        answers.append(found.assign(model=name))
        stamps.append({"model": name, "config_hash": vlm.config_hash, "task_checksum": task.checksum, **provenance()})
    rows = pd.concat(answers, ignore_index=True)
    accuracy = accuracy_table(rows).merge(pd.DataFrame(stamps), on="model", validate="many_to_one")
    hashes = "+".join(stamp["config_hash"] for stamp in stamps)
    stamp = {"config_hash": hashes, "task_checksum": task.checksum, **provenance()}
    corrected = 1 - (1 - LEVEL) / comb(len(PRUNERS), 2)
    levels = ((LEVEL, 1000), (corrected, 20_000))
    agreement = [ranking_agreement(rows, level=level, resamples=resamples) for level, resamples in levels]
    return accuracy, pd.concat(agreement, ignore_index=True).assign(**stamp)


def main(
    seed: Annotated[list[int] | None, typer.Option(help="seeds beside the shipped model's; 1 and 2 by default")] = None,
    train: Annotated[bool, typer.Option("--train", help="train (or go on training) first")] = False,
    images: Annotated[int, typer.Option(help="images of the test split, from its start")] = IMAGES,
    n_jobs: Annotated[int, typer.Option(help="processes")] = 2,
    work: Annotated[Path, typer.Option(help="training runs and answers, kept for the next call")] = Path("runs"),
) -> None:
    """Write `data/measured/seeds.csv`, `seeds_agreement.csv`, `_limits.csv`, `_scores.csv` and `_training.csv`."""
    seeds = seed or [1, 2]
    models = {SHIPPED: load(str(EMBEDDED))} | {f"seed {each}": trained(each, work, train=train) for each in seeds}
    task = MiniVqa(images=images)
    accuracy, agreement = compare(models, task, work, n_jobs)
    stamps = accuracy[["model", "config_hash", "task_checksum", *provenance()]].drop_duplicates()
    recall = pd.concat([score_recall(replace(vlm, id=name), task) for name, vlm in models.items()])
    scores = recall.merge(stamps, on="model", validate="many_to_one")
    stamp = {name: agreement[name].iloc[0] for name in ("config_hash", "task_checksum", *provenance())}
    limits = reproducibility(accuracy).assign(**stamp)
    tables = {"seeds": accuracy, "seeds_agreement": agreement, "seeds_limits": limits, "seeds_scores": scores}
    tables["seeds_training"] = pd.concat([history(each, work) for each in seeds], ignore_index=True)
    for name, table in tables.items():
        table.to_csv(MEASURED / f"{name}.csv", index=False, float_format="%.6g")
    means = accuracy[accuracy["task"] == "mean"].pivot_table(
        index=["pruner", "keep"], columns="model", values="estimate", sort=False
    )
    typer.echo(means.round(3).to_string())
    typer.echo(scores.pivot_table(index=["score", "keep"], columns="model", values="estimate").round(3).to_string())
    typer.echo(agreement.drop(columns=["config_hash", "task_checksum", *provenance()]).round(3).to_string(index=False))
    typer.echo(limits.drop(columns=list(stamp)).round(4).to_string(index=False))


if __name__ == "__main__":
    typer.run(main)
