"""Accuracy tables against hand-computed means and an independent bootstrap."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.evaluation import accuracy_table


def rows(correct: dict[tuple[str, int], list[tuple[int, str, bool]]]) -> pd.DataFrame:
    """`evaluate` rows from (pruner, keep) -> (image, task, correct)."""
    return pd.DataFrame(
        [
            {
                "model": "m", "pruner": pruner, "keep": keep, "position_ids": "keep", "seed": 0, "image_id": image,
                "question_id": number, "task": task, "correct": right, "kept": keep, "flops": 10 * keep,
                "kv_bytes": 2 * keep, "select_ms": 0.5,
            }
            for (pruner, keep), cells in correct.items()
            for number, (image, task, right) in enumerate(cells)
        ]
    )  # fmt: skip


@pytest.fixture
def frame() -> pd.DataFrame:
    """Thirty images with three questions on "a" and one on "b"; an image is answered well or badly as a whole."""
    rng = np.random.default_rng(0)
    luck = rng.random(30)
    cells = [(i, task, bool(rng.random() < luck[i])) for i in range(30) for task in ("a", "a", "a", "b")]
    perfect = [(image, task, True) for image, task, _ in cells]
    return rows({("none", 36): perfect, ("random", 4): cells})


def test_means_per_task_and_over_tasks() -> None:
    table = accuracy_table(
        rows(
            {
                ("none", 36): [(0, "a", True), (0, "a", True), (1, "a", False), (1, "b", True)],
                ("random", 4): [(0, "a", False), (0, "a", False), (1, "a", False), (1, "b", True)],
            }
        )
    )
    assert table["pruner"].tolist() == ["none"] * 3 + ["random"] * 3
    assert table["task"].tolist() == ["a", "b", "mean"] * 2
    assert table["estimate"].tolist() == pytest.approx([2 / 3, 1, 5 / 6, 0, 1, 1 / 2])
    assert table["questions"].tolist() == [3, 1, 4] * 2
    assert table["images"].tolist() == [2, 1, 2] * 2
    assert table["kept"].tolist() == [36] * 3 + [4] * 3
    assert table["flops"].tolist() == [360] * 3 + [40] * 3
    assert table["kv_bytes"].tolist() == [72] * 3 + [8] * 3


def test_intervals_hold_images_together(frame: pd.DataFrame) -> None:
    """Against a plain loop that draws whole images; drawing questions one by one would be too narrow."""
    table = accuracy_table(frame, resamples=4000).set_index(["pruner", "task"])
    cells = frame[frame["pruner"] == "random"]
    rng = np.random.default_rng(1)
    means: dict[str, list[float]] = {"a": [], "b": [], "mean": []}
    by_image = {
        image: {task: part["correct"].to_numpy() for task, part in own.groupby("task")}
        for image, own in cells.groupby("image_id")
    }
    for _ in range(4000):
        drawn = rng.integers(30, size=30)
        for task in ("a", "b"):
            means[task].append(np.concatenate([by_image[image][task] for image in drawn]).mean())
        means["mean"].append((means["a"][-1] + means["b"][-1]) / 2)
    for task, values in means.items():
        low, high = np.quantile(values, [0.025, 0.975])
        assert table.loc[("random", task), "low"] == pytest.approx(low, abs=0.02)
        assert table.loc[("random", task), "high"] == pytest.approx(high, abs=0.02)
    share = cells.loc[cells["task"] == "a", "correct"].mean()
    independent = 2 * 1.96 * np.sqrt(share * (1 - share) / 90)
    assert table.loc[("random", "a"), "high"] - table.loc[("random", "a"), "low"] > 1.15 * independent


def test_certain_results_have_certain_intervals(frame: pd.DataFrame) -> None:
    table = accuracy_table(frame)
    stock = table[table["pruner"] == "none"]
    assert stock[["low", "estimate", "high"]].eq(1).all(axis=None)
    assert (table["low"] <= table["estimate"]).all()
    assert (table["estimate"] <= table["high"]).all()


def test_seeds_are_pooled(frame: pd.DataFrame) -> None:
    wrong = frame[frame["pruner"] == "random"].assign(seed=1, correct=False)
    both = accuracy_table(pd.concat([frame, wrong])).set_index(["pruner", "task"])
    one = accuracy_table(frame).set_index(["pruner", "task"])
    assert both.loc[("random", "a"), "estimate"] == pytest.approx(one.loc[("random", "a"), "estimate"] / 2)
    assert both.loc[("random", "a"), "questions"] == 90


def test_tables_repeat_and_more_confidence_is_wider(frame: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(accuracy_table(frame), accuracy_table(frame))
    narrow, wide = (accuracy_table(frame, level=level).iloc[-1] for level in (0.5, 0.99))
    assert wide["low"] < narrow["low"] < narrow["estimate"] < narrow["high"] < wide["high"]


def test_frames_that_cannot_be_summarised_are_refused(frame: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match=r"`frame` lacks the column.s. seed, flops"):
        accuracy_table(frame.drop(columns=["flops", "seed"]))
    with pytest.raises(ValueError, match="`frame` must not be empty"):
        accuracy_table(frame.iloc[:0])
    with pytest.raises(ValueError, match="holds a question twice under one setting and seed"):
        accuracy_table(pd.concat([frame, frame.iloc[[0]]]))
