"""Bootstrap intervals for scores that come in groups (questions of one image) and strata (tasks)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .weights import Float64Array

IntArray = npt.NDArray[np.int64]
Statistic = Callable[..., Any]
BLOCK = 1 << 22  # drawn units held at a time: 32 MB


@dataclass(frozen=True)
class Interval:
    """An estimate with its bootstrap interval.

    Parameters
    ----------
    low, high
        Ends of the interval; NaN where a single unit leaves the spread unknown.
    estimate
        The statistic of the values themselves.
    """

    low: float
    estimate: float
    high: float

    @property
    def half_width(self) -> float:
        """Half the length of the interval."""
        return (self.high - self.low) / 2

    def __str__(self) -> str:
        return f"{self.estimate:.4g} [{self.low:.4g}, {self.high:.4g}]"


def bootstrap_interval(
    values: npt.ArrayLike,
    *,
    groups: npt.ArrayLike | None = None,
    strata: npt.ArrayLike | None = None,
    statistic: Statistic = np.mean,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval of a statistic.

    Values of one group depend on each other (questions of one image), so whole groups are drawn with replacement.
    With strata the statistic is taken in each stratum and averaged with equal weights (the macro mean over tasks).
    Where each group lies in one stratum, groups are drawn within their stratum; where groups span strata they are drawn
    from all groups, and a draw that leaves a stratum empty is drawn again.

    Parameters
    ----------
    values
        Numbers [unit]; booleans count as 0 and 1.
    groups
        Label of the group of each unit [unit], or None: each unit is its own group.
    strata
        Label of the stratum of each unit [unit], or None: one stratum.
    statistic
        Called as ``statistic(values)`` on a float64 array, returns a number. The default, ``numpy.mean``, is computed
        for all resamples at once from group sums; any other one is called once per resample and stratum.
    level
        Coverage of the interval, in (0, 1).
    resamples
        Number of bootstrap resamples.
    seed
        Seed of the draws. Equal seed, groups and strata give equal draws, whatever the values.

    Returns
    -------
    Interval
        The interval is NaN where there is one group only.

    Raises
    ------
    ValueError
        For no values, NaN or infinite values, labels of another length, `level` outside (0, 1), `resamples` below 1.

    References
    ----------
    Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13: percentile intervals.

    Examples
    --------
    >>> print(bootstrap_interval([0, 1, 1, 1], seed=1))
    0.75 [0.25, 1]
    """
    sample = _numbers("values", values)
    group, stratum = _labels(len(sample), groups, strata)
    estimate = float(np.mean([statistic(sample[stratum == s]) for s in range(stratum.max() + 1)]))
    evaluate = _means if statistic is np.mean else _statistics
    resampled = lambda counts: evaluate(sample, group, stratum, counts, statistic)  # noqa: E731
    return _interval(estimate, resampled, group, stratum, level, resamples, seed)


