"""Whether another training of the model would rank the pruners alike: agreement of rankings between models."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd

from solvers.arrays import Float64Array

from .reliability import by_image, check_answers
from .settings import STOCK


def ranking_agreement(
    frame: pd.DataFrame, *, level: float = 0.95, resamples: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Kendall's tau between the rankings of the pruners under every two models, per budget.

    A pruner's accuracy is the mean over tasks with equal weight, as in `accuracy_table`. Tau is Kendall's tau-b
    (Kendall 1945, Biometrika 33:239): equal accuracies count as ties. Two pruners are apart under a model where the
    interval of their paired difference excludes 0; two models contradict each other where pruners that are apart under
    both are ordered oppositely. So rankings agree up to ties if nothing is contradicted, however small tau may be.

    Parameters
    ----------
    frame
        Rows of `evaluate` with two models or more, the same pruners, budgets and images for each, and one position
        policy. Stock models are left out: they have one budget. All seeds of a pruner are pooled.
    level
        Coverage of the interval of tau, and of that of the difference of each two pruners, in (0, 1). Pairs are not
        corrected for their number: 1 - 0.05 / pairs bounds the chance that any pair is called apart wrongly, and asks
        for resamples well above its reciprocal.
    resamples
        Bootstrap resamples of the images, the same for all models.
    seed
        Of the resamples.

    Returns
    -------
    pandas.DataFrame
        A row per budget and pair of models: keep, model, other, pruners, images, level, tau, low and high (percentile
        interval), pairs (of pruners), apart (those apart under both models), contradicted (those of them that are
        ordered oppositely) and which (the contradicted by name, "a > b" as `model` has it, separated by semicolons).

    Raises
    ------
    ValueError
        If columns are missing, there are fewer than two models or three pruners, settings are mixed or differ between
        models, a task occurs in too few images, `level` is outside (0, 1) or `resamples` below 1.
    """
    _check(frame, level, resamples)
    pruned = frame[frame["pruner"] != STOCK]
    images = np.sort(pruned["image_id"].unique())
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(len(images), np.full(len(images), 1 / len(images)), size=resamples).T.astype(np.float64)
    weights = np.column_stack([np.ones(len(images)), counts])  # the first column is the sample itself
    rows = []
    for keep, cell in pruned.groupby("keep", sort=False):
        pruners = sorted(cell["pruner"].unique())
        differences = {
            model: _differences(part, pruners, images, weights) for model, part in cell.groupby("model", sort=False)
        }
        for model, other in combinations(differences, 2):
            row = {"keep": keep, "model": model, "other": other, "pruners": len(pruners), "images": len(images)}
            row["level"] = level
            rows.append(row | _compared(differences[model], differences[other], pruners, level))
    return pd.DataFrame(rows)


def _check(frame: pd.DataFrame, level: float, resamples: int) -> None:
    check_answers(frame)
    if not 0 < level < 1:
        raise ValueError(f"`level` must be in (0, 1), got {level}")
    if resamples < 1:
        raise ValueError(f"`resamples` must be at least 1, got {resamples}")
    policies = frame["position_ids"].unique()
    if len(policies) > 1:
        raise ValueError(f"`frame` must have one position_ids, got {', '.join(map(str, policies))}")
    pruned = frame[frame["pruner"] != STOCK]
    models = pruned["model"].unique()
    if len(models) < 2:
        raise ValueError(f"`frame` must have at least 2 models, got {', '.join(map(str, models)) or 'none'}")
    if pruned["pruner"].nunique() < 3:
        raise ValueError(f"a ranking needs at least 3 pruners, got {pruned['pruner'].nunique()}")
    asked = {
        model: set(part[["pruner", "keep", "image_id", "task"]].itertuples(index=False, name=None))
        for model, part in pruned.groupby("model", sort=False)
    }
    first = asked[models[0]]
    for model in models[1:]:
        if asked[model] != first:
            raise ValueError(
                f"models must have answered the same under the same pruners, {model} and {models[0]} differ"
            )


def _differences(part: pd.DataFrame, pruners: list[str], images: np.ndarray, weights: Float64Array) -> Float64Array:
    """Accuracy of the first of each two pruners less that of the second [pair, resample]."""
    right, asked = (by_image(part, pruners, images, how) @ weights for how in ("sum", "size"))
    if not asked.all():
        raise ValueError("every task must occur in every resample of the images: take more images")
    accuracy = (right / asked).mean(1)
    first, second = np.triu_indices(len(pruners), 1)
    return np.asarray(accuracy[first] - accuracy[second])


def _compared(one: Float64Array, other: Float64Array, pruners: list[str], level: float) -> dict[str, float | str]:
    signs, others = np.sign(one), np.sign(other)
    scale = np.sqrt((signs**2).sum(0) * (others**2).sum(0))
    taus = np.divide((signs * others).sum(0), scale, out=np.zeros_like(scale), where=scale > 0)
    tails = (1 - level) / 2, (1 + level) / 2
    low, high = np.quantile(taus[1:], tails)
    sides = []
    for differences in (one, other):
        below, above = np.quantile(differences[:, 1:], tails, axis=1)
        sides.append(np.where(below > 0, 1, np.where(above < 0, -1, 0)))
    product = sides[0] * sides[1]
    named = zip(*np.triu_indices(len(pruners), 1), sides[0], product, strict=True)
    which = [" > ".join((pruners[first], pruners[second])[::side]) for first, second, side, both in named if both < 0]
    return {
        "tau": float(taus[0]),
        "low": float(low),
        "high": float(high),
        "pairs": len(product),
        "apart": int(np.count_nonzero(product)),
        "contradicted": len(which),
        "which": "; ".join(which),
    }
