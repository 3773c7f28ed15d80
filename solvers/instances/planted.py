"""Problems whose best selection is known by construction, at every size: what solvers and bounds are tested against."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ..arrays import Float64Array, IntArray, frozen
from ..objectives import AbstractObjective, FacilityLocation, LogDet, MaxMin
from ..problem import Problem
from ..solver import checked_seed
from .checks import at_least, within

TIGHTNESS = (0.75, 0.97)
"""Cosines between a token of a planted cluster and the middle of its cluster."""


class KnownOptimum(NamedTuple):
    """A problem with the answer."""

    problem: Problem
    objective: AbstractObjective[Any]
    """What is maximised."""
    selected: IntArray
    """A best selection, ascending int64 [budget]."""
    value: float
    """Its value, by a formula and not by the objective: the two differ by the rounding of the similarity."""


def planted_clusters(clusters: int = 8, size: int = 6, *, hub: bool = False, seed: int = 0) -> KnownOptimum:
    """Facility location with one medoid per cluster to find; with `hub`, greedy does not find them.

    Medoid c is the unit vector e_c. Every other token of the cluster is a e_c + sqrt(1 - a^2) f with a direction f of
    its own, orthogonal to everything else, and a drawn from [0.75, 0.97]. So a medoid covers its tokens by their a,
    two other tokens of a cluster cover each other by the product of theirs, and clusters do not cover each other.

    The medoids are optimal. Let W be what a medoid covers of its cluster: 1 plus the sum of the a. A token that is not
    selected is covered by at most its a. So s >= 1 tokens of a cluster, with the medoid, cover W plus the 1 - a of the
    s - 1 others. Without it, they cover at most W plus the 1 - a of all of them, less 1 - max a for the medoid, which
    is the same sum without the smallest term. Either way at most W + (s - 1) / 4. Hence k tokens in k - e clusters
    cover at most the sum of these W plus e / 4, while each of the e clusters left out would have added W >= 1.

    The hub is the mean direction of the medoids; it covers all by 1/sqrt(k) of what the medoids do. Its value alone
    exceeds that of any medoid of clusters of equal size, so greedy starts with it. A set with the hub and tokens of
    k - e clusters, e >= 1, is worth at most the sum of all W, plus 1 for the hub and (e - 1) / 4, less 1 - 1/sqrt(k)
    times the e missing W. Since W >= 1 and 1 - 1/sqrt(k) > 1/4, that is at most the sum of all W plus 1/sqrt(k),
    which is what the medoids are worth.

    Parameters
    ----------
    clusters
        Number of clusters and the budget k, at least 2.
    size
        Tokens of a cluster, its medoid included, at least 3.
    hub
        Whether there is a token in the middle of everything.
    seed
        Seed of the tightness and of the order of the tokens.

    Raises
    ------
    ValueError
        If a number is out of range.

    Examples
    --------
    >>> known = planted_clusters(3, 4)
    >>> known.problem.tokens, bool(np.isclose(known.objective.value(known.problem, known.selected), known.value))
    (12, True)
    """
    k, size = at_least("clusters", clusters, 2), at_least("size", size, 3)
    rng = np.random.default_rng(checked_seed(seed))
    tightness = np.concatenate([np.ones((k, 1)), rng.uniform(*TIGHTNESS, (k, size - 1))], axis=1)
    features = _blocks(tightness)
    value = math.fsum(tightness.ravel())
    if hub:
        middle = np.zeros((1, features.shape[1]))
        middle[0, :k] = 1.0 / math.sqrt(k)
        features, value = np.concatenate([features, middle]), value + 1.0 / math.sqrt(k)
    name = f"planted clusters {k}x{size}{' with hub' if hub else ''} seed {seed}"
    return _shuffled(rng, features, np.arange(k) * size, FacilityLocation(), value, name)


def planted_duplicates(groups: int = 12, most: int = 8, budget: int = 5, *, seed: int = 0) -> KnownOptimum:
    """Facility location among exact copies of orthogonal tokens: take one of each of the largest groups.

    A token covers its copies by 1 and all others by 0, so a set is worth the number of tokens in the groups that it
    meets: at most the sum of the `budget` largest sizes. The selection given holds the first copy of each.

    Parameters
    ----------
    groups
        Number of distinct tokens.
    most
        Largest number of copies; each group has between 1 and this many.
    budget
        Number of tokens to keep, in [1, groups].
    seed
        Seed of the sizes and of the order of the tokens.

    Raises
    ------
    ValueError
        If a number is out of range.
    """
    groups, most = at_least("groups", groups, 1), at_least("most", most, 1)
    budget = within("budget", budget, 1, groups)
    rng = np.random.default_rng(checked_seed(seed))
    sizes = rng.integers(1, most, size=groups, endpoint=True)
    member = rng.permutation(np.repeat(np.arange(groups), sizes))
    largest = np.argsort(-sizes, kind="stable")[:budget]
    first = np.array([np.flatnonzero(member == group)[0] for group in largest])
    name = f"planted duplicates {groups} up to {most} seed {seed}"
    problem = Problem.from_features(np.eye(groups)[member], budget, id=name)
    return KnownOptimum(problem, FacilityLocation(), frozen(np.sort(first)), float(sizes[largest].sum()))


def planted_packing(points: int = 8, size: int = 5, *, spread: float = 0.3, seed: int = 0) -> KnownOptimum:
    """Max-min dispersion with the corners of a regular simplex to find, each among tokens near to it.

    The corners have pairwise cosines -1 / (k - 1), hence distances 1 - cos = k / (k - 1). No k unit vectors, wherever
    they lie, are all further apart: the squared length of their sum, k plus the sum of the k (k - 1) cosines, is not
    negative, so some cosine is at least -1 / (k - 1) (the simplex bound of Rankin, 1955).

    Parameters
    ----------
    points
        Number of corners and the budget k, at least 2.
    size
        Tokens around a corner, itself included.
    spread
        Length of the random step from a corner to a token near to it, in (0, 1).
    seed
        Seed of the steps and of the order of the tokens.

    Raises
    ------
    ValueError
        If a number is out of range.
    """
    k, size = at_least("points", points, 2), at_least("size", size, 1)
    if not 0.0 < spread < 1.0:
        raise ValueError(f"`spread` must lie between 0 and 1, got {spread!r}")
    rng = np.random.default_rng(checked_seed(seed))
    corners = np.eye(k) - 1.0 / k
    corners /= np.linalg.norm(corners, axis=1, keepdims=True)
    steps = rng.standard_normal((k, size, k))
    steps *= spread / np.linalg.norm(steps, axis=2, keepdims=True)
    steps[:, 0] = 0.0
    features = (corners[:, None, :] + steps).reshape(-1, k)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    name = f"planted packing {k}x{size} seed {seed}"
    return _shuffled(rng, features, np.arange(k) * size, MaxMin(), k / (k - 1), name)


def planted_blocks(
    blocks: int = 6, size: int = 5, budget: int = 9, *, correlation: float = 0.9, seed: int = 0
) -> KnownOptimum:
    """A log-determinant over orthogonal blocks of equally correlated tokens: take equally many of each block.

    The determinant is the product over the blocks. s tokens of one, with correlation c and ridge r, give
    (s - 1) log(1 + r - c) + log(1 + r + (s - 1) c), whichever they are. Its increments
    log(1 + r - c) + log((1 + r + s c) / (1 + r + (s - 1) c)) fall with s. So moving a token from a block with two more
    than another to that one never lowers the sum, and blocks whose shares differ by at most one are optimal. Up to one
    token a block this is Hadamard's bound, the product of the diagonal.

    Parameters
    ----------
    blocks
        Number of blocks.
    size
        Tokens of a block.
    budget
        Number of tokens to keep, in [1, blocks * size].
    correlation
        Cosine between two tokens of a block, in [0, 1).
    seed
        Seed of the order of the tokens.

    Raises
    ------
    ValueError
        If a number is out of range.
    """
    blocks, size = at_least("blocks", blocks, 1), at_least("size", size, 1)
    budget = within("budget", budget, 1, blocks * size)
    if not 0.0 <= correlation < 1.0:
        raise ValueError(f"`correlation` must lie in [0, 1), got {correlation!r}")
    rng = np.random.default_rng(checked_seed(seed))
    objective = LogDet()
    share, left = divmod(budget, blocks)
    shares = np.full(blocks, share) + (np.arange(blocks) < left)
    apart = 1.0 + objective.ridge - correlation
    value = math.fsum((s - 1) * math.log(apart) + math.log(apart + s * correlation) for s in shares.tolist() if s)
    features = _blocks(np.full((blocks, size), math.sqrt(correlation)))
    chosen = np.concatenate([block * size + np.arange(s) for block, s in enumerate(shares.tolist())])
    name = f"planted blocks {blocks}x{size} correlation {correlation:g} seed {seed}"
    return _shuffled(rng, features, chosen, objective, value, name)


def _blocks(tightness: Float64Array) -> Float64Array:
    """Unit vectors [token, dim]: token i of block c has cosine `tightness` [block, token] with the axis of c.

    The first axes are those of the blocks, each token has one more for itself.
    """
    blocks, size = tightness.shape
    shared = np.repeat(np.eye(blocks), size, axis=0) * tightness.reshape(-1, 1)
    own = np.diag(np.sqrt(1.0 - np.square(tightness.reshape(-1))))
    return np.concatenate([shared, own], axis=1)


def _shuffled(
    rng: np.random.Generator,
    features: Float64Array,
    selected: IntArray,
    objective: AbstractObjective[Any],
    value: float,
    id: str,
) -> KnownOptimum:
    """The instance with its tokens in random order, so that no index gives the answer away."""
    order = rng.permutation(len(features))
    place = np.argsort(order)
    problem = Problem.from_features(features[order], selected.size, id=id)
    return KnownOptimum(problem, objective, frozen(np.sort(place[selected]).astype(np.int64)), value)
