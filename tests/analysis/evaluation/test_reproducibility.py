"""How far differences between pruners move from one training to the next, on planted accuracies."""

from __future__ import annotations

from itertools import combinations
from statistics import variance
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.evaluation import reproducibility


def table(by_model: dict[str, dict[str, float]], keep: int = 64) -> pd.DataFrame:
    rows = [
        {"model": model, "pruner": pruner, "keep": keep, "position_ids": "keep", "task": task, "estimate": value}
        for model, values in by_model.items()
        for pruner, mean in values.items()
        for task, value in (("count", 0.5), ("mean", mean))
    ]
    return pd.DataFrame(rows)


def drawn(seed: int, models: int = 3, pruners: int = 5, spread: float = 0.02) -> dict[str, dict[str, float]]:
    rng = np.random.default_rng(seed)
    truth = rng.random(pruners)
    return {f"m{model}": dict(enumerate(truth + spread * rng.normal(size=pruners))) for model in range(models)}


@pytest.mark.parametrize(("seed", "spread", "level", "z"), [(0, 0.02, 0.95, 1.959964), (1, 0.3, 0.8, 1.281552)])
def test_it_equals_a_plain_loop(seed: int, spread: float, level: float, z: float) -> None:
    by_model = drawn(seed, spread=spread)
    (row,) = reproducibility(table(by_model), level=level).to_dict("records")
    differences = [[values[a] - values[b] for values in by_model.values()] for a, b in combinations(range(5), 2)]
    sd = (sum(variance(each) for each in differences) / 10) ** 0.5
    limit = z * 2**0.5 * sd
    beyond = [each for each in differences if max(map(abs, each)) > limit]
    reversed_ = [each for each in beyond if min(each) < 0 < max(each)]
    assert (row["sd"], row["limit"]) == (pytest.approx(sd), pytest.approx(limit, rel=1e-5))
    assert (row["beyond"], row["reversed"]) == (len(beyond), len(reversed_))
    assert (row["keep"], row["models"], row["pruners"], row["pairs"]) == (64, 3, 5, 10)


def test_the_limit_covers_what_two_more_trainings_find() -> None:
    """Over many pairs, the differences found by two new trainings are farther apart than it in one case of twenty."""
    limit = reproducibility(table(drawn(2, models=40, pruners=40))).iloc[0]["limit"]
    one, other = drawn(3, models=2, pruners=400).values()
    pairs = [(2 * number, 2 * number + 1) for number in range(200)]
    apart = [abs((one[a] - one[b]) - (other[a] - other[b])) for a, b in pairs]
    assert np.mean(np.array(apart) > limit) == pytest.approx(0.05, abs=0.04)


def test_a_large_difference_that_turns_is_named() -> None:
    same = {"s": 0.9, "t": 0.5} | {name: 0.2 for name in "abcdefgh"}
    by_model = {"m": same, "n": same, "o": same | {"s": 0.49}}
    (row,) = reproducibility(table(by_model)).to_dict("records")
    assert (row["reversed"], row["which"]) == (1, "s > t")
    assert reproducibility(table({"m": same, "n": same})).iloc[0]["limit"] == 0


def test_budgets_tasks_and_stock_models_do_not_mix() -> None:
    first, second = table(drawn(4)), table(drawn(5), keep=32)
    stock = table({name: {"none": 0.9} for name in drawn(4)}, keep=576)
    found = reproducibility(pd.concat([stock, first, second]))
    assert found["keep"].tolist() == [64, 32]
    expected = pd.concat([reproducibility(first), reproducibility(second)], ignore_index=True)
    pd.testing.assert_frame_equal(found, expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="keep"), r"`accuracy` lacks the column\(s\) keep"),
        (lambda f: f[f["model"] == "m0"], "`accuracy` must have at least 2 models, got 1"),
        (lambda f: f[f["pruner"] == 0], "`accuracy` must have at least 2 pruners, got 1"),
        (lambda f: f[f["task"] == "count"], "`accuracy` must have at least 2 models, got 0"),
        (lambda f: f[(f["model"] == "m0") | (f["pruner"] > 0)], "must have answered under every pruner at 64 tokens"),
        (lambda f: pd.concat([f, f.assign(position_ids="compact")]), "must have one position_ids, got keep, compact"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_refused(change: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        reproducibility(change(table(drawn(0))))


@pytest.mark.parametrize("level", [0, 1])
def test_a_level_is_a_probability(level: float) -> None:
    with pytest.raises(ValueError, match=rf"`level` must be in \(0, 1\), got {level}"):
        reproducibility(table(drawn(0)), level=level)
