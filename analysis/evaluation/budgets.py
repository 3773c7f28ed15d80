"""One number for a whole accuracy-budget curve: the area under it, and the budget at which pruning begins to cost."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.metrics import bootstrap_interval
from solvers.arrays import Float64Array

from .accuracy import MEAN, SETTING, checked_rows, identity
from .settings import STOCK

CURVE = [name for name in SETTING if name != "keep"]


def area_under_curve(frame: pd.DataFrame, *, level: float = 0.95, resamples: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Area under accuracy over log2 of the budget, divided by the width of the axis: a mean accuracy in [0, 1].

    With budgets k_1 < ... < k_m and accuracies a_i it is the trapezoid rule on x_i = log2 k_i,
    sum of (x_{i+1} - x_i) (a_i + a_{i+1}) / 2, over x_m - x_1: every halving of the budget weighs the same. Only
    budgets at which all pruners of a model were run count, so that no area is over another range. The definition is
    this package's; no paper on pruning was found to state one.

    Parameters
    ----------
    frame
        Rows of `evaluate`; the unpruned model, which has one budget, is left out. All seeds of a pruner are averaged.
    level, resamples, seed
        See `analysis.metrics.bootstrap_interval`; images are drawn with all their questions, budgets and seeds.

    Returns
    -------
    pandas.DataFrame
        A row per model, pruner, position_ids and task, and one with task "mean" (tasks weigh alike): area, low, high,
        smallest and largest budget, questions, images.

    Raises
    ------
    ValueError
        As `accuracy_table`; if the pruners of a model share fewer than two budgets, or a pruner was asked other
        questions at one budget than at another.
    """
    rows = checked_rows(frame)
    found = []
    for model, cell in rows[rows["pruner"] != STOCK].groupby("model", sort=False):
        budgets = sorted(set.intersection(*(set(part["keep"]) for _, part in cell.groupby(CURVE))))
        if len(budgets) < 2:
            raise ValueError(f"the pruners of {model} must share at least 2 budgets, got {len(budgets)}")
        weights = trapezoid_weights(budgets)
        for key, part in cell.groupby(CURVE, sort=False):
            label = dict(zip(CURVE, key, strict=True))
            scores, about = _by_budget(part, budgets)
            about["area"] = scores @ weights
            for task, own in [*about.groupby("task", sort=False), (MEAN, about)]:
                interval = bootstrap_interval(
                    own["area"],
                    groups=own["image"],
                    strata=own["task"],
                    level=level,
                    resamples=resamples,
                    seed=seed,
                )
                ends = {"area": interval.estimate, "low": interval.low, "high": interval.high}
                size = {"questions": len(own), "images": own["image"].nunique()}
                found.append(label | {"task": task} | ends | {"smallest": budgets[0], "largest": budgets[-1]} | size)
    return pd.DataFrame(found)


