"""Tables of causes: means over images with bootstrap intervals, long format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import rankdata

from analysis.metrics import Interval, bootstrap_interval

RESAMPLES = 1000


def means(rows: pd.DataFrame, by: Sequence[str], values: Sequence[str]) -> pd.DataFrame:
    """Mean of each column of `values` in each group of `by`, intervals from resampled images.

    Columns `by`, metric, estimate, low, high, images; NaN is left out.
    """
    found = []
    for key, part in rows.groupby(list(by), sort=False):
        label = dict(zip(by, key, strict=True))
        for name in values:
            known = part[part[name].notna()]
            if len(known):
                interval = bootstrap_interval(known[name], groups=known["image_id"], resamples=RESAMPLES)
                found.append(label | {"metric": name} | _ends(interval) | {"images": known["image_id"].nunique()})
    return pd.DataFrame(found)


def accuracy_by(rows: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Accuracy by task, and their mean with equal weights as task "mean", intervals from resampled images.

    Columns `by`, task, estimate, low, high, questions, images.
    """
    found = []
    for key, part in rows.groupby(list(by), sort=False):
        label = dict(zip(by, key, strict=True))
        cells: list[tuple[str, pd.DataFrame, Any]] = [
            (str(task), cell, None) for task, cell in part.groupby("task", sort=False)
        ]
        for task, cell, strata in [*cells, ("mean", part, part["task"])]:
            interval = bootstrap_interval(
                cell["correct"].astype(bool), groups=cell["image_id"], strata=strata, resamples=RESAMPLES
            )
            size = {"questions": cell["question_id"].nunique(), "images": cell["image_id"].nunique()}
            found.append(label | {"task": task} | _ends(interval) | size)
    return pd.DataFrame(found)


def correlation(
    first: npt.ArrayLike, second: npt.ArrayLike, images: npt.ArrayLike, *, resamples: int = RESAMPLES
) -> dict[str, float]:
    """Spearman correlation of two columns over units, with an interval from resampled images: estimate, low, high.

    0 where one of them does not vary.
    """
    pair = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    return resampled(lambda units: spearman_of(pair[0][units], pair[1][units]), images, resamples=resamples)


def resampled(
    statistic: Callable[[npt.NDArray[np.int64]], float], images: npt.ArrayLike, *, resamples: int = RESAMPLES
) -> dict[str, float]:
    """A statistic of unit indices with its interval from resampled images: estimate, low, high."""
    units = np.arange(np.size(images))
    interval = bootstrap_interval(
        units, groups=images, statistic=lambda drawn: statistic(drawn.astype(np.int64)), resamples=resamples
    )
    return _ends(interval)


def spearman_of(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> float:
    """Spearman correlation of two columns, mean ranks for ties; 0 where one does not vary."""
    ranks = [rankdata(values) - (len(values) + 1) / 2 for values in (first, second)]
    scale = float(np.sqrt((ranks[0] ** 2).sum() * (ranks[1] ** 2).sum()))
    return float(ranks[0] @ ranks[1]) / scale if scale > 0 else 0.0


def _ends(interval: Interval) -> dict[str, float]:
    return {"estimate": interval.estimate, "low": interval.low, "high": interval.high}
