"""Is a difference real? Paired tests on the same units, and corrections for asking more than once."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest, false_discovery_control

from solvers.names import nearest

from .stats import Interval, bootstrap_interval
from .weights import Float64Array

CORRECTIONS = ("holm", "benjamini-hochberg", "none")
EXACT_GROUPS = 12
"""Most groups whose sign patterns are all enumerated: 2^12 of them."""


@dataclass(frozen=True)
class PairedTest:
    """Mean difference of two paired samples, and how surprising it is if there is none.

    Parameters
    ----------
    difference
        Mean of first - second with its bootstrap interval.
    p_value
        Two-sided p-value of the sign-flip test, in (0, 1].
    groups
        Number of independent groups behind it.
    """

    difference: Interval
    p_value: float
    groups: int


def paired_test(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    *,
    groups: npt.ArrayLike | None = None,
    strata: npt.ArrayLike | None = None,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> PairedTest:
    """Sign-flip permutation test of the mean difference of paired values, with a bootstrap interval of it.

    If the two samples differ by nothing but chance, the total difference of each group could as well have had the
    other sign. Groups (questions of one image) flip as a whole. Up to 12 groups all sign patterns are counted, which
    makes the p-value exact; beyond, random ones, and the observed pattern counts as one of them, so that p is never 0
    (Phipson and Smyth, 2010, Statistical Applications in Genetics and Molecular Biology 9(1)).

    Parameters
    ----------
    first, second
        Values [unit] of the same units in the same order; booleans count as 0 and 1.
    groups
        Label of the group of each unit [unit], or None: each unit is its own group.
    strata
        Label of the stratum (task) of each unit [unit], or None. With strata the difference is the mean over strata of
        their mean differences.
    level, resamples, seed
        Of the interval, as for `bootstrap_interval`, and of the random sign patterns.

    Raises
    ------
    ValueError
        For samples of different lengths, and as for `bootstrap_interval`.

    Examples
    --------
    >>> paired_test([1, 1, 1, 1, 1], [0, 0, 0, 0, 0]).p_value
    0.0625
    """
    pair = [np.asarray(values) for values in (first, second)]
    if pair[0].shape != pair[1].shape or pair[0].ndim != 1:
        raise ValueError(f"paired values must have the same shape [unit], got {pair[0].shape} and {pair[1].shape}")
    for values in pair:
        if values.dtype.kind not in "fiub":
            raise ValueError(f"`values` must be real numbers, got dtype {values.dtype}")
    difference = pair[0].astype(np.float64) - pair[1].astype(np.float64)
    interval = bootstrap_interval(difference, groups=groups, strata=strata, level=level, resamples=resamples, seed=seed)
    labels = np.arange(difference.size) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    if strata is not None:
        _, stratum, sizes = np.unique(np.asarray(strata), return_inverse=True, return_counts=True)
        difference = difference / sizes[stratum]
    totals = np.bincount(labels, weights=difference).astype(np.float64)
    return PairedTest(interval, _sign_flip(totals, resamples, np.random.default_rng(seed)), totals.size)


def _sign_flip(totals: Float64Array, resamples: int, rng: np.random.Generator) -> float:
    """Two-sided p-value of sum(totals) under random signs."""
    observed = abs(float(totals.sum()))
    # Sums of the same numbers in other orders differ by rounding; a tie must count as a tie.
    limit = observed - 1e-12 * float(np.abs(totals).sum())
    if totals.size <= EXACT_GROUPS:
        signs = np.array(list(itertools.product((-1.0, 1.0), repeat=totals.size)))
        return float((np.abs(signs @ totals) >= limit).mean())
    beyond = 0
    block = max(1, (1 << 22) // totals.size)
    for start in range(0, resamples, block):
        signs = rng.integers(2, size=(min(block, resamples - start), totals.size)) * 2.0 - 1.0
        beyond += int((np.abs(signs @ totals) >= limit).sum())
    return (beyond + 1) / (resamples + 1)


@dataclass(frozen=True)
class McNemar:
    """Exact test of whether two right-or-wrong columns differ, by the units on which they disagree.

    Parameters
    ----------
    only_first, only_second
        Units that the first has right and the second wrong, and the other way round.
    p_value
        Two-sided, in (0, 1]; 1 where they disagree nowhere.
    """

    only_first: int
    only_second: int
    p_value: float


def mcnemar(first: npt.ArrayLike, second: npt.ArrayLike) -> McNemar:
    """McNemar's test of paired answers, exact: a binomial test of the units on which the two disagree.

    McNemar, 1947, Psychometrika 12. It takes every unit for independent. Questions about one image are not: see
    `paired_test` with groups, which is the one to believe where the two disagree.

    Parameters
    ----------
    first, second
        Right (1) or wrong (0) [unit], of the same units in the same order.

    Raises
    ------
    ValueError
        For columns of different shape, none at all, or values other than 0 and 1.

    Examples
    --------
    >>> mcnemar([1, 1, 1, 1, 0], [0, 0, 0, 1, 0])
    McNemar(only_first=3, only_second=0, p_value=0.25)
    """
    pair = [np.asarray(values) for values in (first, second)]
    if pair[0].shape != pair[1].shape or pair[0].ndim != 1 or not pair[0].size:
        raise ValueError(f"paired values must have the same shape [unit], got {pair[0].shape} and {pair[1].shape}")
    if not all(np.isin(values, (0, 1)).all() for values in pair):
        raise ValueError("right or wrong must be 1 or 0; scores in between have no exact test, see `paired_test`")
    one, other = (values.astype(bool) for values in pair)
    only_first, only_second = int((one & ~other).sum()), int((other & ~one).sum())
    discordant = only_first + only_second
    p_value = float(binomtest(only_first, discordant).pvalue) if discordant else 1.0
    return McNemar(only_first, only_second, p_value)


def corrected(p_values: npt.ArrayLike, method: str = "holm") -> Float64Array:
    """p-values [test] adjusted for being asked together, float64 in [0, 1], never smaller than given.

    Parameters
    ----------
    p_values
        p-values of all the tests that were made, in [0, 1].
    method
        "holm" bounds the chance of any false claim (Holm, 1979, Scandinavian Journal of Statistics 6),
        "benjamini-hochberg" the expected share of false ones among the claims, under independent or positively
        dependent tests (Benjamini and Hochberg, 1995, Journal of the Royal Statistical Society B 57); "none" changes
        nothing.

    Raises
    ------
    ValueError
        For p-values that are not a non-empty list of numbers in [0, 1].
    KeyError
        For an unknown method.
    """
    nearest(method, CORRECTIONS, "correction")
    given = np.asarray(p_values, dtype=np.float64)
    if given.ndim != 1 or given.size == 0:
        raise ValueError(f"`p_values` must be one-dimensional and not empty, got shape {given.shape}")
    if not ((given >= 0) & (given <= 1)).all():
        raise ValueError("`p_values` must be numbers in [0, 1]")
    if method == "none":
        return given
    if method == "benjamini-hochberg":
        return np.asarray(false_discovery_control(given, method="bh"))
    order = np.argsort(given, kind="stable")
    raised = np.maximum.accumulate(given[order] * np.arange(given.size, 0, -1))
    result = np.empty_like(given)
    result[order] = np.minimum(raised, 1.0)
    return result
