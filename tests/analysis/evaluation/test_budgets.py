"""Area under the accuracy-budget curve and critical budget, against hand-computed curves."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.evaluation import area_under_curve, critical_budget, seed_spread
from analysis.evaluation.budgets import crossing, trapezoid_weights


def curve(pruner: str, accuracies: dict[int, float], questions: int = 100, **columns: object) -> pd.DataFrame:
    """`evaluate` rows with exactly these accuracies, two questions on an image: the last ones are wrong."""
    rows = [
        {
            "model": "m", "pruner": pruner, "keep": keep, "position_ids": "keep", "seed": 0, "image_id": number // 2,
            "question_id": number, "task": "ab"[number % 2], "correct": number < round(accuracy * questions),
        }
        | columns
        for keep, accuracy in accuracies.items()
        for number in range(questions)
    ]  # fmt: skip
    return pd.DataFrame(rows)


FULL = curve("none", {576: 1.0})


def of(table: pd.DataFrame, pruner: str = "p", task: str = "mean") -> pd.Series:
    (row,) = table[(table["pruner"] == pruner) & (table["task"] == task)].to_dict("records")
    return pd.Series(row)


def test_area_by_hand() -> None:
    """Halvings 16, 32, 64 and a quartering to 256: (0.2 + 0.6) / 2 + (0.6 + 0.8) / 2 + 2 (0.8 + 1.0) / 2 over 4."""
    table = area_under_curve(pd.concat([FULL, curve("p", {256: 1.0, 16: 0.2, 64: 0.8, 32: 0.6})]), resamples=50)
    row = of(table)
    assert row["area"] == pytest.approx((0.4 + 0.7 + 1.8) / 4)
    assert (row["smallest"], row["largest"], row["questions"], row["images"]) == (16, 256, 100, 50)
    assert row["low"] <= row["area"] <= row["high"]
    assert table["pruner"].unique().tolist() == ["p"]


def test_a_flat_curve_has_its_accuracy_as_area_whatever_the_budgets() -> None:
    for budgets in ((8, 11), (1, 7, 500)):
        assert trapezoid_weights(budgets).sum() == pytest.approx(1)
    assert of(area_under_curve(curve("p", {8: 0.4, 11: 0.4, 300: 0.4}), resamples=5))["area"] == pytest.approx(0.4)


def test_weights_are_the_trapezoid_rule() -> None:
    rng = np.random.default_rng(0)
    budgets, accuracy = np.array([8, 9, 30, 100, 576]), rng.random(5)
    expected = np.trapezoid(accuracy, np.log2(budgets)) / np.log2(576 / 8)
    assert trapezoid_weights(budgets) @ accuracy == pytest.approx(expected)


def test_only_budgets_that_all_pruners_share_count() -> None:
    frame = pd.concat([curve("p", {16: 0.2, 32: 0.6, 64: 0.8}), curve("q", {16: 0.5, 32: 0.5})])
    table = area_under_curve(frame, resamples=5)
    assert of(table, "p")["area"] == pytest.approx(0.4)
    assert table["largest"].eq(32).all()
    with pytest.raises(ValueError, match="the pruners of m must share at least 2 budgets, got 1"):
        area_under_curve(pd.concat([frame, curve("r", {32: 0.5})]))


def test_seeds_are_averaged() -> None:
    frame = pd.concat([curve("p", {16: 0.2, 32: 0.6}), curve("p", {16: 0.4, 32: 0.8}, seed=1)])
    assert of(area_under_curve(frame, resamples=5))["area"] == pytest.approx(0.5)


def test_critical_budget_by_hand() -> None:
    """0.99 is needed; 64 has 1.0 and 32 has 0.98: half way on the log2 axis."""
    frame = pd.concat([FULL, curve("p", {16: 0.5, 32: 0.98, 64: 1.0, 128: 1.0})])
    row = of(critical_budget(frame, resamples=50))
    assert (row["tested"], row["interpolated"]) == (64, pytest.approx(2**5.5))
    assert (row["full"], row["needed"], row["censored"]) == (1.0, 0.99, False)
    assert row["low"] <= row["interpolated"] <= row["high"] <= 576


def test_one_lucky_budget_is_not_enough() -> None:
    """32 reaches the level, and 64 does not."""
    assert crossing([32, 64, 128, 576], [1.0, 0.9, 1.0, 1.0], 0.05) == (128, pytest.approx(64 * 2**0.5))


def test_the_ends_of_the_curve() -> None:
    assert crossing([32, 64, 576], [0.1, 0.2, 1.0], 0.0) == (576, pytest.approx(576))
    assert crossing([32, 64, 576], [0.995, 1.0, 1.0], 0.01) == (32, 32.0)
    frame = pd.concat([FULL, curve("p", {32: 1.0, 64: 1.0})])
    assert of(critical_budget(frame, resamples=5))["censored"]


def test_interval_against_a_plain_loop_over_images() -> None:
    rng = np.random.default_rng(3)
    frame = pd.concat([FULL, curve("p", {32: 0.5, 64: 0.9, 128: 1.0})])
    frame["correct"] = rng.random(len(frame)) < np.where(frame["pruner"] == "none", 0.97, frame["keep"] / 140)
    row = of(critical_budget(frame, tolerance=0.2, resamples=2000))
    table = frame.pivot(index=["image_id", "task"], columns="keep", values="correct")
    found = []
    for _ in range(2000):
        drawn = table.loc[rng.integers(50, size=50)]
        found.append(crossing([32, 64, 128, 576], drawn.groupby("task").mean().mean(), 0.2)[1])
    assert (row["low"], row["high"]) == pytest.approx(tuple(np.quantile(found, (0.025, 0.975))), rel=0.06)


def test_curves_that_do_not_fit_are_refused() -> None:
    frame = pd.concat([FULL, curve("p", {32: 0.5, 64: 0.9})])
    with pytest.raises(ValueError, match=r"`tolerance` must be in \[0, 1\), got 1"):
        critical_budget(frame, tolerance=1)
    with pytest.raises(ValueError, match="no rows of the unpruned model of m"):
        critical_budget(frame[frame["pruner"] == "p"])
    fewer = frame[(frame["keep"] != 32) | (frame["question_id"] > 0)]
    with pytest.raises(ValueError, match="the same questions at every budget of p"):
        area_under_curve(fewer)


def test_seed_spread_by_hand() -> None:
    frame = pd.concat([curve("p", {16: share}, seed=seed) for seed, share in enumerate((0.2, 0.4, 0.9))])
    row = of(seed_spread(frame))
    assert (row["seeds"], row["mean"], row["lowest"], row["highest"]) == (3, pytest.approx(0.5), 0.2, 0.9)
    assert row["spread"] == pytest.approx(np.std([0.2, 0.4, 0.9], ddof=1))
    assert np.isnan(of(seed_spread(FULL), "none")["spread"])
    with pytest.raises(ValueError, match="the same questions under every seed of p"):
        seed_spread(frame[(frame["seed"] == 0) | (frame["question_id"] > 3)])
