"""What pruning costs on the questions that the full model answered too: is the difference real, and to whom."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from analysis.metrics import bootstrap_interval, corrected, mcnemar, paired_test, ratio_interval
from solvers.names import nearest

from .accuracy import MEAN, SETTING, checked_rows, identity
from .scoring import normalise
from .settings import STOCK


def relative_accuracy(
    frame: pd.DataFrame, *, level: float = 0.95, resamples: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Accuracy, accuracy relative to the unpruned model, and loyalty to it.

    Relative accuracy of task "mean" is the mean of the tasks' ratios, as papers on pruning average over benchmarks.
    Loyalty is the share of questions with the unpruned model's reply after `normalise`, right or wrong; of "mean" the
    mean over tasks. Images are drawn with replacement, each with all its questions; the seeds of a pruner are averaged.

    Parameters
    ----------
    frame
        Rows of `evaluate`, those of the unpruned model ("none") among them.
    level, resamples, seed
        See `analysis.metrics.bootstrap_interval`.

    Returns
    -------
    pandas.DataFrame
        A row per setting and task: model, pruner, keep, position_ids, task, then for accuracy, relative and loyalty the
        estimate and its `_low` and `_high`, questions, images, seeds. relative is NaN where the unpruned model has
        nothing right.

    Raises
    ------
    ValueError
        As `accuracy_table`; if `frame` lacks the unpruned model, or it was asked other questions than a pruner.
    """
    rows = checked_rows(frame, ["prediction"])
    options: dict[str, Any] = {"level": level, "resamples": resamples, "seed": seed}
    found = []
    for pair in _pairs(rows, STOCK, itself=True):
        for task, part in _parts(pair.questions):
            labels = {"groups": part["image"], "strata": part["task"], **options}
            intervals = {
                "accuracy": bootstrap_interval(part["score"], **labels),
                "relative": ratio_interval(part["score"], part["reference"], **labels),
                "loyalty": bootstrap_interval(part["loyal"], **labels),
            }
            ends = {
                name + end: value
                for name, interval in intervals.items()
                for end, value in (("", interval.estimate), ("_low", interval.low), ("_high", interval.high))
            }
            found.append(pair.setting | {"task": task} | ends | _size(part) | {"seeds": pair.seeds})
    return pd.DataFrame(found)


