"""Accuracy per pruner, budget and task, with intervals that respect that questions of one image go together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from analysis.metrics.stats import Interval, bootstrap_interval

SETTING = ["model", "pruner", "keep", "position_ids"]
MEAN = "mean"
COSTS = ("kept", "flops", "kv_bytes", "select_ms")


def accuracy_table(frame: pd.DataFrame, *, level: float = 0.95, resamples: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Accuracies with bootstrap intervals from the rows of `evaluate`: means of `score`, or of `correct` without it.

    Images are drawn with replacement, each with all its questions and all seeds of a pruner, because questions about
    one picture fail together. All settings see the same draws. So an interval says what other images would change, and
    nothing of what another training of the model would: that is `reproducibility`.

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
        If a column is missing, the frame is empty, a question occurs twice under one setting and seed, or rows of
        several scorers are mixed, whose numbers must not be averaged.
    """
    frame = checked_rows(frame, COSTS)
    options: dict[str, Any] = {"level": level, "resamples": resamples, "seed": seed}
    rows = []
    for key, cell in frame.groupby(SETTING, sort=False):
        setting = dict(zip(SETTING, key, strict=True))
        for task, part in cell.groupby("task", sort=False):
            interval = bootstrap_interval(part["score"], groups=part["image_id"], **options)
            rows.append({**setting, "task": task, **_row(part, interval)})
        mean = bootstrap_interval(cell["score"], groups=cell["image_id"], strata=cell["task"], **options)
        rows.append({**setting, "task": MEAN, **_row(cell, mean)})
    return pd.DataFrame(rows)


def _row(part: pd.DataFrame, interval: Interval) -> dict[str, float]:
    return {
        "estimate": interval.estimate,
        "low": interval.low,
        "high": interval.high,
        "questions": part["question_id"].nunique(),
        "images": part["image_id"].nunique(),
        **{name: part[name].mean() for name in COSTS},
    }


def checked_rows(frame: pd.DataFrame, also: Sequence[str] = ()) -> pd.DataFrame:
    """Rows of `evaluate` with the column score in [0, 1]; tasks that are right or wrong alone give only `correct`.

    Raises
    ------
    ValueError
        As `accuracy_table`, and if one of the columns `also` is missing.
    """
    _check(frame, also)
    if "score" not in frame.columns:
        return frame.assign(score=frame["correct"])
    if "correct" not in frame.columns:
        return frame
    return frame.assign(score=frame["score"].fillna(frame["correct"].astype(float)))


def identity(frame: pd.DataFrame) -> list[str]:
    """Columns that name a question: several benchmarks may number theirs alike."""
    return ["question_id", *(["benchmark"] if "benchmark" in frame.columns else [])]


def _check(frame: pd.DataFrame, also: Sequence[str]) -> None:
    verdict = "score" if "score" in frame.columns else "correct"
    needed = [*SETTING, "seed", "image_id", "question_id", "task", verdict, *also]
    missing = [name for name in needed if name not in frame.columns]
    if missing:
        raise ValueError(f"`frame` lacks the column(s) {', '.join(missing)}")
    if frame.empty:
        raise ValueError("`frame` must not be empty")
    scorers = frame["scorer"].dropna().unique() if "scorer" in frame.columns else ()
    if len(scorers) > 1:
        raise ValueError(f"`frame` must have one scorer, or its numbers must not be averaged, got {', '.join(scorers)}")
    if frame.duplicated([*SETTING, "seed", *identity(frame)]).any():
        raise ValueError("`frame` holds a question twice under one setting and seed")
