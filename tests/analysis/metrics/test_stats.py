from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from analysis.metrics import Interval, bootstrap_interval, ratio_interval


def covers(draw, truth: float, *, trials: int = 200, **options) -> float:
    """Share of `trials` samples whose 90 % interval holds the truth."""
    hits = 0
    for trial in range(trials):
        sample, labels = draw(np.random.default_rng(trial))
        interval = bootstrap_interval(sample, level=0.9, resamples=300, seed=trial, **labels, **options)
        hits += interval.low <= truth <= interval.high
    return hits / trials


def test_coverage_of_the_mean() -> None:
    assert 0.84 <= covers(lambda rng: (rng.normal(2, 1, 60), {}), 2) <= 0.95


def test_coverage_of_the_median() -> None:
    assert 0.84 <= covers(lambda rng: (rng.normal(2, 1, 61), {}), 2, statistic=np.median, trials=100) <= 0.97


def clustered(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    image = np.repeat(np.arange(40), 10)
    return rng.normal(0, 1, 40)[image] + rng.normal(0, 0.3, 400), image


def test_coverage_needs_the_clusters() -> None:
    assert 0.84 <= covers(lambda rng: ((drawn := clustered(rng))[0], {"groups": drawn[1]}), 0) <= 0.95
    assert covers(lambda rng: (clustered(rng)[0], {}), 0) < 0.6  # questions taken for independent


def macro_sample(rng: np.random.Generator) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Images with questions of three tasks whose means are 0, 1 and 5; the third is rare."""
    image, task = np.divmod(np.arange(150), 3)
    keep = (task < 2) | (image % 5 == 0)
    noise = rng.normal(0, 1, 50)[image] + rng.normal(0, 0.5, 150)
    return (np.array([0, 1, 5])[task] + noise)[keep], {"groups": image[keep], "strata": task[keep]}


def test_coverage_of_the_macro_mean_over_tasks() -> None:
    assert 0.82 <= covers(macro_sample, 2) <= 0.96


def test_the_mean_agrees_with_scipy() -> None:
    sample = np.random.default_rng(0).exponential(size=80)
    ours = bootstrap_interval(sample, resamples=20000, seed=3)
    theirs = stats.bootstrap((sample,), np.mean, n_resamples=20000, method="percentile", rng=3).confidence_interval
    assert ours.estimate == pytest.approx(sample.mean())
    assert [ours.low, ours.high] == pytest.approx([theirs.low, theirs.high], abs=0.01)


def test_the_fast_mean_equals_the_general_path() -> None:
    sample, labels = macro_sample(np.random.default_rng(5))
    fast = bootstrap_interval(sample, seed=9, **labels)
    general = bootstrap_interval(sample, seed=9, statistic=lambda values: values.mean(), **labels)
    assert [fast.low, fast.estimate, fast.high] == pytest.approx([general.low, general.estimate, general.high])


def test_strata_of_own_groups_are_drawn_separately() -> None:
    # between strata the values differ, within them they do not: nothing can vary
    fixed = bootstrap_interval([0, 0, 0, 1, 1, 1], groups=[0, 1, 1, 2, 3, 3], strata=list("aaabbb"))
    assert (fixed.low, fixed.estimate, fixed.high) == (0.5, 0.5, 0.5)
    assert bootstrap_interval([0, 0, 0, 1, 1, 1], groups=[0, 1, 1, 2, 3, 3]).low < 0.5


def test_the_macro_mean_weighs_strata_equally() -> None:
    assert bootstrap_interval([1.0] * 9 + [0.0] * 3, strata=["a"] * 9 + ["b"] * 3).estimate == 0.5


def test_a_stratum_held_by_one_group_is_never_empty() -> None:
    values, groups = np.arange(20.0), np.repeat(np.arange(10), 2)
    strata = np.where(np.arange(20) == 19, "rare", "common")
    interval = bootstrap_interval(values, groups=groups, strata=strata)
    assert np.isfinite([interval.low, interval.high]).all()


def test_seeds_and_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = np.random.default_rng(0).random(50)
    first = bootstrap_interval(sample, seed=1)
    assert bootstrap_interval(sample, seed=1) == first
    assert bootstrap_interval(sample, seed=2) != first
    monkeypatch.setattr("analysis.metrics.stats.BLOCK", 120)
    in_blocks = bootstrap_interval(sample, seed=1)
    assert [in_blocks.low, in_blocks.high] == pytest.approx([first.low, first.high], rel=1e-12)


def test_wider_levels_and_booleans() -> None:
    right = np.arange(100) % 4 > 0
    narrow, wide = (bootstrap_interval(right, level=level) for level in (0.5, 0.99))
    assert narrow.estimate == wide.estimate == 0.75
    assert wide.low < narrow.low < 0.75 < narrow.high < wide.high
    assert wide.half_width == pytest.approx((wide.high - wide.low) / 2)


def test_one_group_leaves_the_spread_unknown() -> None:
    interval = bootstrap_interval([1.0, 2.0], groups=["a", "a"])
    assert interval.estimate == 1.5
    assert np.isnan(interval.low)
    assert np.isnan(interval.high)


def test_text() -> None:
    assert str(Interval(0.25, 0.5, 0.75)) == "0.5 [0.25, 0.75]"


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([], {}, r"not empty, got shape \(0,\)"),
        ([[1.0]], {}, r"one-dimensional and not empty, got shape \(1, 1\)"),
        (["a"], {}, "real numbers, got dtype"),
        ([1.0, np.nan], {}, "finite, got 1 NaN"),
        ([1.0, 2.0], {"groups": [1]}, r"`groups` must hold one label per value, shape \(2,\), got shape \(1,\)"),
        ([1.0, 2.0], {"strata": [1, 2, 3]}, "`strata` must hold one label per value"),
        ([1.0, 2.0], {"level": 1.0}, r"`level` must be in \(0, 1\), got 1.0"),
        ([1.0, 2.0], {"resamples": 0}, "`resamples` must be at least 1, got 0"),
    ],
)
def test_bad_input_is_refused(values, options, message) -> None:
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(values, **options)


def test_ratio_of_means_against_a_plain_loop() -> None:
    rng = np.random.default_rng(7)
    groups, strata = np.repeat(np.arange(12), 5), np.tile([0, 0, 0, 1, 1], 12)
    bottom = rng.random(60) + 0.5
    top = bottom * rng.random(60)
    found = ratio_interval(top, bottom, groups=groups, strata=strata, resamples=4000, seed=1)
    ratios = lambda units: np.mean(  # noqa: E731
        [top[units][strata[units] == s].sum() / bottom[units][strata[units] == s].sum() for s in (0, 1)]
    )
    assert found.estimate == pytest.approx(ratios(np.arange(60)))
    drawn = [
        ratios(np.concatenate([np.flatnonzero(groups == g) for g in rng.integers(12, size=12)])) for _ in range(4000)
    ]
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=0.01)


def test_a_ratio_to_ones_is_the_mean() -> None:
    rng = np.random.default_rng(8)
    values, groups = rng.random(30), rng.integers(7, size=30)
    assert ratio_interval(values, np.ones(30), groups=groups) == bootstrap_interval(values, groups=groups)


def test_a_ratio_to_nothing_is_unknown() -> None:
    found = ratio_interval([1.0, 0.0, 1.0], [0.0, 0.0, 0.0])
    assert np.isnan([found.low, found.estimate, found.high]).all()
    with pytest.raises(ValueError, match="must be equally long, got 2 and 1"):
        ratio_interval([1, 1], [1])
    with pytest.raises(ValueError, match="`denominator` must be finite"):
        ratio_interval([1.0], [np.nan])
