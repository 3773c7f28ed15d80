"""Does optimising better help? Accuracy beside objective value and certified gap: `python -m data.make.optimising`.

Every objective is maximised by greedy, local search and an exact method, and the model answers with what each of them
keeps; a DPP's best and sampled sets and the worst of many random ones make the range of values wide. Two tables and a
figure, `data/measured/optimising{,_correlation}.csv` and `optimising.png`. A run that was stopped goes on where it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

from analysis import load
from analysis.causes import Exam
from analysis.evaluation import AbstractTask, MiniVqa
from analysis.evaluation.run import binding
from analysis.evaluation.store import ResultStore
from analysis.figures import accuracy_vs_value, write
from analysis.models import Vlm
from analysis.pruning.pruners import SolverPruner
from analysis.study.run import EMBEDDED
from solvers import (
    AbstractObjective,
    AbstractSolver,
    CoveringRadius,
    DppMap,
    Exact,
    FacilityLocation,
    GramLogDet,
    GraphCut,
    Greedy,
    KDpp,
    LocalSearch,
    LogDet,
    MaxMin,
    MaxSum,
    Mixture,
    Problem,
    Saliency,
    SaturatedCoverage,
    Status,
    WeightedFacilityLocation,
    compare,
)
from solvers.arrays import IntArray
from solvers.progress import progress_bar
from solvers.provenance import provenance

from .optimising_tables import RANDOM, SHARE, WORST, correlation_table, share_of_bound, summary_table

DATA = Path(__file__).parents[1]
OBJECTIVES: tuple[AbstractObjective[Any], ...] = (
    Saliency(),
    FacilityLocation(),
    WeightedFacilityLocation("cls"),
    SaturatedCoverage(),
    GraphCut(),
    LogDet(),
    LogDet("cls"),
    GramLogDet(),
    MaxMin(),
    MaxSum(),
    CoveringRadius(),
    Mixture((FacilityLocation(), Saliency()), (1.0, 576.0)),  # either part is worth at most 576
)
"""Those that the image alone defines. `MultimodalFacilityLocation` would keep other tokens for every question, and
`RelevanceMinusRedundancy` at its default trade-off is `MaxSum` where the relevance is a softmax."""
SOLVERS: tuple[AbstractSolver, ...] = (Greedy(), LocalSearch(), Exact(), DppMap(), KDpp())
KEEPS = (64, 32)
DRAWS = 50
IMAGES_PER_PART = 4


def measure(
    exam: Exam,
    objectives: Sequence[AbstractObjective[Any]] = OBJECTIVES,
    solvers: Sequence[AbstractSolver] = SOLVERS,
    keeps: Sequence[int] = KEEPS,
    *,
    seconds: float = 1.0,
    draws: int = DRAWS,
) -> pd.DataFrame:
    """Answers with the tokens that each solver keeps for each objective, at their own position ids.

    The instances are those of `SolverPruner(signal="cls")`: projected features and CLS attention.

    Parameters
    ----------
    exam
        Images with their questions.
    objectives, solvers, keeps
        What is maximised, by whom, and the budgets.
    seconds
        Time limit of each run and of each bound.
    draws
        Random sets of each image and budget, of which the first is "Random", and the one of least value under an
        objective "Random(worst)".

    Returns
    -------
    pandas.DataFrame
        A row per image, keep, objective, solver and question: value, upper_bound (the smallest that anybody proved),
        status, reason, seconds, selection (a name of the kept set), `share <objective>` (the set's value under every
        objective, see `share_of_bound`), image_id, question_id, task, correct (0 or 1). A solver that cannot run is one
        row without question.
    """
    chosen = [
        _chosen(exam, image, objectives, solvers, keeps, seconds=seconds, draws=draws)
        for image in range(len(exam.samples))
    ]
    answers = _answers(exam, [dict(zip(frame["selection"], frame["selected"], strict=True)) for frame in chosen])
    rows = pd.concat(chosen, ignore_index=True).drop(columns="selected")
    return rows.merge(answers, on=["image_id", "selection"], how="left")


def _chosen(
    exam: Exam,
    image: int,
    objectives: Sequence[AbstractObjective[Any]],
    solvers: Sequence[AbstractSolver],
    keeps: Sequence[int],
    *,
    seconds: float,
    draws: int,
) -> pd.DataFrame:
    """What is kept of one image: a row per keep, objective and solver."""
    problem = SolverPruner(signal="cls").problem(exam.encoded[image], max(keeps))
    options: dict[str, Any] = {"budgets": keeps, "time_limit": seconds, "n_jobs": 1, "progress": False}
    solved = compare(problem, solvers, objectives, **options).frame
    columns = ["budget", "objective", "solver", "value", "upper_bound", "status", "reason", "seconds", "selected"]
    image_id = int(exam.samples[image].image_id)
    drawn = [_drawn(problem.with_budget(keep), objectives, draws, image_id) for keep in keeps]
    rows = pd.concat([solved[columns], *drawn], ignore_index=True)
    cell = rows.groupby(["budget", "objective"])["upper_bound"]
    rows = rows.assign(upper_bound=cell.transform("min"), image_id=image_id)
    rows["selected"] = rows["selected"].map(lambda kept: np.sort(np.asarray(kept, dtype=np.int64)))
    rows["selection"] = rows["selected"].map(lambda kept: ",".join(map(str, kept)))
    return _valued(rows, problem, objectives).rename(columns={"budget": "keep"})


def _drawn(problem: Problem, objectives: Sequence[AbstractObjective[Any]], draws: int, image_id: int) -> pd.DataFrame:
    """The first and, for each objective, the worst of `draws` random sets."""
    rng = np.random.default_rng([image_id, problem.budget])
    sets: list[IntArray] = [rng.permutation(problem.tokens)[: problem.budget] for _ in range(draws)]
    rows = []
    for objective in objectives:
        values = [objective.value(problem, kept) for kept in sets]
        for name, at in ((RANDOM, 0), (WORST, int(np.argmin(values)))):
            rows.append({"objective": objective.name, "solver": name, "value": values[at], "selected": sets[at]})
    return pd.DataFrame(rows).assign(
        budget=problem.budget, upper_bound=np.inf, status=Status.FEASIBLE.label, reason="", seconds=0.0
    )


def _valued(rows: pd.DataFrame, problem: Problem, objectives: Sequence[AbstractObjective[Any]]) -> pd.DataFrame:
    """`rows` with the value of every kept set under every objective, as a share of that objective's bound."""
    bounds = rows.groupby(["budget", "objective"])["upper_bound"].first().to_dict()
    sets = rows[rows["selection"] != ""].drop_duplicates("selection")
    shares = [
        {"selection": name}
        | {
            SHARE + entry.name: share_of_bound(
                entry.name, entry.value(problem, kept), bounds[budget, entry.name], int(budget)
            )
            for entry in objectives
        }
        for name, kept, budget in zip(sets["selection"], sets["selected"], sets["budget"], strict=True)
    ]
    return rows.merge(pd.DataFrame(shares), on="selection", how="left")


