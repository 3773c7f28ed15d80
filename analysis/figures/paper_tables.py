"""Tables of a paper as LaTeX: best in bold, second underlined, 95 % intervals in brackets.

Which rows compete is said here; how a table is set, in `solvers.latex`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import pandas as pd

from solvers.latex import tabular

from . import frames
from .certified_gap import OBJECTIVE_NAMES
from .palette import look, solver_look

PACKAGES: Final = "% \\usepackage{booktabs}\n"


def accuracy_tabular(accuracy: pd.DataFrame) -> str:
    """Mean accuracy in percent, a row per pruner in falling order at the middle budget, a column per budget.

    The full model and the oracle stand in the table and do not compete.

    Parameters
    ----------
    accuracy
        Columns `frames.ACCURACY`, accuracies in [0, 1].

    Raises
    ------
    ValueError
        If columns or rows are missing or a row is there twice.
    """
    order = frames.ranked(frames.ACCURACY.check(accuracy), frames.chosen_budget(accuracy, None, "accuracy"))
    rows = accuracy[accuracy["task"] == frames.MEAN]
    tables = [
        rows[rows["pruner"] != frames.FULL].pivot(index="pruner", columns="keep", values=column)
        for column in frames.INTERVAL
    ]
    tables = [100 * table.reindex(index=order, columns=frames.budgets(accuracy)) for table in tables]
    full = frames.full_model(accuracy)
    if full is not None:
        for table, column in zip(tables, frames.INTERVAL, strict=True):
            table.loc[frames.FULL] = 100 * float(full[column])
        order = [frames.FULL, *order]
    heading = "Accuracy (%) by visual tokens kept"
    return _printed([table.loc[order] for table in tables], "Pruner", frames.contenders(order), heading)


def task_tabular(accuracy: pd.DataFrame, *, keep: int | None = None) -> str:
    """Accuracy in percent at one budget, a row per pruner in falling order of the mean, a column per task.

    Parameters
    ----------
    accuracy
        Columns `frames.ACCURACY`, accuracies in [0, 1].
    keep
        Budget; None takes the lower median of the frame.

    Raises
    ------
    ValueError
        If columns or rows are missing or a row is there twice, or `keep` is not in the frame.
    """
    keep = frames.chosen_budget(frames.ACCURACY.check(accuracy), keep, "accuracy")
    order = [frames.FULL] * bool((accuracy["pruner"] == frames.FULL).any()) + frames.ranked(accuracy, keep)
    rows = accuracy[(accuracy["keep"] == keep) | (accuracy["pruner"] == frames.FULL)]
    table = rows.pivot(index="pruner", columns="task", values="estimate")
    table = 100 * table.reindex(index=order, columns=[*frames.tasks(accuracy), frames.MEAN])
    table.columns = pd.Index([str(name).replace("_", " ") for name in table.columns])
    return _printed([table], "Pruner", frames.contenders(order), f"Accuracy (%) at {keep} tokens")


def gap_tabular(selection: pd.DataFrame, *, keep: int | None = None) -> str:
    """Certified gap in percent at one budget, a row per solver or rule, a column per objective.

    Baselines do not compete. A gap that is not proven is a dash.

    Parameters
    ----------
    selection
        Columns `frames.SELECTION`.
    keep
        Budget; None takes the lower median of the frame.

    Raises
    ------
    ValueError
        If columns or rows are missing or a row is there twice, or `keep` is not in the frame.
    """
    keep = frames.chosen_budget(frames.SELECTION.check(selection), keep, "selection")
    rows = selection[selection["keep"] == keep].replace(np.inf, np.nan)
    order = [str(name) for name in rows["solver"].unique()]
    objectives = [str(name) for name in rows["objective"].unique()]
    tables = []
    for column in ("gap", "low", "high"):
        table = 100 * rows.pivot(index="solver", columns="objective", values=column)
        table = table.reindex(index=order, columns=objectives)
        table.columns = pd.Index([OBJECTIVE_NAMES.get(name, name) for name in objectives])
        tables.append(table)
    competing = rows.loc[rows["kind"] != "baseline", "solver"].unique().tolist()
    heading = f"Certified gap (%) at {keep} tokens"
    return _printed(tables, "Solver or rule", competing, heading, decimals=2, lowest_is_best=True, solvers=True)


def cost_tabular(cost: pd.DataFrame) -> str:
    """Prefill FLOPs and KV cache in percent of the full model, a row per pruner, columns per budget.

    Nothing is marked: at one budget pruners differ by their own arithmetic at most.

    Parameters
    ----------
    cost
        Columns `frames.COST`; ratios to the full model.

    Raises
    ------
    ValueError
        If columns or rows are missing or a row is there twice.
    """
    frames.COST.check(cost)
    rows = cost[cost["pruner"] != frames.FULL]
    order = [str(name) for name in rows["pruner"].unique()]
    groups = {"FLOPs (%)": "flops_ratio", "KV cache (%)": "kv_ratio"}
    parts = [
        rows.pivot(index="pruner", columns="keep", values=column).reindex(index=order, columns=frames.budgets(cost))
        for column in groups.values()
    ]
    table = 100 * pd.concat(parts, axis=1, keys=list(groups))
    return _printed([table], "Pruner", (), marks=0)


def _printed(
    tables: Sequence[pd.DataFrame],
    corner: str,
    competing: Sequence[str],
    heading: str = "",
    *,
    decimals: int = 1,
    lowest_is_best: bool = False,
    solvers: bool = False,
    marks: int = 2,
) -> str:
    """Estimates, or estimates with lower and upper ends, under the printed names of their rows."""
    name = solver_look if solvers else look
    named = [table.rename(index=lambda entry: name(str(entry)).label) for table in tables]
    if heading:
        named = [pd.concat([table], axis=1, keys=[heading]) for table in named]
    return PACKAGES + tabular(
        named[0], corner=corner, decimals=decimals, lowest_is_best=lowest_is_best, marks=marks,
        competing={name(entry).label for entry in competing},
        interval=(named[1], named[2]) if len(named) > 1 else None,
    )  # fmt: skip
