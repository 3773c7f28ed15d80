"""What the rows of `data.make.optimising` say: accuracy beside gap, and whether value and accuracy go together."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from analysis.causes.tables import resampled
from analysis.metrics import bootstrap_interval, corrected, paired_test
from solvers import Status

RANDOM, WORST = "Random", "Random(worst)"
OPTIMISERS = ("Greedy", "LocalSearch", "Exact")
"""Solvers that maximise the objective they are given, weakest first."""
SHARE = "share "
RESAMPLES = 1000


def share_of_bound(objective: str, value: float, bound: float, budget: int) -> float:
    """A value as a share of the best upper bound, at most 1 up to rounding.

    A log-determinant has no natural zero: there it is exp((value - bound) / budget), the ratio of the geometric mean
    volumes per token. Everything else here is never negative, and it is value / bound; 1 where the bound is 0.
    """
    if objective.startswith("LogDet"):
        return math.exp((value - bound) / budget)
    return value / bound if bound > 0 else 1.0


def summary_table(rows: pd.DataFrame) -> pd.DataFrame:
    """A row per keep, objective and solver.

    Columns
    -------
    accuracy, low, high
        Mean over tasks with equal weight, interval from resampled images.
    over_greedy, over_greedy_low, over_greedy_high, p_value, p_holm
        Paired difference of that accuracy to greedy under the same objective, and its sign-flip test over images,
        corrected over the objectives and solvers of `OPTIMISERS` at one budget; empty for the others.
    share_mean, share_low, share_high, gap_mean
        Mean value as a share of the best bound (see `share_of_bound`), and 1 less that: the certified gap.
    value_mean, bound_mean, proven, time_limit_hit, seconds_mean, images, questions, reason
        `proven` and `time_limit_hit` count the images whose set the solver itself proved optimal, and those on which it
        was stopped. What a time limit cuts off depends on the machine.
    """
    table = pd.DataFrame(
        [
            {"keep": keep, "objective": objective, "solver": solver} | _described(part, str(objective))
            for (keep, objective, solver), part in rows.groupby(["keep", "objective", "solver"], sort=False)
        ]
    )
    compared = pd.DataFrame(
        [found for keep, cell in rows.groupby("keep", sort=False) for found in _compared(cell, keep)]
    )
    return table.merge(compared, how="left") if len(compared) else table


def _described(part: pd.DataFrame, objective: str) -> dict[str, Any]:
    selections = part.drop_duplicates("image_id")
    asked = part[part["correct"].notna()]
    found: dict[str, Any] = dict.fromkeys(("accuracy", "low", "high", "share_mean", "share_low", "share_high"), np.nan)
    if len(asked):
        accuracy = bootstrap_interval(
            asked["correct"], groups=asked["image_id"], strata=asked["task"], resamples=RESAMPLES
        )
        share = bootstrap_interval(selections[SHARE + objective], resamples=RESAMPLES)
        found |= {"accuracy": accuracy.estimate, "low": accuracy.low, "high": accuracy.high}
        found |= {"share_mean": share.estimate, "share_low": share.low, "share_high": share.high}
    return found | {
        "gap_mean": 1.0 - found["share_mean"],
        "value_mean": selections["value"].mean(),
        "bound_mean": selections["upper_bound"].mean(),
        "proven": int((selections["status"] == Status.OPTIMAL.label).sum()),
        "time_limit_hit": int((selections["status"] == Status.TIME_LIMIT.label).sum()),
        "seconds_mean": selections["seconds"].mean(),
        "images": asked["image_id"].nunique(),
        "questions": asked["question_id"].nunique(),
        "reason": next((reason for reason in part["reason"] if reason), ""),
    }


def _compared(cell: pd.DataFrame, keep: object) -> list[dict[str, Any]]:
    """Accuracy of the better optimisers over greedy, under each objective of one budget."""
    found: list[dict[str, Any]] = []
    for objective, part in cell[cell["correct"].notna()].groupby("objective", sort=False):
        right = part.pivot(index=["image_id", "question_id", "task"], columns="solver", values="correct")
        units = right.index.to_frame()
        for solver in [name for name in OPTIMISERS[1:] if name in right.columns]:
            test = paired_test(
                right[solver],
                right[OPTIMISERS[0]],
                groups=units["image_id"],
                strata=units["task"],
                resamples=RESAMPLES,
            )
            ends = {
                "over_greedy": test.difference.estimate,
                "over_greedy_low": test.difference.low,
                "over_greedy_high": test.difference.high,
            }
            label = {"keep": keep, "objective": objective, "solver": solver}
            found.append(label | ends | {"p_value": test.p_value})
    if found:
        for row, p_holm in zip(found, corrected([row["p_value"] for row in found]), strict=True):
            row["p_holm"] = float(p_holm)
    return found


def correlation_table(rows: pd.DataFrame, *, resamples: int = RESAMPLES) -> pd.DataFrame:
    """How value and accuracy go together within an image, intervals from resampled images.

    Both are taken relative to their image's mean, which is the repeated-measures correlation (Bakdash and Marusich,
    2017, Frontiers in Psychology 8:456): what differs between pictures, easy or hard, does not count. Accuracy is the
    share of an image's questions that are right; the value is `share_of_bound`.

    Columns
    -------
    scope, objective, over
        "within": an objective's value over the sets made for it, by all solvers ("all solvers") or by those of
        `OPTIMISERS` alone ("optimisers"). "across": an objective's value over every set that was made for any of the
        objectives. "between": over the objectives, each with the set of one solver and its share of its own bound.
    statistic
        "pearson", or "spearman": the same of the ranks within the image.
    estimate, low, high
        Empty where values, or answers, are the same for all sets of each image.
    varying, images, sets
        Images whose sets differ in value, images, and sets in all.
    """
    found = []
    for keep, cell in rows[rows["correct"].notna()].groupby("keep", sort=False):
        shares = [name for name in cell.columns if str(name).startswith(SHARE)]
        key = ["image_id", "objective", "solver", "selection"]
        units = cell.groupby(key, sort=False)[["correct", *shares]].mean().reset_index()
        for scope, objective, over, part in _scopes(units):
            for statistic in ("pearson", "spearman"):
                ends = _within_images(part, ranked=statistic == "spearman", resamples=resamples)
                label = {"keep": keep, "scope": scope, "objective": objective, "over": over, "statistic": statistic}
                found.append(label | ends | {"images": part["image_id"].nunique(), "sets": len(part)})
    return pd.DataFrame(found)


def _scopes(units: pd.DataFrame) -> Iterator[tuple[str, str, str, pd.DataFrame]]:
    """Scope, objective, over, and the sets with the column `share`."""
    names = [str(name) for name in units["objective"].unique()]
    own = pd.concat(
        [part.assign(share=part[SHARE + str(name)]) for name, part in units.groupby("objective", sort=False)]
    )
    for name in names:
        part = own[own["objective"] == name]
        yield "within", name, "all solvers", part
        yield "within", name, "optimisers", part[part["solver"].isin(OPTIMISERS)]
    distinct = units.drop_duplicates(["image_id", "selection"])
    for name in names:
        yield "across", name, "all sets", distinct.assign(share=distinct[SHARE + name])
    for solver in OPTIMISERS[:2]:
        yield "between", "all", solver, own[own["solver"] == solver]


def _within_images(part: pd.DataFrame, *, ranked: bool, resamples: int) -> dict[str, float]:
    values = part[["share", "correct"]]
    by_image = part["image_id"]
    if ranked:
        values = values.groupby(by_image).rank()
    centred = (values - values.groupby(by_image).transform("mean")).to_numpy(dtype=np.float64)
    centred[np.abs(centred) < 1e-12] = 0.0  # what rounding leaves of equal values is no variation

    def statistic(units: np.ndarray) -> float:
        first, second = centred[units].T
        scale = math.sqrt(float(first @ first) * float(second @ second))
        return float(first @ second) / scale if scale > 0 else 0.0

    varying = {"varying": by_image[centred[:, 0] != 0].nunique()}
    if not centred.any(axis=0).all():
        return dict.fromkeys(("estimate", "low", "high"), np.nan) | varying
    return resampled(statistic, by_image, resamples=resamples) | varying
