"""The table that `compare` returns, and what can be read off it."""

from __future__ import annotations

import os
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from .files import replacing
from .names import nearest

COLUMNS = (
    "problem", "n", "budget", "objective", "solver", "seed", "value", "upper_bound", "gap", "relative_gap",
    "bound_method", "seconds", "evaluations", "status", "reason", "selected",
)  # fmt: skip
"""Columns of `Study.frame`; those of `provenance` follow."""


@dataclass(frozen=True, eq=False)
class Study:
    """Results of a comparison.

    Parameters
    ----------
    frame
        One row per problem, budget, solver and seed: `COLUMNS`, then provenance. `gap` is `upper_bound - value`,
        `relative_gap` the same over |value| (for log-determinants read `gap`, see `solution.relative_gap`), `seconds`
        the selection alone, `selected` the kept tokens in pick order.
        Combinations that a solver does not support have status "unsupported", the reason, and no value.

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

    def table(self, column: str = "value") -> pd.DataFrame:
        """Mean of `column` over problems and seeds: a row per solver, best first, a column per budget.

        Raises
        ------
        KeyError
            If there is no such column of numbers.
        """
        numbers = self.frame.select_dtypes("number").columns
        nearest(column, numbers, "column")
        means = self.solved.pivot_table(index="solver", columns="budget", values=column, aggfunc="mean", observed=True)
        best_first = self.ranks()["mean rank"].reindex(means.index)
        return means.loc[best_first.sort_values(kind="stable").index]

    def ranks(self) -> pd.DataFrame:
        """Mean rank by value (1 is best, ties share their mean) of each solver, best first, and how many instances.

        Seeds are averaged first. Solvers are ranked within each problem and budget among those that ran there.
        """
        values = self._mean_values()
        ranks = values.rank(axis="columns", ascending=False, method="average")
        table = pd.DataFrame({"mean rank": ranks.mean(), "instances": ranks.count()})
        return table.sort_values("mean rank", kind="stable")

    def performance_profile(self, shortfalls: np.ndarray | None = None) -> pd.DataFrame:
        """Share of instances on which a solver is within a relative shortfall of the best one (Dolan and More, 2002).

        Parameters
        ----------
        shortfalls
            Non-negative relative distances (best - value) / |best|; default: every one that occurs.

        Returns
        -------
        DataFrame
            Index `shortfall`, a column per solver, entries in [0, 1]; an instance a solver did not run counts as lost.
        """
        values = self._mean_values()
        best = values.max(axis="columns")
        short = values.rsub(best, axis="index").div(best.abs().replace(0.0, 1.0), axis="index")
        occurring = short.to_numpy(dtype=np.float64)
        grid = np.unique(occurring[~np.isnan(occurring)]) if shortfalls is None else np.asarray(shortfalls)
        shares = {name: [(short[name] <= limit).mean() for limit in grid] for name in short.columns}
        return pd.DataFrame(shares, index=pd.Index(grid, name="shortfall"))

    def _mean_values(self) -> pd.DataFrame:
        return self.solved.pivot_table(
            index=["problem", "budget"], columns="solver", values="value", aggfunc="mean", observed=True
        )

    def to_latex(self, column: str = "value", *, decimals: int = 3) -> str:
        """`table(column)` as a LaTeX tabular with the best of each budget in bold (smallest for gaps and seconds)."""
        table = self.table(column)
        lowest = column in ("gap", "relative_gap", "seconds", "evaluations", "upper_bound")
        best = (table.min() if lowest else table.max()).to_dict()

        def cell(value: float, budget: Hashable) -> str:
            if np.isnan(value):
                return "--"
            text = f"{value:.{decimals}f}"
            return rf"\textbf{{{text}}}" if value == best[budget] else text

        lines = [
            r"\begin{tabular}{l" + "r" * len(table.columns) + "}",
            r"\hline",
            " & ".join(["solver", *(str(budget) for budget in table.columns)]) + r" \\",
            r"\hline",
        ]
        for solver, row in table.iterrows():
            name = str(solver).replace("_", r"\_")
            lines.append(" & ".join([name, *(cell(value, budget) for budget, value in row.items())]) + r" \\")
        return "\n".join([*lines, r"\hline", r"\end{tabular}", ""])

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
        return cls(frame)
