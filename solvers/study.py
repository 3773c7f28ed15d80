"""The table that `compare` returns, and what can be read off it."""

from __future__ import annotations

import html
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from . import study_statistics
from .files import replacing
from .latex import tabular
from .names import nearest
from .study_statistics import CriticalDifference

COLUMNS = (
    "problem", "n", "budget", "objective", "solver", "seed", "value", "upper_bound", "gap", "relative_gap",
    "bound_method", "seconds", "evaluations", "status", "reason", "selected", "trace",
)  # fmt: skip
"""Columns of `Study.frame`; those of `provenance` follow."""

KEYS = ("problem", "budget", "objective", "solver", "seed")
"""Columns that together name a row."""

SMALL_IS_GOOD = frozenset({"gap", "relative_gap", "seconds", "evaluations", "upper_bound"})


@dataclass(frozen=True, eq=False, repr=False)
class Study:
    """Results of a comparison.

    Parameters
    ----------
    frame
        One row per problem, budget, objective, solver and seed: `COLUMNS`, then provenance. `gap` is
        `upper_bound - value`, `relative_gap` the same over |value| (for log-determinants read `gap`, see
        `solution.relative_gap`), `seconds` the selection alone, `selected` the kept tokens in pick order, `trace` the
        progress of an anytime solver as a list of [seconds, value, its own upper bound], empty for the others.
        Combinations that a solver does not support have status "unsupported", the reason, and no value; so have runs
        that found no selection which keeps the constraint, with status "no_selection".

    Raises
    ------
    ValueError
        If columns are missing.
    """

    frame: pd.DataFrame

    def __post_init__(self) -> None:
        missing = [name for name in COLUMNS if name not in self.frame.columns]
        if missing:
            raise ValueError(f"`frame` must have the columns of a study, got none of the name {missing[0]!r}")

    @property
    def solved(self) -> pd.DataFrame:
        """Rows with a value."""
        return self.frame[self.frame["value"].notna()]

    def where(self, **choice: Any) -> Study:
        """The study of some rows: a value or several for any of problem, budget, objective, solver and seed.

        Raises
        ------
        KeyError
            For another name.
        ValueError
            If no row is left.

        Examples
        --------
        >>> import numpy as np
        >>> from solvers import Greedy, Problem, compare
        >>> study = compare(Problem.from_features(np.eye(4), 2), [Greedy()], budgets=[1, 2], progress=False)
        >>> study.where(budget=2).frame["budget"].tolist()
        [2]
        """
        kept = pd.Series(True, index=self.frame.index)
        for name, wanted in choice.items():
            nearest(name, KEYS, "column")
            several = isinstance(wanted, Iterable) and not isinstance(wanted, str)
            kept &= self.frame[name].isin(list(wanted) if several else [wanted])
        if not kept.any():
            raise ValueError(f"no row of the study has {', '.join(f'{k} {v!r}' for k, v in choice.items())}")
        return Study(self.frame[kept].reset_index(drop=True))

    def table(self, column: str = "value") -> pd.DataFrame:
        """Mean of `column` over problems and seeds: a row per solver, best first by `ranks`, a column per budget.

        With several objectives a column per objective and budget: they come in units of their own.

        Raises
        ------
        KeyError
            If there is no such column of numbers.
        """
        numbers = self.frame.select_dtypes("number").columns
        nearest(column, numbers, "column")
        across = "budget" if self.frame["objective"].nunique() == 1 else ["objective", "budget"]
        means = self.solved.pivot_table(
            index="solver", columns=across, values=column, aggfunc="mean", observed=True, sort=False
        )
        best_first = self.ranks().index
        return means.reindex(index=best_first[best_first.isin(means.index)], columns=self._columns(means))

    def _columns(self, means: pd.DataFrame) -> pd.Index:
        """Objectives in the order of the study, budgets ascending."""
        if means.columns.nlevels == 1:
            return means.columns.sort_values()
        place = {name: at for at, name in enumerate(self.frame["objective"].unique())}
        return means.columns[sorted(range(len(means.columns)), key=lambda at: _by_place(means.columns[at], place))]

    def ranks(self) -> pd.DataFrame:
        """Mean rank by value (1 is best, ties share their mean) of each solver, best first, and how many instances.

        Seeds are averaged first. Solvers are ranked within each problem, budget and objective among those that ran
        there, so mean ranks of solvers that ran on different instances do not compare; `critical_difference` looks at
        complete instances only.
        """
        values = study_statistics.mean_values(self.solved)
        ranks = values.rank(axis="columns", ascending=False, method="average")
        table = pd.DataFrame({"mean rank": ranks.mean(), "instances": ranks.count()})
        return table.sort_values("mean rank", kind="stable")

    def critical_difference(self, alpha: float = 0.05) -> CriticalDifference:
        """Which solvers' mean ranks differ by more than chance (Demsar, 2006, JMLR 7, section 3.2.2).

        Friedman's test of whether all are equal, and the critical difference q sqrt(k (k + 1) / (6 N)) of Nemenyi's
        test of every pair among k solvers on N instances, with q the upper quantile of the studentized range over
        sqrt(2). Only instances on which all k solvers ran are counted; leave a solver out by `where` if it costs too
        many. Solvers that ran nowhere are left out.

        Instances count as independent. The same image at several budgets or under several objectives is not: choose
        one of each by `where`.

        Parameters
        ----------
        alpha
            Level of the pairwise test, in (0, 1). Demsar's table has 0.05 and 0.10.

        Raises
        ------
        ValueError
            For fewer than 3 solvers or 2 complete instances, or an `alpha` out of range.
        """
        return study_statistics.critical_difference(study_statistics.mean_values(self.solved), alpha)

    def performance_profile(self, shortfalls: npt.ArrayLike | None = None) -> pd.DataFrame:
        """Share of instances on which a solver is within a relative shortfall of the best one (Dolan and More, 2002).

        Parameters
        ----------
        shortfalls
            Non-negative relative distances (best - value) / |best|; default: every one that occurs.

        Returns
        -------
        DataFrame
            Index `shortfall`, a column per solver, entries in [0, 1]; an instance a solver did not run counts as lost.
            Instances are problems at one budget under one objective; relative distances under a log-determinant mean
            little, see `solution.relative_gap`.
        """
        return study_statistics.performance_profile(study_statistics.mean_values(self.solved), shortfalls)

    def gap_versus_time(self, seconds: npt.ArrayLike | None = None) -> pd.DataFrame:
        """How far the best selection found so far is from the optimum, by time.

        Parameters
        ----------
        seconds
            Moments to look at; default: for each objective and budget, 60 from the first event of any run to the last,
            in equal ratios.

        Returns
        -------
        DataFrame
            Columns objective, budget, solver, seconds, relative_gap, proven_gap, runs: means over problems and seeds.
            `relative_gap` is that of the selection at this moment to the smallest upper bound that the study knows for
            the instance: progress of the search. `proven_gap` is that to the bound which the run itself had proven by
            then, inf without one: what a user knew. Without a trace, a run has one event: its result, at its end.
            Moments at which some run of the solver had no selection yet are left out.
        """
        return study_statistics.gap_versus_time(self.solved, seconds)

    def pareto(self, column: str = "relative_gap") -> pd.DataFrame:
        """Mean gap and mean seconds of each solver by objective and budget, and whether any other is better in both.

        Parameters
        ----------
        column
            "relative_gap" or "gap", small is good; the latter for log-determinants.

        Returns
        -------
        DataFrame
            Columns objective, budget, solver, `column`, seconds, instances, efficient; fastest first. `efficient` are
            the non-dominated ones. A solver without a finite mean gap is not; one that did not run on every problem
            that others of its budget and objective ran on is left out, since its means are over other problems.

        Raises
        ------
        KeyError
            For another column.
        """
        return study_statistics.pareto(self.solved, nearest(column, ("relative_gap", "gap"), "column"))

    def overlap(self) -> pd.DataFrame:
        """Mean Jaccard similarity |A n B| / |A u B| of the tokens kept by each pair of solvers.

        Returns
        -------
        DataFrame
            Solver by solver, in the order of the study, over the instances on which both ran; NaN where there is none.
            Under several seeds every pair of runs counts. It grows with the budget: look at one by `where`.
        """
        return study_statistics.overlap(self.solved)

    def to_latex(self, column: str = "value", *, decimals: int = 3) -> str:
        r"""`table(column)` as a LaTeX tabular with the best of each column in bold (smallest for gaps and seconds).

        It needs ``\usepackage{booktabs}``; names are escaped.
        """
        return tabular(self.table(column), corner="solver", decimals=decimals, lowest_is_best=column in SMALL_IS_GOOD)

    def __repr__(self) -> str:
        counts = [(self.frame[name].nunique(), name) for name in ("problem", "budget", "objective", "solver")]
        what = ", ".join(f"{count} {name}{'s' * (count != 1)}" for count, name in counts)
        unsupported = len(self.frame) - len(self.solved)
        return f"Study({what}: {len(self.solved)} runs, {unsupported} unsupported)"

    def _repr_html_(self) -> str:
        """Mean values by solver, for notebooks; names are escaped."""
        return f"<p>{html.escape(repr(self))}</p>\n{self.table().to_html(na_rep='', float_format='{:.4g}'.format)}"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the frame as Parquet in one atomic step."""
        with replacing(path) as unfinished:
            self.frame.to_parquet(unfinished, index=False)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Study:
        """Read what `save` wrote.

        Raises
        ------
        OSError
            If the file is missing or damaged.
        ValueError
            If it is a table of something else.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(f"no study at {path}")
        try:
            frame = pd.read_parquet(path)
        except (OSError, ValueError) as error:
            raise OSError(f"{path} is damaged or not a Parquet file: {error}") from error
        for name in ("selected", "trace"):  # lists come back as arrays, of arrays
            if name in frame.columns:
                frame[name] = [_lists(entry) for entry in frame[name]]
        return cls(frame)


def _lists(entry: Any) -> Any:
    return [_lists(part) for part in entry] if isinstance(entry, (list, np.ndarray)) else _plain(entry)


def _plain(entry: Any) -> Any:
    return entry.item() if isinstance(entry, np.generic) else entry


def _by_place(label: Any, place: dict[Any, int]) -> tuple[int, Any]:
    objective, budget = label
    return place[objective], budget
