"""Relative accuracy, loyalty and paired tests against cases worked by hand and plain loops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from analysis.evaluation import (
    area_under_curve,
    critical_budget,
    evaluate,
    paired_comparison,
    relative_accuracy,
    seed_spread,
)
from analysis.metrics import corrected
from analysis.models import Vlm

ASKED = ((0, "a"), (0, "a"), (1, "a"), (1, "b"), (2, "b"))
"""Image and task of five questions."""


def answered(
    pruner: str, right: str, *, keep: int = 4, seed: int = 0, replies: str = "", **columns: Any
) -> pd.DataFrame:
    """`evaluate` rows: a digit per question, 1 for right; `replies` holds a letter per question."""
    return pd.DataFrame(
        [
            {"model": "m", "pruner": pruner, "keep": keep, "position_ids": "keep", "seed": seed, "image_id": image,
             "question_id": number, "task": task, "correct": one == "1", "prediction": reply}
            | columns
            for number, ((image, task), one, reply) in enumerate(zip(ASKED, right, replies or right, strict=True))
        ]
    )  # fmt: skip


STOCK = answered("none", "11011", keep=36, replies="xyzXy")


def by_task(table: pd.DataFrame, column: str, **where: Any) -> dict[str, float]:
    for name, value in where.items():
        table = table[table[name] == value]
    return dict(zip(table["task"], table[column], strict=True))


def test_relative_accuracy_and_loyalty_by_hand() -> None:
    frame = pd.concat([STOCK, answered("p", "10010", replies="xzzxn")])
    table = relative_accuracy(frame, resamples=20)
    assert by_task(table, "accuracy", pruner="p") == pytest.approx({"a": 1 / 3, "b": 1 / 2, "mean": 5 / 12})
    # Task a: one of three against two of three; task b: one of two against two. The mean is that of the ratios.
    assert by_task(table, "relative", pruner="p") == pytest.approx({"a": 1 / 2, "b": 1 / 2, "mean": 1 / 2})
    # Replies count as equal whatever their case, also where both are wrong.
    assert by_task(table, "loyalty", pruner="p") == pytest.approx({"a": 2 / 3, "b": 1 / 2, "mean": 7 / 12})
    stock = table[table["pruner"] == "none"]
    assert stock[["relative", "loyalty", "loyalty_low"]].eq(1).all(axis=None)
    assert stock["questions"].tolist() == [3, 2, 5]
    assert stock["images"].tolist() == [2, 2, 3]


def test_a_task_that_the_full_model_never_solves_has_no_relative_accuracy() -> None:
    table = relative_accuracy(pd.concat([answered("none", "11000", keep=36), answered("p", "11011")]), resamples=5)
    relative = by_task(table, "relative", pruner="p")
    assert relative["a"] == 1
    assert np.isnan([relative["b"], relative["mean"]]).all()


def test_seeds_are_averaged_per_question() -> None:
    frame = pd.concat([STOCK, answered("p", "10000", seed=5), answered("p", "11000", seed=6)])
    table = relative_accuracy(frame, resamples=5)
    assert by_task(table, "accuracy", pruner="p") == pytest.approx({"a": 1 / 2, "b": 0, "mean": 1 / 4})
    assert table["seeds"].tolist() == [1] * 3 + [2] * 3


def test_differences_by_hand() -> None:
    frame = pd.concat([STOCK, answered("p", "10101"), answered("random", "00001")])
    table = paired_comparison(frame, "random", resamples=50)
    assert table["pruner"].unique().tolist() == ["p"]
    assert by_task(table, "difference") == pytest.approx({"a": 2 / 3, "b": 0, "mean": 1 / 3})
    assert by_task(table, "only_pruner") == pytest.approx({"a": 2, "b": 0, "mean": np.nan}, nan_ok=True)
    assert by_task(table, "mcnemar_p") == pytest.approx({"a": 0.5, "b": 1, "mean": np.nan}, nan_ok=True)
    # Images 0 and 1 win a question of task a each: of four sign patterns two are as far from 0.
    assert by_task(table, "p_value") == pytest.approx({"a": 0.5, "b": 1, "mean": 0.5})
    against_stock = paired_comparison(frame, resamples=50)
    assert by_task(against_stock, "reference", pruner="p") == pytest.approx({"a": 2 / 3, "b": 1, "mean": 5 / 6})
    assert by_task(against_stock, "only_reference", pruner="p")["a"] == 1


def many(rng: np.random.Generator, chances: dict[str, float], images: int = 40) -> pd.DataFrame:
    """Four questions of two tasks on every image; `chances` are those of a right answer."""
    frames = []
    for name, chance in chances.items():
        size = 4 * images
        frames.append(
            pd.DataFrame(
                {
                    "model": "m", "pruner": name, "keep": 64 if name != "none" else 576, "position_ids": "keep",
                    "seed": 0, "image_id": np.repeat(np.arange(images), 4), "question_id": np.arange(size),
                    "task": np.tile(["a", "b"], size // 2), "correct": rng.random(size) < chance,
                }
            )
        )  # fmt: skip
    return pd.concat(frames).sample(frac=1, random_state=0)


def test_tests_are_those_of_a_plain_loop_whatever_the_order_of_rows() -> None:
    frame = many(np.random.default_rng(0), {"none": 0.9, "p": 0.8, "q": 0.5, "r": 0.85})
    table = paired_comparison(frame, resamples=500).set_index(["pruner", "task"])
    for name in ("p", "q", "r"):
        pair = [frame[frame["pruner"] == who].set_index("question_id").sort_index() for who in (name, "none")]
        own, full = (rows[rows["task"] == "a"]["correct"] for rows in pair)
        wins, losses = int((own & ~full).sum()), int((full & ~own).sum())
        assert table.loc[(name, "a"), "mcnemar_p"] == pytest.approx(binomtest(wins, wins + losses).pvalue)
        assert table.loc[(name, "a"), "difference"] == pytest.approx(own.mean() - full.mean())
    for task in ("a", "b", "mean"):
        cells = table.xs(task, level="task")
        np.testing.assert_allclose(cells["p_corrected"], corrected(cells["p_value"]))
    assert table.loc[("q", "mean"), "p_corrected"] < 0.05 < table.loc[("r", "mean"), "p_corrected"]
    plain = paired_comparison(frame, correction="none", resamples=500)
    assert plain["p_corrected"].equals(plain["p_value"])


def test_scores_between_right_and_wrong_have_no_mcnemar() -> None:
    frame = pd.concat([STOCK, answered("p", "11011")]).assign(score=0.3)
    table = paired_comparison(frame, resamples=5)
    assert table[["only_pruner", "mcnemar_p", "mcnemar_corrected"]].isna().all(axis=None)
    assert table["difference"].eq(0).all()


def test_the_reference_is_that_of_the_same_budget_and_position_ids() -> None:
    frame = pd.concat(
        [
            answered("p", "11111", keep=8),
            answered("p", "11111", position_ids="compact"),
            answered("random", "00000", keep=8),
            answered("random", "10000"),
            answered("random", "11000", position_ids="compact"),
        ]
    )
    table = paired_comparison(frame, "random", resamples=5)
    means = table[table["task"] == "a"]
    assert means["reference"].tolist() == pytest.approx([0, 2 / 3])
    with pytest.raises(ValueError, match=r"no rows of 'random' to compare p at 9 tokens with"):
        paired_comparison(pd.concat([frame, answered("p", "11111", keep=9)]), "random", resamples=5)


def test_several_benchmarks_do_not_mix() -> None:
    """Both number their images and questions alike."""
    frame = pd.concat([STOCK, answered("p", "10010")])
    both = pd.concat([frame.assign(benchmark="x"), frame.assign(benchmark="y", task=frame["task"] + "2")])
    table = relative_accuracy(both, resamples=5)
    assert table[(table["pruner"] == "p") & (table["task"] == "mean")]["images"].tolist() == [6]


def test_what_cannot_be_compared_is_refused() -> None:
    frame = pd.concat([STOCK, answered("p", "11011")])
    with pytest.raises(KeyError, match="unknown pruner 'randm'"):
        paired_comparison(frame, "randm")
    with pytest.raises(ValueError, match="no rows of 'none' to compare p at 4 tokens with"):
        relative_accuracy(frame[frame["pruner"] == "p"])
    with pytest.raises(ValueError, match="the same questions of p at 4 tokens and of 'none', got 4 and 5"):
        relative_accuracy(frame.drop(index=4).pipe(lambda f: pd.concat([STOCK, f[f["pruner"] == "p"]])))
    with pytest.raises(ValueError, match=r"lacks the column\(s\) prediction"):
        relative_accuracy(frame.drop(columns="prediction"))
    with pytest.raises(ValueError, match="holds a question twice"):
        paired_comparison(pd.concat([frame, STOCK]))
    with pytest.raises(KeyError, match="unknown correction 'bonferoni'"):
        paired_comparison(frame, correction="bonferoni", resamples=5)


def test_rows_of_evaluate_go_through_every_table(tiny_vlm: Vlm, toy_task: Callable[..., Any]) -> None:
    options: dict[str, Any] = {"seeds": (0, 1, 2), "max_new_tokens": 3, "progress": False}
    frame = evaluate(tiny_vlm, toy_task(6), ["vispruner", "random"], (9, 4), **options)
    # As if the unpruned model were always right: accuracy is loyalty then.
    replies = frame[frame["pruner"] == "none"].set_index("question_id")["prediction"]
    frame["correct"] = frame["prediction"] == frame["question_id"].map(replies)
    relative = relative_accuracy(frame, resamples=20)
    np.testing.assert_allclose(relative["accuracy"], relative["relative"])
    np.testing.assert_allclose(relative["accuracy"], relative["loyalty"])
    # As if what random replied under its first seed were always right.
    drawn = frame[(frame["pruner"] == "random") & (frame["seed"] == 0) & (frame["keep"] == 4)]
    frame["correct"] = frame["prediction"] == frame["question_id"].map(drawn.set_index("question_id")["prediction"])
    spread = seed_spread(frame).set_index(["pruner", "keep"])
    assert spread.loc[("vispruner", 4), "spread"].eq(0).all()
    assert spread.loc[("random", 4), "highest"].eq(1).all()
    assert spread.loc[("random", 4), "spread"].max() > 0
    against = paired_comparison(frame, "random", resamples=20)
    assert against[["seeds", "reference_seeds"]].eq(3).all(axis=None)
    for table in (area_under_curve(frame, resamples=20), critical_budget(frame, resamples=20)):
        assert table["pruner"].unique().tolist() == ["vispruner", "random"]
        assert table["images"].max() == 6