def critical_budget(
    frame: pd.DataFrame, *, tolerance: float = 0.01, level: float = 0.95, resamples: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Fewest tokens at which accuracy is within `tolerance` of the full model's, relative to it.

    Two answers. "tested" is the smallest budget that was run such that it and every larger one reach
    (1 - tolerance) times the full accuracy: what was seen, and no luck of a single budget. "interpolated" goes on from
    there towards the next smaller budget, on a line over log2 of the budget, to where the accuracy crosses that level:
    a guess between two tests. The full model is the last point of the curve, so both are at most its tokens; where the
    smallest tested budget is good enough, both are that, and the true number may be smaller (`censored`).

    Parameters
    ----------
    frame
        Rows of `evaluate`, those of the unpruned model among them. All seeds of a pruner are averaged.
    tolerance
        Relative loss that is accepted, in [0, 1).
    level, resamples, seed
        See `analysis.metrics.bootstrap_interval`, for the interval of "interpolated": the full model is drawn with it.

    Returns
    -------
    pandas.DataFrame
        A row per model, pruner, position_ids and task, and one with task "mean" (the mean accuracy over tasks): full,
        needed (accuracies), tested, interpolated, low, high, censored, questions, images.

    Raises
    ------
    ValueError
        As `accuracy_table`; for a tolerance outside [0, 1), a frame without the unpruned model, numbers as budgets of
        a model whose images differ in their visual tokens, or if a pruner was asked other questions at one budget than
        at another.
    """
    if not 0 <= tolerance < 1:
        raise ValueError(f"`tolerance` must be in [0, 1), got {tolerance}")
    rows = checked_rows(frame)
    found = []
    for key, part in rows[rows["pruner"] != STOCK].groupby(CURVE, sort=False):
        label = dict(zip(CURVE, key, strict=True))
        full = rows[(rows["pruner"] == STOCK) & (rows["model"] == label["model"])]
        if full.empty:
            raise ValueError(f"`frame` has no rows of the unpruned model of {label['model']}")
        budgets = sorted(set(part["keep"]) - set(full["keep"]))
        both = pd.concat([part[part["keep"].isin(budgets)], full])
        everything = full["keep"].iloc[0].item()
        if budgets and budgets[-1] > everything:
            raise ValueError(
                f"budgets of {label['model']} must be shares, since its images differ in their visual tokens, got "
                f"{budgets[-1]:g}"
            )
        budgets.append(everything)
        scores, about = _by_budget(both, budgets)
        for task, own in [*about.groupby("task", sort=False), (MEAN, about)]:
            mean = _TaskMean(scores[own.index], own["task"])
            accuracy = mean(np.arange(len(own)))
            interval = bootstrap_interval(
                np.arange(len(own)),
                groups=own["image"],
                statistic=lambda units, mean=mean, at=budgets: crossing(at, mean(units.astype(np.int64)), tolerance)[1],
                level=level,
                resamples=resamples,
                seed=seed,
            )
            tested, interpolated = crossing(budgets, accuracy, tolerance)
            row = {"full": accuracy[-1], "needed": (1 - tolerance) * accuracy[-1], "tested": tested}
            row |= {"interpolated": interpolated, "low": interval.low, "high": interval.high}
            size = {"questions": len(own), "images": own["image"].nunique()}
            found.append(label | {"task": task} | row | {"censored": tested == budgets[0]} | size)
    return pd.DataFrame(found)


def trapezoid_weights(budgets: npt.ArrayLike) -> Float64Array:
    """Weights [budget] with which accuracies at ascending budgets sum to their area over log2, divided by its width."""
    x = np.log2(np.asarray(budgets, dtype=np.float64))
    step = np.diff(x)
    weights = np.zeros(x.size)
    weights[:-1] += step / 2
    weights[1:] += step / 2
    result: Float64Array = weights / (x[-1] - x[0])
    return result


def crossing(budgets: npt.ArrayLike, accuracy: npt.ArrayLike, tolerance: float) -> tuple[float, float]:
    """The critical budget of one curve, tested and interpolated: budgets ascending, the full model last."""
    at, reached = np.asarray(budgets), np.asarray(accuracy, dtype=np.float64)
    needed = (1 - tolerance) * reached[-1]
    below = np.flatnonzero(reached[:-1] < needed)
    if not below.size:
        return at[0].item(), float(at[0])
    last = int(below[-1])
    share = (needed - reached[last]) / (reached[last + 1] - reached[last])
    x = np.log2(at.astype(np.float64))
    return at[last + 1].item(), float(2.0 ** (x[last] + share * (x[last + 1] - x[last])))


def _by_budget(rows: pd.DataFrame, budgets: list[int]) -> tuple[Float64Array, pd.DataFrame]:
    """Scores [question, budget], means over seeds, and image and task of the questions, in the same order."""
    key = identity(rows)
    rows = rows.assign(score=rows["score"].astype(np.float64))
    table = rows.pivot_table(index=key, columns="keep", values="score", aggfunc="mean", sort=False)[budgets]
    if table.isna().any(axis=None):
        raise ValueError(f"`frame` must hold the same questions at every budget of {rows['pruner'].iloc[0]}")
    about = rows.drop_duplicates(key).set_index(key).loc[table.index, ["image_id", "task"]].reset_index()
    # two benchmarks may name different pictures alike
    images = about[[name for name in about.columns if name in ("image_id", "benchmark")]]
    about["image"] = images.groupby(list(images.columns), sort=False).ngroup()
    return table.to_numpy(), about


class _TaskMean:
    """Mean over tasks of the mean scores of drawn questions; a task that was not drawn is left out."""

    def __init__(self, scores: Float64Array, tasks: pd.Series) -> None:
        self.scores = scores
        names, number = np.unique(tasks.astype(str), return_inverse=True)
        self.member = np.eye(len(names))[:, number]

    def __call__(self, units: npt.NDArray[np.int64]) -> Float64Array:
        member = self.member[:, units]
        asked = member.sum(1)
        means = (member @ self.scores[units])[asked > 0] / asked[asked > 0, None]
        return np.asarray(means.mean(0))
