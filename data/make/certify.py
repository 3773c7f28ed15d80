"""Certified gaps of every solver and rule on the real instances: `python -m data.make.certify`.

How far greedy, the published rules and everything else are from the best selection there is, under three objectives.
A run that was stopped goes on where it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

from analysis import load
from analysis.evaluation import MiniVqa
from analysis.study.summaries import kind_of
from data.make.instances import DATA, MODEL, with_attention_map
from solvers import (
    AbstractObjective,
    FacilityLocation,
    FarthestFirst,
    LocalSearch,
    LogDet,
    MaxMin,
    Problem,
    Random,
    Status,
    StochasticGreedy,
    ThresholdGreedy,
    compare,
    default_solvers,
    instances,
)
from solvers.provenance import provenance
from solvers.solver import ROUNDING, AbstractSolver

TARGET = DATA / "measured" / "certified_gaps.csv"
OBJECTIVES: tuple[AbstractObjective[Any], ...] = (FacilityLocation(), LogDet(), MaxMin())
BUDGETS = {576: (32, 64, 128, 192), 2880: (64, 192)}
BESIDE = (FarthestFirst(), StochasticGreedy(), ThresholdGreedy(), LocalSearch(), LocalSearch(Random()))
"""What runs beside the default solvers."""
GROUP = ["objective", "n", "budget", "solver"]


def solvers_compared() -> tuple[AbstractSolver, ...]:
    """The default solvers and those of `BESIDE` that are not among them."""
    default = default_solvers()
    known = {solver.name for solver in default}
    return (*default, *(solver for solver in BESIDE if solver.name not in known))


def problems(images: int, *, mosaic: bool = True) -> list[Problem]:
    """The first `images` pictures, with the map of attention that their files leave out, and the mosaic."""
    names = instances.names()
    single = [name for name in names if not name.startswith("mosaic")]
    if not 1 <= images <= len(single):
        raise ValueError(f"`images` must be in [1, {len(single)}], got {images}")
    vlm = load(str(MODEL))
    samples = islice(iter(MiniVqa()), images)
    found = [with_attention_map(vlm, instances.load(name), s) for name, s in zip(single, samples, strict=False)]
    return found + [instances.load(name) for name in names if mosaic and name.startswith("mosaic")]


def run(
    chosen: Sequence[Problem],
    objectives: Sequence[AbstractObjective[Any]] = OBJECTIVES,
    *,
    solvers: Sequence[AbstractSolver] | None = None,
    budgets: Mapping[int, tuple[int, ...]] | None = None,
    seconds: float = 3.0,
    store: Path | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Rows of `compare` for each size of problem."""
    frames = [
        compare(
            [problem for problem in chosen if problem.tokens == n],
            solvers_compared() if solvers is None else solvers,
            objectives,
            budgets=(budgets or BUDGETS)[n],
            time_limit=seconds,
            n_jobs=1,  # times are among the results
            store=store,
            progress=progress,
        ).frame
        for n in dict.fromkeys(problem.tokens for problem in chosen)
    ]
    return pd.concat(frames, ignore_index=True)


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """A row per objective, size, budget and solver.

    Every gap is taken to the smallest bound that anybody proved for the problem, budget and objective.

    Columns
    -------
    gap_mean, gap_median, gap_worst
        (bound - value) / |bound| over the problems, as in `selection.csv`; for a log-determinant, which has no natural
        zero, (bound - value) / budget: nats per token, of which exp is the factor between geometric mean volumes.
    gap_unit
        "share" or "nats per token".
    ratio_mean, ratio_worst
        value / largest value that any solver found; empty for a log-determinant.
    problems, solved
        Problems looked at, and those the solver could run.
    optimal, proven
        Problems on which the value is that of a proven optimum, whoever proved it, and those on which the solver itself
        proved it.
    """
    cell = [column for column in GROUP if column != "solver"] + ["problem"]
    rows = rows.assign(
        bound=rows.groupby(cell)["upper_bound"].transform("min"),
        best=rows.groupby(cell)["value"].transform("max"),
        closed=(rows["status"] == Status.OPTIMAL.label).groupby([rows[name] for name in cell]).transform("any"),
    )
    return pd.DataFrame(
        [
            dict(zip(GROUP, key, strict=True)) | _measured(part, log_det=str(key[0]).startswith("LogDet"))
            for key, part in rows.groupby(GROUP, sort=False)
        ]
    )


def _measured(part: pd.DataFrame, *, log_det: bool) -> dict[str, object]:
    solved = part[part["value"].notna()]
    short = (solved["bound"] - solved["value"]).clip(lower=0.0)
    scale = solved["budget"].astype("float64") if log_det else solved["bound"].abs()
    gap = short / scale.where(scale > 0)
    ratio = solved["value"] / solved["best"].where(solved["best"] > 0)
    tie = ROUNDING * solved["best"].abs().clip(lower=1.0)
    if log_det:
        ratio = ratio * np.nan
    return {
        "kind": kind_of(str(part["solver"].iloc[0])),
        "value_mean": solved["value"].mean(),
        "bound_mean": solved["bound"].mean(),
        "gap_mean": gap.mean(),
        "gap_median": gap.median(),
        "gap_worst": gap.max(),
        "gap_unit": "nats per token" if log_det else "share",
        "ratio_mean": ratio.mean(),
        "ratio_worst": ratio.min(),
        "seconds_mean": solved["seconds"].mean(),
        "problems": part["problem"].nunique(),
        "solved": solved["problem"].nunique(),
        "optimal": int((solved["closed"] & (solved["value"] >= solved["best"] - tie)).sum()),
        "proven": int((part["status"] == Status.OPTIMAL.label).sum()),
        "reason": next((reason for reason in part["reason"] if reason), ""),
    }


def main(
    images: Annotated[int, typer.Option(help="pictures with 576 tokens")] = 20,
    mosaic: Annotated[bool, typer.Option(help="whether the problem with 2,880 tokens runs too")] = True,
    seconds: Annotated[float, typer.Option(help="time limit of each solver and each bound")] = 3.0,
    work: Annotated[Path, typer.Option(help="finished runs, kept for the next call")] = Path("runs/certify"),
    target: Annotated[Path, typer.Option(help="the table")] = TARGET,
) -> None:
    """Solve, bound and write the table."""
    chosen = problems(images, mosaic=mosaic)
    table = summarise(run(chosen, seconds=seconds, store=work))
    stamp: dict[str, Any] = {"time_limit": seconds, "config_hash": load(str(MODEL)).config_hash}
    stamp |= {"task_checksum": MiniVqa().checksum, **provenance()}
    target.parent.mkdir(parents=True, exist_ok=True)
    table.assign(**stamp).to_csv(target, index=False, float_format="%.6g")
    typer.echo(f"{target}: {len(table)} rows on {len(chosen)} problems")


if __name__ == "__main__":
    typer.run(main)
