"""Checks and orderings of the tidy frames that figures and report read; nothing here computes a statistic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from . import palette

INTERVAL = ("estimate", "low", "high")


class Schema(NamedTuple):
    """Columns of one of the frames."""

    name: str
    key: tuple[str, ...]
    """Columns that together name a row: no two rows agree in all of them."""
    values: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns; others are allowed and not looked at."""
        return self.key + self.values

    def check(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return `frame` if it has the columns, at least one row, and no row twice.

        Raises
        ------
        ValueError
            Otherwise, naming the frame and what is wrong.
        """
        missing = [column for column in self.columns if column not in frame.columns]
        if missing:
            raise ValueError(
                f"`{self.name}` must have the columns {', '.join(self.columns)}; missing: {', '.join(missing)}"
            )
        if frame.empty:
            raise ValueError(f"`{self.name}` must have at least one row, got none")
        again = frame[frame.duplicated(list(self.key))]
        if len(again):
            twice = ", ".join(str(value) for value in again.iloc[0][list(self.key)])
            raise ValueError(f"`{self.name}` must have one row per {', '.join(self.key)}; got several for {twice}")
        return frame


ATTENTION = Schema("attention", ("source", "layer", "metric"), (*INTERVAL, "uniform"))
QUARTILES = Schema("quartiles", ("source", "layer", "quartile"), INTERVAL)
SELECTION = Schema("selection", ("solver", "objective", "keep"), ("kind", "value", "gap", "low", "high", "seconds"))
ACCURACY = Schema("accuracy", ("pruner", "keep", "task"), INTERVAL)
PROGRESS = Schema("progress", ("objective", "budget", "solver", "seconds"), ("relative_gap", "proven_gap"))
FRONT = Schema("front", ("objective", "budget", "solver"), ("relative_gap", "seconds", "efficient"))
OPTIMISING = Schema("optimising", ("objective", "keep", "solver"), ("share_mean", "accuracy", "low", "high"))
SCORES = Schema("scores", ("score", "keep"), INTERVAL)
LATENCY = Schema("latency", ("model", "pruner", "keep"), ("of", "visual", "first_token_ms", "total_ms", "note"))
WORK = Schema("work", ("model", "pruner", "keep"), ("of", "first_token_ms", "first_token_flops"))
PHASES = Schema("phases", ("model", "pruner", "keep", "phase"), ("of", "flops", "bytes", "seconds"))
COST = Schema("cost", ("pruner", "keep"), ("flops_ratio", "kv_ratio"))

CURVES = Schema("curves", ("source", "layer", "share"), ("mass",))
PUBLISHED_CURVES = Schema("published", ("source", "label", "share"), ("mass",))
HISTOGRAM = Schema("histogram", ("source", "layer", "score"), ("share",))
FREQUENCY = Schema("frequency", ("source", "layer", "position"), ("frequency", "even"))
PROFILE = Schema("profile", ("source", "layer", "token"), ("row", "column", "weight"))
HEADS = Schema("heads", ("source", "layer", "head"), ())
QUARTILE_KEPT = Schema("kept", ("model", "layer", "quartile"), INTERVAL)
AGREEMENT = Schema("agreement", ("source", "layer", "other_source", "other_layer"), ("estimate",))

FULL = "none"
"""Pruner name of the stock model in accuracy and cost frames."""
MEAN = "mean"
"""Task name of the mean over tasks."""


def budgets(frame: pd.DataFrame) -> list[int]:
    """Budgets of the pruned rows, largest first; the full model is not a budget."""
    pruned = frame if "pruner" not in frame.columns else frame[frame["pruner"] != FULL]
    return sorted({int(keep) for keep in pruned["keep"]}, reverse=True)


def chosen_budget(frame: pd.DataFrame, keep: int | None, name: str) -> int:
    """`keep`, or the lower median budget of `frame` for None.

    Raises
    ------
    ValueError
        If the frame has no pruned row, or none with `keep`.
    """
    known = budgets(frame)
    if not known:
        raise ValueError(f"`{name}` must have rows of at least one pruner besides {FULL!r}")
    if keep is None:
        return known[len(known) // 2]
    if keep not in known:
        raise ValueError(f"`keep` must be one of {', '.join(map(str, known))}, got {keep}")
    return keep


def full_model(accuracy: pd.DataFrame, task: str = MEAN) -> pd.Series | None:
    """Row of the stock model for `task`, or None where the frame has none."""
    rows = accuracy[(accuracy["pruner"] == FULL) & (accuracy["task"] == task)]
    return None if rows.empty else rows.iloc[0]


def ranked(accuracy: pd.DataFrame, keep: int, task: str = MEAN) -> list[str]:
    """Pruners in falling order of their estimate for `task` at `keep`; ties by name."""
    rows = accuracy[(accuracy["pruner"] != FULL) & (accuracy["keep"] == keep) & (accuracy["task"] == task)]
    order = np.lexsort((rows["pruner"].astype(str), -rows["estimate"].to_numpy(float)))
    return [str(name) for name in rows["pruner"].to_numpy()[order]]


def contenders(pruners: Sequence[str]) -> list[str]:
    """Those that are neither the full model nor the oracle, which knows the answer's tokens."""
    return [name for name in pruners if palette.key(name) not in {"none", "oracle"}]


def tasks(accuracy: pd.DataFrame) -> list[str]:
    """Task names in order of appearance, without the mean."""
    return [str(task) for task in accuracy["task"].unique() if task != MEAN]


def against_full(frame: pd.DataFrame, column: str, name: str) -> pd.DataFrame:
    """Pruned rows with `column` as a share of that of the stock model on the same model, in a new column `share`.

    Raises
    ------
    ValueError
        If a model has no stock row, or none is left.
    """
    full = frame[frame["pruner"] == FULL].set_index("model")[column]
    pruned = frame[frame["pruner"] != FULL]
    lost = [str(model) for model in pruned["model"].unique() if model not in full.index]
    if lost or pruned.empty:
        which = f" for {lost[0]}" if lost else " and those of pruners"
        raise ValueError(f"`{name}` must have the row of the full model, pruner {FULL!r},{which}")
    return pruned.assign(share=pruned[column].to_numpy(float) / full.loc[pruned["model"]].to_numpy(float))


def timed(latency: pd.DataFrame) -> pd.DataFrame:
    """Rows of a latency table, once checked, that did not fail: their note is empty, or missing as read from CSV."""
    note = LATENCY.check(latency)["note"]
    return latency[note.isna() | (note == "")]
