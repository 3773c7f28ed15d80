"""How large a difference between two pruners must be for another training of the model to give it back."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from .accuracy import MEAN
from .settings import STOCK


def reproducibility(accuracy: pd.DataFrame, *, level: float = 0.95) -> pd.DataFrame:
    """How large a difference between two pruners must be for another training of the model to give it back.

    `ranking_agreement` draws images, so it calls a difference real that comes from one training. Here trainings are the
    sample: `sd` is the standard deviation over models of the difference between two pruners, pooled over all pairs, and
    `limit` the reproducibility limit z sqrt(2) sd of ISO 5725-6 (1994): the differences that two trainings find between
    the same two pruners are farther apart only with probability 1 - level. So a smaller one may have the other sign
    next time. What images contribute is in it, as far as models do not share it. Some pruners vary more than others.

    Parameters
    ----------
    accuracy
        Rows of `accuracy_table` with two models or more that answered under the same pruners and budgets, one policy of
        position ids. The means over tasks count; stock models are left out.
    level
        Probability, in (0, 1).

    Returns
    -------
    pandas.DataFrame
        A row per budget: keep, models, pruners, pairs, sd, limit, beyond (pairs whose difference exceeds the limit
        under some model), reversed (those of them that another model orders oppositely) and which (the reversed by
        name, "a > b" as the first model has it, separated by semicolons).

    Raises
    ------
    ValueError
        If `level` is outside (0, 1), a column is missing, there are fewer than two models or pruners, several policies
        of position ids, or a model lacks a pruner.
    """
    if not 0 < level < 1:
        raise ValueError(f"`level` must be in (0, 1), got {level}")
    means = _means_of_models(accuracy)
    rows = []
    for keep, cell in means.groupby("keep", sort=False):
        table = cell.pivot_table(index="pruner", columns="model", values="estimate", sort=False)
        if table.isna().any(axis=None):
            raise ValueError(f"every model must have answered under every pruner at {keep:g} tokens")
        first, second = np.triu_indices(len(table), 1)
        differences = table.to_numpy()[first] - table.to_numpy()[second]
        sd = float(np.sqrt(differences.var(1, ddof=1).mean()))
        limit = float(stats.norm.ppf((1 + level) / 2)) * np.sqrt(2) * sd
        beyond = (np.abs(differences) > limit).any(1)
        turned = beyond & (differences.min(1) < 0) & (differences.max(1) > 0)
        names = table.index.to_numpy()
        pairs = zip(names[first[turned]], names[second[turned]], differences[turned, 0], strict=True)
        which = [f"{a} > {b}" if lead > 0 else f"{b} > {a}" for a, b, lead in pairs]
        row = {"keep": keep, "models": table.shape[1], "pruners": len(table), "pairs": len(first), "sd": sd}
        found = {"beyond": int(beyond.sum()), "reversed": len(which), "which": "; ".join(which)}
        rows.append(row | {"limit": limit} | found)
    return pd.DataFrame(rows)


def _means_of_models(accuracy: pd.DataFrame) -> pd.DataFrame:
    needed = ("model", "pruner", "keep", "position_ids", "task", "estimate")
    missing = [name for name in needed if name not in accuracy.columns]
    if missing:
        raise ValueError(f"`accuracy` lacks the column(s) {', '.join(missing)}")
    means = accuracy[(accuracy["task"] == MEAN) & (accuracy["pruner"] != STOCK)]
    for name, least in (("model", 2), ("pruner", 2)):
        if means[name].nunique() < least:
            raise ValueError(f"`accuracy` must have at least {least} {name}s, got {means[name].nunique()}")
    policies = means["position_ids"].unique()
    if len(policies) > 1:
        raise ValueError(f"`accuracy` must have one position_ids, got {', '.join(map(str, policies))}")
    return means
