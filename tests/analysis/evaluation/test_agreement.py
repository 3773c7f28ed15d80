"""Agreement of rankings between models against a plain loop, on rankings that agree, contradict and are drawn."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau

from analysis.evaluation import ranking_agreement

TASKS = ("a", "a", "b")


def rows(chances: dict[str, dict[str, float]], images: int = 60, seed: int = 0) -> pd.DataFrame:
    """`evaluate` rows of models with the given chances of each pruner to be right, two tasks of unequal size."""
    rng = np.random.default_rng(seed)
    table: list[dict[str, Any]] = [
        {
            "model": model, "pruner": pruner, "keep": 64, "position_ids": "keep", "image_id": image, "task": task,
            "correct": bool(rng.random() < chance),
        }
        for model, by_pruner in chances.items()
        for pruner, chance in by_pruner.items()
        for image in range(images)
        for task in TASKS
    ]  # fmt: skip
    return pd.DataFrame(table)


APART = {name: 0.05 + 0.22 * number for number, name in enumerate("stuvw")}
EQUAL = dict.fromkeys("stuvw", 0.5)
NOISY = {name: 0.4 + 0.05 * number for number, name in enumerate("stuvw")}


def accuracies(frame: pd.DataFrame, model: str, images: np.ndarray) -> np.ndarray:
    part = frame[frame["model"] == model].set_index("image_id").loc[images]
    by_task: pd.Series[float] = part.groupby(["pruner", "task"])["correct"].mean().groupby("pruner").mean()
    return by_task.to_numpy()


@pytest.mark.parametrize("level", [0.95, 0.6])
def test_tau_and_its_interval_equal_a_plain_loop(level: float) -> None:
    frame = rows({"m": NOISY, "n": NOISY | {"s": 0.6}}, images=25)
    (row,) = ranking_agreement(frame, level=level, resamples=40, seed=3).to_dict("records")
    assert row["level"] == level
    ends = (1 - level) / 2, (1 + level) / 2
    rng = np.random.default_rng(3)
    draws = [np.arange(25)]
    draws += [np.repeat(np.arange(25), counts) for counts in rng.multinomial(25, np.full(25, 1 / 25), size=40)]
    drawn = [[accuracies(frame, model, draw).round(12) for model in "mn"] for draw in draws]
    taus = [kendalltau(*pair).statistic for pair in drawn]
    assert row["tau"] == pytest.approx(taus[0])
    assert (row["low"], row["high"]) == pytest.approx(tuple(np.quantile(taus[1:], ends)))
    sides = []
    for model in range(2):
        values = np.array([pair[model] for pair in drawn[1:]])
        gaps = values[:, :, None] - values[:, None, :]
        below, above = np.quantile(gaps, ends, axis=0)
        sides.append((below > 1e-9).astype(int) - (above < -1e-9))
    product = (sides[0] * sides[1])[np.triu_indices(5, 1)]
    assert (row["pairs"], row["apart"], row["contradicted"]) == (10, (product != 0).sum(), (product < 0).sum())
    assert (row["keep"], row["model"], row["other"], row["pruners"], row["images"]) == (64, "m", "n", 5, 25)


def test_pruners_far_apart_rank_alike_and_backwards_they_contradict() -> None:
    backwards = dict(zip(APART, reversed(APART.values()), strict=True))
    found = ranking_agreement(rows({"m": APART, "n": APART, "o": backwards}, images=200), resamples=200)
    by_pair = {(row["model"], row["other"]): row for row in found.to_dict("records")}
    assert set(by_pair) == {("m", "n"), ("m", "o"), ("n", "o")}
    alike = by_pair["m", "n"]
    assert (alike["tau"], alike["low"], alike["apart"], alike["contradicted"]) == (1.0, 1.0, 10, 0)
    assert alike["which"] == ""
    opposed = by_pair["m", "o"]
    assert (opposed["tau"], opposed["apart"], opposed["contradicted"]) == (-1.0, 10, 10)
    assert sorted(opposed["which"].split("; ")) == sorted(f"{b} > {a}" for a, b in combinations("stuvw", 2))
    swapped = APART | {"s": APART["t"], "t": APART["s"]}
    (one,) = ranking_agreement(rows({"m": swapped, "n": APART}, images=200), resamples=200).to_dict("records")
    assert (one["contradicted"], one["which"]) == (1, "s > t")


def test_equal_pruners_are_ties_that_contradict_nothing() -> None:
    row = ranking_agreement(rows({"m": EQUAL, "n": EQUAL}, images=200), resamples=200).iloc[0]
    assert row["apart"] <= 1
    assert row["contradicted"] == 0
    assert row["low"] < 0 < row["high"]


def test_pruners_that_are_always_right_have_no_ranking() -> None:
    frame = rows({"m": EQUAL, "n": EQUAL}).assign(correct=True)
    row = ranking_agreement(frame, resamples=20).iloc[0]
    assert (row["tau"], row["low"], row["high"], row["apart"]) == (0, 0, 0, 0)


def test_budgets_stock_rows_and_the_order_of_rows_do_not_mix() -> None:
    frame = rows({"m": NOISY, "n": NOISY})
    stock = frame[(frame["pruner"] == "s") & (frame["model"] == "m")].assign(pruner="none", keep=576)
    other = frame.assign(keep=32)
    together = ranking_agreement(pd.concat([frame, stock, other]), resamples=30)
    alone = ranking_agreement(frame, resamples=30)
    assert together["keep"].tolist() == [64, 32]
    shuffled = ranking_agreement(frame.sample(frac=1, random_state=1).sort_values("model"), resamples=30)
    for found in (together.head(1), shuffled):
        pd.testing.assert_frame_equal(found, alone)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="task"), r"`frame` lacks the column\(s\) task"),
        (lambda f: f[f["model"] == "m"], "`frame` must have at least 2 models, got m"),
        (lambda f: f.iloc[:0], "`frame` must have at least 2 models, got none"),
        (lambda f: f[f["pruner"].isin(["s", "t"])], "a ranking needs at least 3 pruners, got 2"),
        (lambda f: f.assign(position_ids=["keep", "compact"] * (len(f) // 2)), "must have one position_ids, got keep"),
        (lambda f: f[(f["model"] == "m") | (f["image_id"] > 0)], "the same under the same pruners, n and m differ"),
        (lambda f: f[(f["image_id"] == 0) | (f["task"] == "a")], "task must occur in every resample of the images"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_refused(change: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ranking_agreement(change(rows({"m": EQUAL, "n": EQUAL}, images=10)))


@pytest.mark.parametrize("level", [0, 1, 95])
def test_a_level_is_a_probability(level: float) -> None:
    with pytest.raises(ValueError, match=rf"`level` must be in \(0, 1\), got {level}"):
        ranking_agreement(rows({"m": EQUAL, "n": EQUAL}), level=level)


def test_resamples_must_be_positive() -> None:
    with pytest.raises(ValueError, match="`resamples` must be at least 1, got 0"):
        ranking_agreement(rows({"m": EQUAL, "n": EQUAL}), resamples=0)
