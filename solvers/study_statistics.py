"""What the rows of a study say about its solvers: ranks, profiles, progress over time, trade-offs, agreement.

Functions of the solved rows of `Study.frame`. An instance is a problem at one budget under one objective; where
a solver ran under several seeds on it, these are averaged first.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from .arrays import Float64Array

INSTANCE = ["problem", "budget", "objective"]
GRID_POINTS = 60


class CriticalDifference(NamedTuple):
    """Which solvers differ in mean rank by more than chance: Friedman's test and Nemenyi's after it."""

    ranks: pd.Series
    """Mean rank by solver, best (smallest) first."""
    difference: float
    """Two solvers whose mean ranks are at least this far apart differ at level `alpha`."""
    groups: tuple[tuple[str, ...], ...]
    """Largest sets of two or more solvers between which no difference is shown, best first."""
    statistic: float
    """Friedman's chi-square with k - 1 degrees of freedom, corrected for ties."""
    p_value: float
    """Of the hypothesis that all solvers are equal; read `groups` only where it is below `alpha`."""
    alpha: float
    instances: int
    """Complete instances that the test is about."""


def mean_values(solved: pd.DataFrame) -> pd.DataFrame:
    """Value [instance, solver], mean over seeds, NaN where a solver did not run."""
    return solved.pivot_table(index=INSTANCE, columns="solver", values="value", aggfunc="mean", observed=True)


def critical_difference(values: pd.DataFrame, alpha: float) -> CriticalDifference:
    """See `Study.critical_difference`; `values` is [instance, solver]."""
    from scipy.stats import friedmanchisquare, rankdata, studentized_range  # half a second to import

    if not 0 < alpha < 1:
        raise ValueError(f"`alpha` must be in (0, 1), got {alpha}")
    complete = values.dropna()
    instances, count = complete.shape
    if count < 3 or instances < 2:
        raise ValueError(
            "a critical difference needs at least 3 solvers and 2 instances that all of them ran on, got "
            f"{count} solvers and {instances} of {len(values)} instances"
        )
    ranked = rankdata(-complete.to_numpy(dtype=np.float64), axis=1)
    means = pd.Series(ranked.mean(axis=0), index=[str(name) for name in complete.columns], name="mean rank")
    means = means.sort_values(kind="stable")
    if (ranked == ranked[:, :1]).all():
        statistic, p_value = 0.0, 1.0  # all tie everywhere: the formula divides 0 by 0
    else:
        statistic, p_value = map(float, friedmanchisquare(*ranked.T))
    quantile = float(studentized_range.ppf(1 - alpha, count, np.inf)) / np.sqrt(2)
    difference = float(quantile * np.sqrt(count * (count + 1) / (6 * instances)))
    return CriticalDifference(means, difference, _groups(means, difference), statistic, p_value, alpha, instances)


def _groups(means: pd.Series, difference: float) -> tuple[tuple[str, ...], ...]:
    names, ranks = list(means.index), means.to_numpy(dtype=np.float64)
    found, covered = [], 0
    for first in range(len(names)):
        end = int(np.searchsorted(ranks, ranks[first] + difference, side="left"))
        if end - first > 1 and end > covered:
            found.append(tuple(names[first:end]))
            covered = end
    return tuple(found)


def performance_profile(values: pd.DataFrame, shortfalls: npt.ArrayLike | None) -> pd.DataFrame:
    """See `Study.performance_profile`; `values` is [instance, solver]."""
    best = values.max(axis="columns")
    short = values.rsub(best, axis="index").div(best.abs().replace(0.0, 1.0), axis="index")
    occurring = short.to_numpy(dtype=np.float64)
    grid = np.unique(occurring[~np.isnan(occurring)]) if shortfalls is None else np.asarray(shortfalls)
    shares = {name: [(short[name] <= limit).mean() for limit in grid] for name in short.columns}
    return pd.DataFrame(shares, index=pd.Index(grid, name="shortfall"))


def gap_versus_time(solved: pd.DataFrame, seconds: npt.ArrayLike | None) -> pd.DataFrame:
    """See `Study.gap_versus_time`."""
    rows = []
    best_bound = solved.groupby(INSTANCE, observed=True)["upper_bound"].transform("min")
    groups = solved.assign(best_bound=best_bound).groupby(["objective", "budget"], sort=False, observed=True)
    for (objective, budget), group in groups:
        runs = [_progress(row) for row in group.to_dict("records")]
        grid = _time_grid(runs) if seconds is None else _checked_grid(seconds)
        gaps = np.array([_gaps_at(grid, *run) for run in runs])  # [run, kind of gap, moment]
        for solver, members in group.reset_index(drop=True).groupby("solver", sort=False, observed=True):
            means = gaps[members.index].mean(axis=0)
            about = {"objective": objective, "budget": budget, "solver": solver, "runs": len(members)}
            rows += [
                about | {"seconds": moment, "relative_gap": gap, "proven_gap": proven}
                for moment, gap, proven in zip(grid.tolist(), *means.tolist(), strict=True)
                if not np.isnan(gap)
            ]
    columns = ["objective", "budget", "solver", "seconds", "relative_gap", "proven_gap", "runs"]
    return pd.DataFrame(rows, columns=columns)


