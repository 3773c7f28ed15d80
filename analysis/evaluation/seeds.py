"""How much the luck of a draw decides: accuracy of a pruner under one seed after the other."""

from __future__ import annotations

import numpy as np
import pandas as pd

from .accuracy import MEAN, SETTING, checked_rows


def seed_spread(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean over seeds and spread between them.

    Every seed answers the same questions about the same images, so that the spread is of the pruner's draws alone; what
    other images would change is in the intervals of `accuracy_table`.

    Parameters
    ----------
    frame
        Rows of `evaluate` with several seeds.

    Returns
    -------
    pandas.DataFrame
        A row per setting and task, and one with task "mean" (tasks weigh alike): seeds, mean, spread (standard
        deviation between seeds, with seeds - 1 in the denominator; NaN for one seed), lowest, highest.

    Raises
    ------
    ValueError
        As `accuracy_table`; if the seeds of a setting were asked different questions.
    """
    rows = checked_rows(frame)
    found = []
    for key, cell in rows.groupby(SETTING, sort=False):
        setting = dict(zip(SETTING, key, strict=True))
        asked = cell.groupby("seed")["question_id"].agg(frozenset)
        if asked.nunique() > 1:
            raise ValueError(f"`frame` must hold the same questions under every seed of {setting['pruner']}")
        by_task = cell.assign(score=cell["score"].astype(np.float64)).groupby(["task", "seed"], sort=False)["score"]
        table = by_task.mean().unstack("seed")
        table.loc[MEAN] = table.mean()
        for task, scores in table.iterrows():
            found.append(
                setting
                | {"task": task, "seeds": len(scores), "mean": scores.mean(), "spread": scores.std(ddof=1)}
                | {"lowest": scores.min(), "highest": scores.max()}
            )
    return pd.DataFrame(found)
