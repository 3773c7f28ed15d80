"""Split-half reliability against a plain loop over halves, and where it must be 1, high or about 0."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from analysis.evaluation import split_half


def rows(chances: dict[str, float], images: int = 80, seed: int = 0) -> pd.DataFrame:
    """`evaluate` rows of pruners with the given chances to be right, two tasks of unequal size."""
    rng = np.random.default_rng(seed)
    table = [
        {
            "model": "m", "pruner": pruner, "keep": 64, "position_ids": "keep", "image_id": image, "task": task,
            "correct": bool(rng.random() < chance),
        }
        for pruner, chance in chances.items()
        for image in range(images)
        for task in ("a", "a", "b")
    ]  # fmt: skip
    return pd.DataFrame(table)


APART = {name: 0.1 + 0.16 * number for number, name in enumerate("stuvw")}
EQUAL = dict.fromkeys("stuvw", 0.5)


def by_hand(frame: pd.DataFrame, first: np.ndarray) -> float:
    sides = [frame[frame["image_id"].isin(first)], frame[~frame["image_id"].isin(first)]]
    means = [side.groupby(["pruner", "task"])["correct"].mean().groupby("pruner").mean() for side in sides]
    return float(spearmanr(*means).statistic)


def test_mean_over_halves_equals_a_plain_loop() -> None:
    frame = rows(EQUAL | {"x": 0.6}, images=21)
    rng = np.random.default_rng(5)
    expected = [by_hand(frame, np.flatnonzero(rng.permutation(21) < 10)) for _ in range(30)]
    (row,) = split_half(frame, splits=30, seed=5).to_dict("records")
    assert row["correlation"] == pytest.approx(np.mean(expected))
    assert (row["low"], row["high"]) == pytest.approx(tuple(np.quantile(expected, (0.025, 0.975))))
    assert (row["keep"], row["pruners"], row["images"]) == (64, 6, 21)
    assert row["full_length"] == pytest.approx(2 * row["correlation"] / (1 + row["correlation"]))


def test_pruners_far_apart_rank_alike_and_equal_ones_do_not() -> None:
    assert split_half(rows(APART, images=400))["correlation"].item() > 0.97
    assert abs(split_half(rows(EQUAL, images=400))["correlation"].item()) < 0.6


def test_the_stock_model_and_other_budgets_do_not_mix() -> None:
    frame = rows(APART)
    stock = frame[frame["pruner"] == "s"].assign(pruner="none", keep=576)
    other = frame.assign(keep=32)
    together = split_half(pd.concat([frame, stock, other]), splits=20).set_index("keep")
    alone = split_half(frame, splits=20).set_index("keep")
    assert together.index.tolist() == [64, 32]
    assert together.loc[64].tolist() == together.loc[32].tolist() == alone.loc[64].tolist()


def test_pruners_that_are_all_equal_rank_nothing() -> None:
    frame = rows(APART).assign(correct=True)
    assert split_half(frame)["correlation"].item() == 0


def test_what_cannot_be_ranked_is_refused() -> None:
    frame = rows(APART)
    with pytest.raises(ValueError, match="at least 3 pruners, got 2"):
        split_half(frame[frame["pruner"].isin(["s", "t"])])
    with pytest.raises(ValueError, match="must have one model, got m, n"):
        split_half(pd.concat([frame, frame.assign(model="n")]))
    with pytest.raises(ValueError, match=r"lacks the column\(s\) task"):
        split_half(frame.drop(columns="task"))
    with pytest.raises(ValueError, match="`splits` must be at least 1, got 0"):
        split_half(frame, splits=0)
    with pytest.raises(ValueError, match="every task must occur in at least 2 images"):
        split_half(frame[(frame["task"] == "a") | (frame["image_id"] == 0)])