def _progress(row: Mapping[Hashable, Any]) -> tuple[Float64Array, float]:
    """Events (seconds, value, own bound) [event, 3] of a run and the best bound on its instance."""
    points = [list(point) for point in row["trace"]]
    if not points:
        points = [[row["seconds"], row["value"], np.inf]]
    return np.array(points, dtype=np.float64), float(row["best_bound"])


def _time_grid(runs: list[tuple[Float64Array, float]]) -> Float64Array:
    moments = np.concatenate([events[:, 0] for events, _ in runs])
    first, last = max(float(moments.min()), 1e-9), max(float(moments.max()), 1e-9)
    grid = np.geomspace(first, last, GRID_POINTS)
    grid[-1] = last  # not a rounding error before the last event
    return grid


def _checked_grid(seconds: npt.ArrayLike) -> Float64Array:
    grid = np.asarray(seconds, dtype=np.float64)
    if grid.ndim != 1 or grid.size == 0 or not (np.isfinite(grid) & (grid >= 0)).all():
        raise ValueError(f"`seconds` must be a list of non-negative numbers, got {seconds!r}")
    return np.unique(grid)


def _gaps_at(grid: Float64Array, events: Float64Array, best_bound: float) -> Float64Array:
    """Relative gap to the best bound and to the run's own one [2, moment]; NaN before the first event."""
    last = np.searchsorted(events[:, 0], grid, side="right") - 1
    values, own_bounds = events[last, 1], events[last, 2]
    gaps = np.stack([_relative_gaps(values, np.full_like(values, best_bound)), _relative_gaps(values, own_bounds)])
    gaps[:, last < 0] = np.nan
    return gaps


def _relative_gaps(values: Float64Array, bounds: Float64Array) -> Float64Array:
    """`solution.relative_gap` of arrays; bounds below the value by rounding count as equal to it."""
    gaps = np.maximum(bounds - values, 0.0)
    scale = np.abs(values)
    relative = np.divide(gaps, scale, out=np.full_like(gaps, np.inf), where=scale > 0)
    return np.where(gaps == 0, 0.0, relative)


def pareto(solved: pd.DataFrame, column: str) -> pd.DataFrame:
    """See `Study.pareto`."""
    tables = []
    for _, group in solved.groupby(["objective", "budget"], sort=False, observed=True):
        per_instance = group.groupby(["solver", "problem"], sort=False, observed=True)[[column, "seconds"]].mean()
        by_solver = per_instance.groupby("solver", sort=False, observed=True)
        means = by_solver.mean().assign(instances=by_solver.size())
        means = means[means["instances"] == group["problem"].nunique()].copy()
        points = means[[column, "seconds"]].to_numpy(dtype=np.float64)
        means["efficient"] = _not_dominated(points)
        means["objective"], means["budget"] = group["objective"].iloc[0], group["budget"].iloc[0]
        tables.append(means.sort_values(["seconds", column], kind="stable").reset_index())
    columns = ["objective", "budget", "solver", column, "seconds", "instances", "efficient"]
    return pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)


def _not_dominated(points: Float64Array) -> npt.NDArray[np.bool_]:
    """Which finite points [solver, coordinate] no other one beats in one coordinate and equals in the rest."""
    no_worse = (points[:, None] <= points[None]).all(axis=2)
    better = (points[:, None] < points[None]).any(axis=2)
    dominated = (no_worse & better).any(axis=0)
    return np.asarray(np.isfinite(points).all(axis=1) & ~dominated)


def overlap(solved: pd.DataFrame) -> pd.DataFrame:
    """See `Study.overlap`."""
    names = [str(name) for name in solved["solver"].unique()]
    total, count = np.zeros((len(names), len(names))), np.zeros((len(names), len(names)))
    for indicator, members in _selections(solved, names):
        shared = indicator @ indicator.T
        sizes = np.diag(shared)
        similarity = shared / (sizes[:, None] + sizes[None] - shared)
        runs = members.sum(axis=0)
        pairs = runs[:, None] * runs[None]
        total += np.divide(members.T @ similarity @ members, pairs, out=np.zeros_like(total), where=pairs > 0)
        count += pairs > 0
    mean = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    np.fill_diagonal(mean, 1.0)
    return pd.DataFrame(mean, index=pd.Index(names, name="solver"), columns=pd.Index(names, name="other"))


def _selections(solved: pd.DataFrame, names: list[str]) -> Iterator[tuple[Float64Array, Float64Array]]:
    """For every instance: tokens of each run [run, token], and which solver's each run is [run, solver], as 0 and 1."""
    for _, group in solved.groupby(INSTANCE, sort=False, observed=True):
        indicator = np.zeros((len(group), int(group["n"].iloc[0])))
        for row, selected in enumerate(group["selected"]):
            indicator[row, np.asarray(selected, dtype=np.int64)] = 1.0
        yield indicator, np.equal.outer(group["solver"].astype(str).to_numpy(), np.array(names)).astype(np.float64)
