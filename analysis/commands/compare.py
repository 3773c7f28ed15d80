"""`prunescope compare`: solvers and rules on selection problems, with certified gaps."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import arguments
from .completion import completing, problems
from .frame import AsJson, show_json, show_table
from .output import output_folder, write_table

if TYPE_CHECKING:
    from solvers import Problem, Study


def compare(
    problem: Annotated[
        list[str] | None,
        typer.Argument(
            help="Names of embedded problems such as mini_vqa_003, and files of Problem.save (.npz); by default the "
            "first embedded one.",
            autocompletion=problems,
        ),
    ] = None,
    solvers: Annotated[
        list[str] | None,
        typer.Option(
            help="Such as Greedy,Exact,vispruner or TopK(signal=relevance); repeatable. By default baselines, greedy, "
            "exact and every published rule.",
            autocompletion=completing("solvers"),
        ),
    ] = None,
    objective: Annotated[
        list[str] | None,
        typer.Option(help="FacilityLocation by default; repeatable.", autocompletion=completing("objectives")),
    ] = None,
    budgets: Annotated[
        list[str] | None, typer.Option(metavar="K,...", help="Tokens to keep; by default each problem's own.")
    ] = None,
    seeds: Annotated[str, typer.Option(metavar="SEED,...", help="For solvers that use chance.")] = "0",
    time_limit: Annotated[float, typer.Option(help="Seconds for each run and each bound.")] = 60.0,
    n_jobs: Annotated[int, typer.Option(help="Processes; -1 is one per core.")] = 1,
    out: Annotated[Path, typer.Option(help="Folder of runs, study and table.")] = Path("out/compare"),
    as_json: AsJson = False,
) -> None:
    """Solvers and published rules on selection problems, each value with a proven bound, as one table.

    Runs that were finished are not repeated: an interrupted comparison continues, a wider one computes what is new.
    """
    from solvers import compare as run

    chosen = [_problem(name) for name in problem or [_first()]]
    listed = arguments.solvers(solvers) if solvers else None
    scored_by = arguments.objectives(objective) if objective else None
    sizes = arguments.numbers(budgets, "budgets") if budgets else None
    folder = output_folder(out, "compare")
    study = run(
        _distinct(chosen),
        listed,
        scored_by,
        budgets=sizes,
        seeds=arguments.numbers([seeds], "seeds"),
        time_limit=time_limit,
        n_jobs=n_jobs,
        store=folder / "runs",
    )
    study.save(folder / "study.parquet")
    write_table(study.frame.drop(columns=["selected", "trace"]), folder / "study.csv")
    if as_json:
        show_json({"study": folder / "study.parquet", "runs": _runs(study)})
    else:
        _show(study)
        typer.echo(f'open {folder / "study.csv"}, or in Python: solvers.Study.load("{folder / "study.parquet"}")')


def _first() -> str:
    from solvers import instances

    return instances.names()[0]


def _problem(name: str) -> Problem:
    from solvers import Problem, instances
    from solvers.names import unknown

    if Path(name).suffix == ".npz":
        return Problem.load(name)
    if name not in instances.names():
        raise KeyError(f"{unknown(name, instances.names(), 'problem')}; or a problem file, whose name ends in .npz")
    return instances.load(name)


def _distinct(chosen: list[Problem]) -> list[Problem]:
    twice = [id for id, count in Counter(problem.id for problem in chosen).items() if count > 1]
    if twice:
        raise ValueError(f"problems must have distinct ids, got {twice[0]!r} more than once")
    return chosen


def _runs(study: Study) -> list[dict[str, object]]:
    columns = ["problem", "n", "budget", "objective", "solver", "seed", "value", "upper_bound", "relative_gap"]
    frame = study.frame[[*columns, "seconds", "status", "reason", "selected"]]
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def _show(study: Study) -> None:
    """For each objective a row per solver, best first: under each budget the mean value and its certified gap."""
    for objective in study.frame["objective"].unique():
        part = study.where(objective=objective)
        values, gaps = part.table("value"), part.table("relative_gap")
        rows = [
            [solver, *(_cell(values.loc[solver, keep], gaps.loc[solver, keep]) for keep in values.columns)]
            for solver in values.index
        ]
        show_table(["solver", *(f"keep {keep}" for keep in values.columns)], rows, title=f"{objective} (certified gap)")
    refused = study.frame[study.frame["value"].isna()].drop_duplicates("solver")
    for solver, reason in zip(refused["solver"], refused["reason"], strict=True):
        typer.echo(f"{solver} did not run everywhere: {reason}", err=True)


def _cell(value: float, gap: float) -> str:
    if value != value:
        return ""
    return f"{value:.5g} ({100 * gap:.2f} %)" if gap < float("inf") else f"{value:.5g} (no bound)"
