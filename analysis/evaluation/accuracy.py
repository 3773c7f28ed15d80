"""Accuracy per pruner, budget and task, with intervals that respect that questions of one image go together."""

from __future__ import annotations

from typing import Any

import pandas as pd

from analysis.metrics.stats import Interval, bootstrap_interval

SETTING = ["model", "pruner", "keep", "position_ids"]
MEAN = "mean"


def accuracy_table(frame: pd.DataFrame, *, level: float = 0.95, resamples: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Accuracies with bootstrap intervals from the rows of `evaluate`.

    Images are drawn with replacement, each with all its questions and all seeds of a pruner, because questions about
    one picture fail together. All settings see the same draws.

    Parameters
    ----------
    frame
        Rows of `evaluate`, or of several calls one after another.
    level, resamples, seed
        See `analysis.metrics.stats.bootstrap_interval`.

    Returns
    -------
    pandas.DataFrame
        A row per setting and task, and one with task "mean": the mean over tasks with equal weight, whatever their
        sizes. Columns model, pruner, keep, position_ids, task, estimate, low, high, questions, images, and the means
        of kept, flops, kv_bytes and select_ms. Settings and tasks stand in the order in which they first appear.

    Raises
    ------
    ValueError
        If a column is missing, the frame is empty, or a question occurs twice under one setting and seed.
    """
    _check(frame)
    options: dict[str, Any] = {"level": level, "resamples": resamples, "seed": seed}
    rows = []
    for key, cell in frame.groupby(SETTING, sort=False):
        setting = dict(zip(SETTING, key, strict=True))
        for task, part in cell.groupby("task", sort=False):
            interval = bootstrap_interval(part["correct"], groups=part["image_id"], **options)
            rows.append({**setting, "task": task, **_row(part, interval)})
        mean = bootstrap_interval(cell["correct"], groups=cell["image_id"], strata=cell["task"], **options)
        rows.append({**setting, "task": MEAN, **_row(cell, mean)})
    return pd.DataFrame(rows)


def _row(part: pd.DataFrame, interval: Interval) -> dict[str, float]:
    return {
        "estimate": interval.estimate,
        "low": interval.low,
        "high": interval.high,
        "questions": part["question_id"].nunique(),
        "images": part["image_id"].nunique(),
        **{name: part[name].mean() for name in ("kept", "flops", "kv_bytes", "select_ms")},
    }


def _check(frame: pd.DataFrame) -> None:
    needed = [*SETTING, "seed", "image_id", "question_id", "task", "correct", "kept", "flops", "kv_bytes", "select_ms"]
    missing = [name for name in needed if name not in frame.columns]
    if missing:
        raise ValueError(f"`frame` lacks the column(s) {', '.join(missing)}")
    if frame.empty:
        raise ValueError("`frame` must not be empty")
    if frame.duplicated([*SETTING, "seed", "question_id"]).any():
        raise ValueError("`frame` holds a question twice under one setting and seed")
