"""Run solvers on problems and collect one row per run: resumable, parallel, reproducible."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import joblib
import pandas as pd

from .baselines import Random, TopK, UniformGrid
from .bounds import upper_bound
from .constraints import NoSelectionError
from .dpp import DppMap, KDpp
from .exact import Exact
from .greedy import Greedy
from .names import identity
from .objectives import AbstractObjective, FacilityLocation
from .parts import Parts
from .problem import Problem
from .progress import progress_bar
from .provenance import code_digest, own_code_digest, provenance
from .published import published_rules
from .solution import Status, relative_gap
from .solver import ROUNDING, AbstractSolver, checked_seed, checked_time_limit
from .study import COLUMNS, Study


def default_solvers() -> tuple[AbstractSolver, ...]:
    """What `compare` runs if it is told nothing: baselines, greedy, DPP, exact, and `published_rules`."""
    general = (Random(), UniformGrid(), TopK(), Greedy(), DppMap(), KDpp(), Exact())
    return (*general, *published_rules())


def compare(
    problems: Problem | Iterable[Problem],
    solvers: Sequence[AbstractSolver] | None = None,
    objective: AbstractObjective[Any] | Sequence[AbstractObjective[Any]] | None = None,
    *,
    budgets: Sequence[int] | None = None,
    seeds: Sequence[int] = (0,),
    time_limit: float | None = 60.0,
    n_jobs: int | None = None,
    store: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Study:
    """Run every solver on every problem, at every budget, under every objective, and bound each from above.

    Parameters
    ----------
    problems
        One or several problems with distinct ids.
    solvers
        Solvers with distinct names; default: `default_solvers()`.
    objective
        What selections are scored by, one or several with distinct names; default `FacilityLocation()`.
    budgets
        Budgets to run each problem at; default: its own.
    seeds
        Seeds of the solvers that use chance; the others run once, under the first.
    time_limit
        Seconds for each run and, apart from them, for the bound that the runs of a cell share; None lets them finish.
        One-pass methods do not look at it. What a time limit cuts off depends on the machine; without one, or where
        everything finishes in time, repeated studies agree in all but the seconds.
    n_jobs
        Processes, as in joblib; each does all runs of one cell (a problem, a budget and an objective). None means one,
        or what an enclosing `joblib.parallel_config` says: under ``parallel_config(backend="dask")`` cells run on the
        workers of a `distributed` cluster, which may die on the way. 1 stays in this process in any case.
    store
        Folder in which finished runs are kept; workers on other machines must see it. A run that was interrupted,
        killed included, continues there. Runs are recognised by id and data of the problem, budget, classes and
        parameters of objective and solver, seed, time limit, and source code: that of this package, and that of the
        classes of `objective` and `solvers` if these are somebody else's. Runs of other code are neither used nor
        touched. A damaged file is reported by a warning and its run repeated.
    progress
        Whether to show a progress bar on the terminal.

    Returns
    -------
    Study
        Rows in the order problem, budget, objective, solver, seed. All rows of a cell share one upper bound, except
        where a solver proved a smaller one for itself.

    Raises
    ------
    ValueError
        For no problems, solvers, objectives or seeds, repeated ids or names, a budget that does not fit, a seed that
        is no non-negative integer, or a time limit that is not positive.
    RuntimeError
        If a worker runs other code of this package than the caller.

    Notes
    -----
    Each run gets a seed derived from the names of problem and solver and the given seed. So adding a solver never
    changes the numbers of another.

    Examples
    --------
    >>> import numpy as np
    >>> problem = Problem.from_features(np.eye(6) + 0.1, budget=2)
    >>> compare(problem, [Greedy()], progress=False).frame["status"].tolist()
    ['feasible']
    >>> from solvers import MaxMin
    >>> both = compare(problem, [Greedy()], [FacilityLocation(), MaxMin()], progress=False)
    >>> both.frame["objective"].tolist()
    ['FacilityLocation', 'MaxMin']
    """
    listed = [problems] if isinstance(problems, Problem) else list(problems)
    chosen = default_solvers() if solvers is None else tuple(solvers)
    _distinct("problems", [problem.id for problem in listed])
    _distinct("solvers", [solver.name for solver in chosen])
    seeds = tuple(checked_seed(seed) for seed in seeds)
    _distinct("seeds", [str(seed) for seed in seeds])
    time_limit = checked_time_limit(time_limit)
    if budgets is not None:
        _distinct("budgets", [str(budget) for budget in budgets])
    folder = None if store is None else str(Parts(store).folder)
    objectives = _objectives(objective)
    _distinct("objective", [scored_by.name for scored_by in objectives])
    identities = tuple(_recognised_by(solver) for solver in chosen)
    cells = [
        _Cell(sized, chosen, scored_by, seeds, time_limit, folder, identities, _recognised_by(scored_by), code_digest())
        for problem in listed
        for sized in ([problem] if budgets is None else [problem.with_budget(budget) for budget in budgets])
        for scored_by in objectives
    ]
    rows = [row for cell in _run_all(cells, n_jobs, progress) for row in cell]
    frame = pd.DataFrame(rows)
    # A column of floats only, also where every run was unsupported.
    numbers = ["value", "upper_bound", "gap", "relative_gap", "seconds"]
    frame[numbers] = frame[numbers].astype("float64")
    return Study(frame[[*COLUMNS, *(name for name in frame.columns if name not in COLUMNS)]])


def child_seed(problem_id: str, solver_name: str, seed: int) -> int:
    """Seed of one run, a 63-bit number derived from names, so that it does not depend on what else is run."""
    digest = hashlib.sha256(f"{problem_id}\x1f{solver_name}\x1f{seed}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def _objectives(
    given: AbstractObjective[Any] | Sequence[AbstractObjective[Any]] | None,
) -> list[AbstractObjective[Any]]:
    listed: list[AbstractObjective[Any]] = [FacilityLocation()]
    if given is not None:
        listed = [given] if isinstance(given, AbstractObjective) else list(given)
    wrong = next((entry for entry in listed if not isinstance(entry, AbstractObjective)), None)
    if wrong is not None:
        raise ValueError(f"`objective` must be one or several objectives of `solvers.OBJECTIVES`, got {wrong!r}")
    return listed


def _recognised_by(entry: AbstractSolver | AbstractObjective[Any]) -> str:
    """Class, parameters and source of a solver or objective, found by the caller: a worker may not have the source."""
    return f"{identity(entry)}{own_code_digest(entry)}"


@dataclass(frozen=True, eq=False)
class _Cell:
    """All runs of one problem at one budget under one objective.

    It travels to workers inside the task. Dask's joblib backend would rather lay an argument of more than a kilobyte
    (`sys.getsizeof`) on one worker, where it dies with it; an instance of this class is smaller than that.
    """

    problem: Problem
    solvers: tuple[AbstractSolver, ...]
    objective: AbstractObjective[Any]
    seeds: tuple[int, ...]
    time_limit: float | None
    store: str | None
    solver_identities: tuple[str, ...]
    objective_identity: str
    code: str

    def runs(self) -> Iterator[tuple[AbstractSolver, str, int]]:
        """Solver, what it is recognised by, and seed."""
        for solver, recognised_by in zip(self.solvers, self.solver_identities, strict=True):
            for seed in self.seeds[:1] if solver.deterministic else self.seeds:
                yield solver, recognised_by, seed


def _run_all(cells: list[_Cell], n_jobs: int | None, progress: bool) -> list[list[dict[str, Any]]]:
    with progress_bar(progress) as bar:
        task = bar.add_task("solving", total=sum(1 for cell in cells for _ in cell.runs()))
        if (joblib.effective_n_jobs(None) if n_jobs is None else n_jobs) == 1:
            return [_run(cell, lambda: bar.advance(task)) for cell in cells]
        results: list[list[dict[str, Any]]] = []
        for rows in joblib.Parallel(n_jobs=n_jobs, return_as="generator")(joblib.delayed(_run)(c) for c in cells):
            results.append(rows)
            bar.advance(task, len(rows))
    return results


def _run(cell: _Cell, finished: Callable[[], None] = lambda: None) -> list[dict[str, Any]]:
    if code_digest() != cell.code:
        raise RuntimeError(
            f"this worker runs the code {code_digest()}, and the caller {cell.code}: install one version"
        )
    parts = None if cell.store is None else Parts(cell.store)
    about = {
        "version": provenance()["prunescope"],
        "code": cell.code,
        "data": cell.problem.fingerprint,
        "problem": cell.problem.id,
        "budget": cell.problem.budget,
        "objective": cell.objective_identity,
        "time_limit": cell.time_limit,
    }
    shared: dict[str, Any] | None = None
    rows = []
    for solver, recognised_by, seed in cell.runs():
        key = about | {"solver": recognised_by, "seed": seed}
        row = None if parts is None else parts.read(key)
        if row is None:
            if shared is None:
                shared = _shared_bound(cell, about, parts)
            row = _row(cell, solver, seed, shared)
            if parts is not None:
                parts.write(key, row)
        rows.append(row)
        finished()
    return rows


def _shared_bound(cell: _Cell, about: dict[str, Any], parts: Parts | None) -> dict[str, Any]:
    key = about | {"upper_bound": True}
    stored = None if parts is None else parts.read(key)
    if stored is not None:
        return stored
    if cell.objective.supports(cell.problem) is not None:
        return {"value": math.inf, "method": "none"}
    # No solver's value goes in: the bound must not depend on who takes part.
    bound = upper_bound(cell.problem, cell.objective, time_limit=cell.time_limit)._asdict()
    if parts is not None:
        parts.write(key, bound)
    return bound


def _row(cell: _Cell, solver: AbstractSolver, seed: int, shared: dict[str, Any]) -> dict[str, Any]:
    problem, objective = cell.problem, cell.objective
    row: dict[str, Any] = {
        "problem": problem.id,
        "n": problem.tokens,
        "budget": problem.budget,
        "objective": objective.name,
        "solver": solver.name,
        "seed": seed,
    }
    reason = solver.supports(problem, objective)
    if reason is not None:
        return row | _without_value(shared, Status.UNSUPPORTED, reason)
    run_seed = child_seed(problem.id, solver.name, seed)
    try:
        solution = solver.solve(problem, objective, seed=run_seed, time_limit=cell.time_limit)
    except NoSelectionError as error:
        return row | _without_value(shared, Status.NO_SELECTION, str(error))
    bound, method = shared["value"], shared["method"]
    if solution.value > bound + ROUNDING * max(1.0, abs(solution.value)):
        raise RuntimeError(f"{solver.name} on {problem.id} exceeds the {method} bound {bound!r}: {solution.value!r}")
    if solution.upper_bound < bound:
        bound, method = solution.upper_bound, solver.name
    bound = max(bound, solution.value)
    return (
        row
        | {
            "value": solution.value,
            "upper_bound": bound,
            "gap": bound - solution.value,
            "relative_gap": relative_gap(solution.value, bound),
            "bound_method": method,
            "seconds": solution.seconds,
            "evaluations": solution.evaluations,
            "status": solution.status.label,
            "reason": "",
            "selected": solution.selected.tolist(),
            "trace": [list(point) for point in solution.trace],
        }
        | provenance()
    )


def _without_value(shared: dict[str, Any], status: Status, reason: str) -> dict[str, Any]:
    empty = {"value": None, "upper_bound": shared["value"], "gap": None, "relative_gap": None, "seconds": None}
    about = {"bound_method": shared["method"], "evaluations": 0, "status": status.label, "reason": reason}
    return empty | about | {"selected": [], "trace": []} | provenance()


def _distinct(name: str, values: list[str]) -> None:
    if not values:
        raise ValueError(f"`{name}` must not be empty")
    repeated = next((value for value in values if values.count(value) > 1), None)
    if repeated is not None:
        raise ValueError(f"`{name}` must be distinct, got {repeated!r} more than once")