def paired_comparison(
    frame: pd.DataFrame,
    against: str = STOCK,
    *,
    correction: str = "holm",
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> pd.DataFrame:
    """Is a pruner better or worse than the unpruned model, or than random, on the same questions?

    Two tests of each difference. The sign-flip test takes images as the independent units, all seeds averaged. Exact
    McNemar takes the questions as independent, which those of one image are not; it is what papers report, and where
    the two disagree the first is to be believed. McNemar compares the first seed of either side, and is left out (NaN)
    for scores between 0 and 1 and for task "mean", whose equal weights of tasks it does not know.

    Parameters
    ----------
    frame
        Rows of `evaluate`.
    against
        Pruner to compare with, at the same budget; "none" is the unpruned model.
    correction
        For asking about several pruners at once, within a model, budget and task; see `analysis.metrics.corrected`.
    level, resamples, seed
        See `analysis.metrics.paired_test`.

    Returns
    -------
    pandas.DataFrame
        A row per setting and task, without the unpruned model and `against`: model, pruner, keep, position_ids, task,
        against, accuracy, reference (its accuracy), difference with low and high, p_value and p_corrected of the
        sign-flip test, only_pruner and only_reference (questions that one has right alone), mcnemar_p and
        mcnemar_corrected, questions, images, seeds, reference_seeds.

    Raises
    ------
    KeyError
        For an unknown pruner or correction.
    ValueError
        As `accuracy_table`; if `against` is missing at a budget, or was asked other questions than a pruner.
    """
    rows = checked_rows(frame)
    nearest(against, [str(name) for name in rows["pruner"].unique()], "pruner")
    options: dict[str, Any] = {"level": level, "resamples": resamples, "seed": seed}
    found = []
    for pair in _pairs(rows, against, itself=False):
        for task, part in _parts(pair.questions):
            first, second = part["score"], part["reference"]
            test = paired_test(first, second, groups=part["image"], strata=part["task"], **options)
            row = pair.setting | {"task": task, "against": against}
            row |= {"accuracy": _macro(part, "score"), "reference": _macro(part, "reference")}
            row |= {"difference": test.difference.estimate, "low": test.difference.low, "high": test.difference.high}
            row |= {"p_value": test.p_value, **_mcnemar(part, task), **_size(part)}
            found.append(row | {"seeds": pair.seeds, "reference_seeds": pair.reference_seeds})
    return _corrected(pd.DataFrame(found), correction) if found else pd.DataFrame()


class _Pair(NamedTuple):
    """A setting beside its reference."""

    setting: dict[str, Any]
    questions: pd.DataFrame
    """A row per question: image, task, score and reference (means over seeds), once and reference_once (of the first
    seed), loyal (share of seeds with the reference's reply, where `frame` has replies)."""
    seeds: int
    reference_seeds: int


def _pairs(rows: pd.DataFrame, against: str, *, itself: bool) -> Iterator[_Pair]:
    """Every setting with the rows of `against` at the same model, budget and, where it has several, position ids."""
    for key, cell in rows.groupby(SETTING, sort=False):
        setting = dict(zip(SETTING, key, strict=True))
        if not itself and setting["pruner"] in (STOCK, against):
            continue
        yield _pair(setting, cell, _reference(rows, setting, against), against)


def _reference(rows: pd.DataFrame, setting: dict[str, Any], against: str) -> pd.DataFrame:
    same = rows[(rows["pruner"] == against) & (rows["model"] == setting["model"])]
    if against != STOCK:
        same = same[same["keep"] == setting["keep"]]
    if same["position_ids"].nunique() > 1:
        same = same[same["position_ids"] == setting["position_ids"]]
    if same.empty:
        place = f"{setting['pruner']} at {setting['keep']} tokens"
        raise ValueError(f"`frame` has no rows of {against!r} to compare {place} with")
    result: pd.DataFrame = same
    return result


def _pair(setting: dict[str, Any], cell: pd.DataFrame, other: pd.DataFrame, against: str) -> _Pair:
    key = identity(cell)
    first, second = (part.set_index(key) for part in (cell, other))
    questions = _by_question(first, key)
    reference = _by_question(second, key)
    if set(questions.index) != set(reference.index):
        raise ValueError(
            f"`frame` must hold the same questions of {setting['pruner']} at {setting['keep']} tokens and of "
            f"{against!r}, got {len(questions)} and {len(reference)}"
        )
    questions = questions.join(reference[["score", "once"]].set_axis(["reference", "reference_once"], axis=1))
    if "prediction" in cell.columns:
        reply = second.loc[second["seed"] == second["seed"].min(), "prediction"].map(normalise)
        loyal = first["prediction"].map(normalise) == reply.reindex(first.index)
        questions["loyal"] = loyal.groupby(level=key).mean()
    return _Pair(setting, questions.reset_index(), int(cell["seed"].nunique()), int(other["seed"].nunique()))


def _by_question(rows: pd.DataFrame, key: list[str]) -> pd.DataFrame:
    """image, task, score (mean over seeds) and once (score under the first seed) of each question."""
    groups = rows.assign(score=rows["score"].astype(np.float64)).sort_values("seed", kind="stable").groupby(level=key)
    found = groups.agg(image=("image_id", "first"), task=("task", "first"), once=("score", "first"))
    found["score"] = groups["score"].mean()
    if "benchmark" in key:
        # two benchmarks may name different pictures alike
        found["image"] = found.index.get_level_values("benchmark").astype(str) + "/" + found["image"].astype(str)
    return found


def _parts(questions: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Every task by itself, then all of them as "mean"."""
    yield from ((str(task), part) for task, part in questions.groupby("task", sort=False))
    yield MEAN, questions


def _macro(part: pd.DataFrame, column: str) -> float:
    return float(part.groupby("task")[column].mean().mean())


def _size(part: pd.DataFrame) -> dict[str, int]:
    return {"questions": len(part), "images": part["image"].nunique()}


def _mcnemar(part: pd.DataFrame, task: str) -> dict[str, float]:
    columns = part["once"], part["reference_once"]
    if task == MEAN or not all(column.isin((0, 1)).all() for column in columns):
        return dict.fromkeys(("only_pruner", "only_reference", "mcnemar_p"), np.nan)
    test = mcnemar(*columns)
    return {"only_pruner": test.only_first, "only_reference": test.only_second, "mcnemar_p": test.p_value}


def _corrected(table: pd.DataFrame, correction: str) -> pd.DataFrame:
    """Both p-values adjusted over the pruners of one model, budget and task."""
    for name, given in (("p_corrected", "p_value"), ("mcnemar_corrected", "mcnemar_p")):
        families = table.groupby(["model", "keep", "task"], sort=False)[given]
        adjusted = families.transform(lambda p: p if p.isna().any() else corrected(p, correction))
        columns = list(table.columns)
        at = columns.index(given) + 1
        table = table.assign(**{name: adjusted})[[*columns[:at], name, *columns[at:]]]
    return table
