"""Whether another draw of images would rank the pruners alike: split-half reliability of an accuracy table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from .accuracy import SETTING
from .settings import STOCK


def split_half(frame: pd.DataFrame, *, splits: int = 200, seed: int = 0) -> pd.DataFrame:
    """Rank correlation of the pruners between two random halves of the images, per budget.

    In each half a pruner's accuracy is the mean over tasks with equal weight, as in `accuracy_table`; the two rankings
    are compared by Spearman's correlation, ties sharing their mean rank. All seeds of a pruner are pooled.

    Parameters
    ----------
    frame
        Rows of `evaluate` with one model and one position policy. The stock model is left out: it has one budget.
    splits
        Random halvings of the images.
    seed
        Of the halvings.

    Returns
    -------
    pandas.DataFrame
        A row per budget: keep, pruners, images, correlation (mean over the splits), low and high (their 2.5 and 97.5
        percentiles) and full_length, the correlation to expect of all images with as many others (Spearman-Brown).

    Raises
    ------
    ValueError
        If columns are missing, there are fewer than three pruners or two images, settings are mixed, or a task occurs
        in too few images to be in both halves.
    """
    _check(frame, splits)
    rng = np.random.default_rng(seed)
    images = np.sort(frame["image_id"].unique())
    sides = [rng.permutation(len(images)) < len(images) // 2 for _ in range(splits)]
    rows = []
    for keep, cell in frame[frame["pruner"] != STOCK].groupby("keep", sort=False):
        pruners = cell["pruner"].unique().tolist()
        right, asked = (by_image(cell, pruners, images, how) for how in ("sum", "size"))
        found = np.array([_correlation(right, asked, side) for side in sides])
        low, high = np.quantile(found, (0.025, 0.975))
        mean = float(found.mean())
        rows.append(
            {
                "keep": keep,
                "pruners": len(right),
                "images": len(images),
                "correlation": mean,
                "low": low,
                "high": high,
                "full_length": 2 * mean / (1 + mean),
            }
        )
    return pd.DataFrame(rows)


def _check(frame: pd.DataFrame, splits: int) -> None:
    check_answers(frame)
    if splits < 1:
        raise ValueError(f"`splits` must be at least 1, got {splits}")
    for name in ("model", "position_ids"):
        if frame[name].nunique() > 1:
            raise ValueError(f"`frame` must have one {name}, got {', '.join(map(str, frame[name].unique()))}")
    pruners = frame.loc[frame["pruner"] != STOCK, "pruner"].nunique()
    if pruners < 3:
        raise ValueError(f"a ranking needs at least 3 pruners, got {pruners}")
    scarce = frame.groupby("task")["image_id"].nunique()
    if len(frame) == 0 or scarce.min() < 2:
        raise ValueError("every task must occur in at least 2 images")


def check_answers(frame: pd.DataFrame) -> None:
    """Raise ValueError if `frame` lacks columns that a ranking needs."""
    missing = [name for name in (*SETTING, "image_id", "task", "correct") if name not in frame.columns]
    if missing:
        raise ValueError(f"`frame` lacks the column(s) {', '.join(missing)}")


def by_image(cell: pd.DataFrame, pruners: Sequence[str], images: np.ndarray, how: str) -> np.ndarray:
    """Sums or sizes of `correct` [pruner, task, image]; 0 where a task was not asked."""
    table = cell.groupby(["pruner", "task", "image_id"])["correct"].agg(how).unstack(fill_value=0)
    tasks = cell["task"].unique()
    names = pd.MultiIndex.from_product([pruners, tasks])
    values = table.reindex(index=names, columns=images, fill_value=0).to_numpy(np.float64)
    return values.reshape(len(pruners), len(tasks), len(images))


def _correlation(right: np.ndarray, asked: np.ndarray, side: np.ndarray) -> float:
    """Spearman's correlation of the pruners' means in the images of `side` and in the others."""
    halves = []
    for half in (side, ~side):
        counts = asked[..., half].sum(-1)
        if not counts.all():
            raise ValueError("every task must occur in both halves of the images: take more images")
        halves.append(rankdata((right[..., half].sum(-1) / counts).mean(-1)))
    if any(np.ptp(ranks) == 0 for ranks in halves):
        return 0.0  # a half in which all pruners are equal ranks nothing
    return float(np.corrcoef(*halves)[0, 1])