def _answers(exam: Exam, sets: Sequence[dict[str, IntArray]]) -> pd.DataFrame:
    """A row per image, kept set and question: image_id, selection, question_id, task, correct."""
    lists = [[(name, kept) for name, kept in known.items() if len(kept)] for known in sets]
    frames = []
    for turn in range(max(map(len, lists))):
        # all images at a time are one batch; those with fewer sets answer their last again
        current = [known[min(turn, len(known) - 1)] for known in lists]
        kept = {(i, n): current[i][1] for i, asked in enumerate(exam.prompts) for n in range(len(asked))}
        names = {sample.image_id: name for sample, (name, _) in zip(exam.samples, current, strict=True)}
        answered = exam.answered(kept)
        frames.append(answered.assign(selection=answered["image_id"].map(names)))
    rows = pd.concat(frames, ignore_index=True).drop_duplicates(["selection", "question_id"])
    return rows.astype({"correct": np.float64}).drop(columns="prediction")


def run(
    vlm: Vlm, task: AbstractTask, images: int, work: Path, *, progress: bool = True, **settings: Any
) -> pd.DataFrame:
    """Rows of `measure` on the first `images` images of the task; `settings` are arguments of `measure`.

    Raises
    ------
    ValueError
        If there are not that many images, or `work` holds parts of another model, task or setting.
    """
    if not 1 <= images <= len(task):
        raise ValueError(f"`images` must be in [1, {len(task)}], got {images}")
    given: dict[str, Any] = {
        "objectives": OBJECTIVES,
        "solvers": SOLVERS,
        "keeps": KEEPS,
        "seconds": 1.0,
        "draws": DRAWS,
    } | settings
    store = ResultStore(work, binding(vlm, task) | {"settings": repr(given)})
    names: list[str] = []
    samples = islice(iter(task), images)
    with progress_bar(progress) as bar:
        job = bar.add_task("optimising", total=images)
        while chunk := list(islice(samples, IMAGES_PER_PART)):
            start = len(names) * IMAGES_PER_PART
            names.append(f"images{start:06d}-{start + len(chunk):06d}")
            if names[-1] not in store:
                store.put(names[-1], measure(Exam(vlm, task, chunk), **given))
            bar.advance(job, len(chunk))
    return store.read(names)


def main(
    images: Annotated[int, typer.Option(help="test images, from the first")] = 48,
    seconds: Annotated[float, typer.Option(help="time limit of each solver and each bound")] = 1.0,
    work: Annotated[Path, typer.Option(help="finished parts, kept for the next call")] = Path("runs/optimising"),
    target: Annotated[Path, typer.Option(help="folder of the tables and the figure")] = DATA / "measured",
) -> None:
    """Solve, answer, and write the tables and the figure."""
    vlm, task = load(str(EMBEDDED)), MiniVqa()
    rows = run(vlm, task, images, work, seconds=seconds)
    tables = {"optimising": summary_table(rows), "optimising_correlation": correlation_table(rows)}
    stamp: dict[str, Any] = {"time_limit": seconds, "model": "data/mini_llava", "config_hash": vlm.config_hash}
    stamp |= {"task_checksum": task.checksum, **provenance()}
    target.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        table.assign(**stamp).to_csv(target / f"{name}.csv", index=False, float_format="%.6g")
        typer.echo(f"{target / name}.csv: {len(table)} rows on {images} images")
    write(accuracy_vs_value(tables["optimising"], keep=min(KEEPS)), target / "optimising.png", dpi=200)


if __name__ == "__main__":
    typer.run(main)
