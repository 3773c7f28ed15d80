"""What the gate looks at: the tables behind its bounds, each from answers to the benchmark's questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from analysis.models import Vlm
from analysis.pruning import AbstractPruner
from analysis.pruning.pruners import FastV, Oracle
from solvers.files import data_folder

from ..accuracy import MEAN, accuracy_table
from ..reliability import split_half
from ..run import evaluate
from ..settings import STOCK
from ..tasks import AbstractTask
from .evidence import measure_needed
from .packing import PACKED_IMAGES, measure_packed

CHECKED_IMAGES, FASTV_IMAGES = 100, 40
FASTV_KEEPS = (192, 128, 64, 32)
COMPACT_KEEPS = (192, 64)


class Trainings(NamedTuple):
    """What other trainings of a model came to: tables of `python -m data.make.seeds`."""

    agreement: pd.DataFrame
    """What `ranking_agreement` returned for all of them: at a level of .95 per pair, and at one that is corrected for
    the number of pairs."""
    accuracy: pd.DataFrame
    """What `accuracy_table` returned for each."""


class Measured(NamedTuple):
    """Arguments of `judge`."""

    accuracy: pd.DataFrame
    priors: Mapping[str, float]
    reliability: pd.DataFrame
    needed: pd.DataFrame
    fastv: pd.DataFrame
    compact: pd.DataFrame
    packed: pd.DataFrame
    trainings: Trainings | None
    time: pd.DataFrame | None
    left_out: int
    unranked: str


def measure(
    vlm: Vlm,
    task: AbstractTask,
    rows: pd.DataFrame,
    *,
    store: Path | str | None = None,
    fastv_keeps: Sequence[int] = FASTV_KEEPS,
    **options: Any,
) -> Measured:
    """Everything that `judge` reads but the size of the model.

    Parameters
    ----------
    vlm, task
        Who answered what.
    rows
        What `evaluate` returned for the pruners to be ranked, "oracle" and "random" among them, with one policy of
        position ids. The checks of required tokens, FastV, compact ids and packing ask at most as many images.
    store, options
        See `evaluate`; the store may be that of `rows`.
    fastv_keeps
        Budgets of FastV, 64 among them.
    """
    images = int(rows["image_id"].nunique())
    questions = pd.DataFrame(
        [(STOCK, question.task, question.answer) for sample in task for question in sample.questions],
        columns=["pruner", "task", "answer"],
    )
    reliability, unranked = pd.DataFrame(), ""
    try:
        reliability = split_half(rows)
    except ValueError as error:
        unranked = str(error)  # too few images or pruners to rank anything: a bound that is missed, with its reason
    return Measured(
        accuracy=accuracy_table(rows),
        priors=majority_priors(questions),
        reliability=reliability,
        needed=measure_needed(vlm, task, min(images, CHECKED_IMAGES), store=store, **options),
        fastv=measure_fastv(vlm, task, min(images, FASTV_IMAGES), fastv_keeps, store=store, **options),
        compact=measure_compact(vlm, task, min(images, CHECKED_IMAGES), store=store, **options),
        packed=measure_packed(vlm, task, min(images, PACKED_IMAGES)),
        trainings=recorded_trainings(vlm.config_hash),
        time=recorded_time(vlm.config_hash),
        left_out=len(task) - images,
        unranked=unranked,
    )


def recorded_trainings(config_hash: str) -> Trainings | None:
    """What `data/measured` has of other trainings of a model, which take hours: its tables of seeds, if the model of
    this hash is among those compared there."""
    folder = data_folder("measured")
    try:
        found = Trainings(pd.read_csv(folder / "seeds_agreement.csv"), pd.read_csv(folder / "seeds.csv"))
    except FileNotFoundError:
        return None
    return found if config_hash in found.agreement["config_hash"].iloc[0].split("+") else None


def recorded_time(config_hash: str) -> pd.DataFrame | None:
    """How long `python -m data.make.peers` took for all pruners at five budgets, which is minutes too many for a gate:
    its row of `data/measured`, if the model of this hash answered."""
    folder = data_folder("measured")
    try:
        answers, time = pd.read_csv(folder / "peers.csv"), pd.read_csv(folder / "peers_time.csv")
    except FileNotFoundError:
        return None
    same_run = set(answers["commit"]) == set(time["commit"])
    return time if same_run and set(answers["config_hash"]) == {config_hash} else None


def majority_priors(rows: pd.DataFrame) -> dict[str, float]:
    """Share of the most frequent answer by task, from rows of `evaluate`; those of the stock model count."""
    asked = rows[rows["pruner"] == STOCK]
    return {
        str(task): float(answers.value_counts(normalize=True).iloc[0])
        for task, answers in asked.groupby("task", sort=False)["answer"]
    }


def measure_fastv(
    vlm: Vlm,
    task: AbstractTask,
    images: int,
    keeps: Sequence[int] = FASTV_KEEPS,
    *,
    store: Path | str | None = None,
    **options: Any,
) -> pd.DataFrame:
    """What is lost when tokens go after layer 2 instead of before layer 1, on the first images of a task.

    Chen et al. 2024 (arXiv:2403.06764), as `analysis.prune` runs it: behind layer K the visual tokens with the least
    attention from the last prompt token (layer K, head mean) are dropped; ids stay.

    Returns
    -------
    pandas.DataFrame
        A row per budget and task, and one with task "mean" (tasks weigh alike): keep, task, questions, full, estimate,
        lost.
    """
    return _lost(vlm, task, FastV(layer=2), keeps, position_ids="keep", images=images, store=store, **options)


def measure_compact(
    vlm: Vlm,
    task: AbstractTask,
    images: int,
    keeps: Sequence[int] = COMPACT_KEEPS,
    *,
    store: Path | str | None = None,
    **options: Any,
) -> pd.DataFrame:
    """What is lost when the oracle's tokens get consecutive position ids, on the first images of a task.

    A model trained on exactly the full grid collapses there although it sees every token that an answer needs.

    Returns
    -------
    pandas.DataFrame
        As `measure_fastv`.
    """
    return _lost(vlm, task, Oracle(), keeps, position_ids="compact", images=images, store=store, **options)


def _lost(vlm: Vlm, task: AbstractTask, pruner: AbstractPruner, keeps: Sequence[int], **options: Any) -> pd.DataFrame:
    rows = evaluate(vlm, task, pruner, keeps, **options)
    tasks = list(dict.fromkeys(rows["task"]))
    stock = rows[rows["pruner"] == STOCK]
    full = _by_task(stock, tasks)
    questions = stock["task"].value_counts().to_dict() | {MEAN: len(stock)}
    found = []
    for keep in keeps:
        estimates = _by_task(rows[(rows["pruner"] == pruner.name) & (rows["keep"] == keep)], tasks)
        for name in estimates:
            row = {"keep": keep, "task": name, "questions": questions[name], "full": full[name]}
            found.append(row | {"estimate": estimates[name], "lost": full[name] - estimates[name]})
    return pd.DataFrame(found)


def _by_task(rows: pd.DataFrame, tasks: Sequence[str]) -> dict[str, float]:
    """Accuracy of every task, then the mean over tasks."""
    shares = rows.groupby("task")["correct"].mean()
    by_task = {task: float(shares[task]) for task in tasks}
    return by_task | {MEAN: sum(by_task.values()) / len(by_task)}


def megabytes(folder: Path | str) -> float:
    """Size of the files of a model folder, in units of 10 ** 6 bytes."""
    return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()) / 1e6