def ratio_interval(
    numerator: npt.ArrayLike,
    denominator: npt.ArrayLike,
    *,
    groups: npt.ArrayLike | None = None,
    strata: npt.ArrayLike | None = None,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval of the ratio of two means over the same units: both are drawn together.

    With strata it is the mean of the strata's ratios, as tables of relative accuracy average over benchmarks.

    Parameters
    ----------
    numerator, denominator
        Numbers [unit]; booleans count as 0 and 1.
    groups, strata, level, resamples, seed
        As for `bootstrap_interval`, whose draws these are.

    Returns
    -------
    Interval
        NaN where a stratum's denominators sum to 0; the ends also where they do in some resample.

    Raises
    ------
    ValueError
        For columns of different length, and as for `bootstrap_interval`.

    Examples
    --------
    >>> ratio_interval([1, 0, 1, 0], [1, 1, 1, 1], resamples=10).estimate
    0.5
    """
    top, bottom = _numbers("numerator", numerator), _numbers("denominator", denominator)
    if len(top) != len(bottom):
        raise ValueError(f"`numerator` and `denominator` must be equally long, got {len(top)} and {len(bottom)}")
    group, stratum = _labels(len(top), groups, strata)
    once = np.ones((1, int(group.max()) + 1), dtype=np.int64)

    def resampled(counts: IntArray) -> Float64Array:
        return _ratios(top, bottom, group, stratum, counts)

    return _interval(float(resampled(once)[0]), resampled, group, stratum, level, resamples, seed)


def _interval(
    estimate: float,
    resampled: Callable[[IntArray], Float64Array],
    group: IntArray,
    stratum: IntArray,
    level: float,
    resamples: int,
    seed: int,
) -> Interval:
    """The interval of what `resampled` makes of drawn groups, int64 [resample, group]."""
    if not 0 < level < 1:
        raise ValueError(f"`level` must be in (0, 1), got {level}")
    if resamples < 1:
        raise ValueError(f"`resamples` must be at least 1, got {resamples}")
    if group.max() == 0:
        return Interval(np.nan, estimate, np.nan)
    draws = _draws(group, stratum, resamples, np.random.default_rng(seed))
    results = np.concatenate([resampled(counts) for counts in draws])
    tail = (1 - level) / 2
    low, high = np.quantile(results, [tail, 1 - tail])
    return Interval(float(low), estimate, float(high))


def _numbers(name: str, values: npt.ArrayLike) -> Float64Array:
    sample = np.asarray(values)
    if sample.ndim != 1 or sample.size == 0:
        raise ValueError(f"`{name}` must be one-dimensional and not empty, got shape {sample.shape}")
    if sample.dtype.kind not in "fiub":
        raise ValueError(f"`{name}` must be real numbers, got dtype {sample.dtype}")
    sample = sample.astype(np.float64)
    if not np.isfinite(sample).all():
        raise ValueError(f"`{name}` must be finite, got {np.count_nonzero(~np.isfinite(sample))} NaN or infinite")
    return sample


def _labels(units: int, groups: npt.ArrayLike | None, strata: npt.ArrayLike | None) -> tuple[IntArray, IntArray]:
    """Numbers of group and stratum of each unit."""
    group = _codes(groups, "groups", units) if groups is not None else np.arange(units)
    stratum = _codes(strata, "strata", units) if strata is not None else np.zeros(units, dtype=np.int64)
    return group, stratum


def _codes(labels: npt.ArrayLike, name: str, units: int) -> IntArray:
    array = np.asarray(labels)
    if array.shape != (units,):
        raise ValueError(f"`{name}` must hold one label per value, shape ({units},), got shape {array.shape}")
    return np.unique(array, return_inverse=True)[1].astype(np.int64)


def _draws(group: IntArray, stratum: IntArray, resamples: int, rng: np.random.Generator) -> Iterator[IntArray]:
    """How often each group is drawn, int64 [resample, group], in blocks of resamples."""
    groups, strata = group.max() + 1, stratum.max() + 1
    covers = np.zeros((groups, strata))
    covers[group, stratum] = 1
    nested = bool((covers.sum(1) == 1).all())
    pools = [np.flatnonzero(covers[:, s]) for s in range(strata)] if nested else [np.arange(groups)]
    block = max(1, BLOCK // int(groups))
    for start in range(0, resamples, block):
        counts = _drawn(pools, min(block, resamples - start), rng)
        while (empty := ~(counts @ covers > 0).all(1)).any():
            counts[empty] = _drawn(pools, int(empty.sum()), rng)
        yield counts


def _drawn(pools: list[IntArray], resamples: int, rng: np.random.Generator) -> IntArray:
    counts = np.empty((resamples, sum(map(len, pools))), dtype=np.int64)
    for pool in pools:
        picks = rng.integers(len(pool), size=(resamples, len(pool)))
        picks += np.arange(resamples)[:, None] * len(pool)
        counts[:, pool] = np.bincount(picks.ravel(), minlength=picks.size).reshape(resamples, -1)
    return counts


def _means(
    sample: Float64Array, group: IntArray, stratum: IntArray, counts: IntArray, statistic: Statistic
) -> Float64Array:
    return _ratios(sample, np.ones(sample.size), group, stratum, counts)


def _ratios(
    top: Float64Array, bottom: Float64Array, group: IntArray, stratum: IntArray, counts: IntArray
) -> Float64Array:
    shape = (counts.shape[1], int(stratum.max()) + 1)
    tops, bottoms = np.zeros(shape), np.zeros(shape)
    np.add.at(tops, (group, stratum), top)
    np.add.at(bottoms, (group, stratum), bottom)
    weight = counts.astype(np.float64)
    below = weight @ bottoms
    ratios = np.divide(weight @ tops, below, out=np.full(below.shape, np.nan), where=below != 0)
    return np.asarray(ratios.mean(1))


def _statistics(
    sample: Float64Array, group: IntArray, stratum: IntArray, counts: IntArray, statistic: Statistic
) -> Float64Array:
    members = [np.flatnonzero(stratum == s) for s in range(stratum.max() + 1)]
    return np.array(
        [np.mean([statistic(sample[np.repeat(units, drawn[group[units]])]) for units in members]) for drawn in counts]
    )
