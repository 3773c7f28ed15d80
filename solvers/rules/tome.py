"""Token merging (ToMe): in each layer of the encoder, pairs of similar tokens become one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse

from ..arrays import Float64Array, IntArray, unit_rows
from .assignment import Assignment
from .checks import budget, integer, per_token, token_vectors
from .ranking import cosines, strongest_first


@dataclass(frozen=True, eq=False)
class Matching:
    """Which tokens of one layer merge into which.

    Attributes
    ----------
    pairs
        Token that merges and the token that it merges into, the most similar pair first, int64 [pair, 2]. A token can
        be merged into several times, but one that is merged into never merges itself.
    remaining
        The tokens that remain, in the order in which the next layer sees them, int64 [output]: protected tokens, then
        even ones, then odd ones. The next layer splits that order, so it is part of the method.
    """

    pairs: IntArray
    remaining: IntArray

    def places(self) -> IntArray:
        """Place in `remaining` that each token ends up in, int64 [token]."""
        place = np.empty(len(self.pairs) + self.remaining.size, dtype=np.int64)
        place[self.remaining] = np.arange(self.remaining.size)
        place[self.pairs[:, 0]] = place[self.pairs[:, 1]]
        return place

    def assignment(self, size: npt.ArrayLike) -> Assignment:
        """The merging as averages weighted by `size` [token], the number of patches in each token.

        Raises
        ------
        ValueError
            If sizes are not positive, or not one per token.
        """
        place = self.places()
        sizes = _sizes(size, place.size)
        shares = sizes / np.bincount(place, weights=sizes)[place]
        matrix = scipy.sparse.csr_array((shares, (place, np.arange(place.size))), (self.remaining.size, place.size))
        return Assignment(self.remaining, matrix)


def match(metric: npt.ArrayLike, r: int, protected: int = 1) -> Matching:
    """Match even tokens with odd ones and pick the `r` most similar pairs (bipartite soft matching).

    Every even token is paired with the odd token most similar to it; the `r` even tokens of the most similar pairs are
    to be merged.

    Parameters
    ----------
    metric
        Keys of the layer's attention, mean over heads [token, dim], CLS included; only directions count.
    r
        Number of tokens to remove, at least 0 and at most half of those that are not protected.
    protected
        Number of tokens at the start that neither merge nor are merged into: 1 for an encoder with CLS, 0 without.

    Returns
    -------
    Matching
        Equal similarity goes to the lower index, for the even token as well as for its partner.

    Raises
    ------
    ValueError
        For NaN or infinite values, a wrong shape, a zero row, `protected` outside [0, n], or `r` above half of the
        other tokens.

    Notes
    -----
    Deviation: the reference silently removes fewer tokens than asked for where `r` is above half of them.

    References
    ----------
    D. Bolya et al. (2022), ICLR 2023, arXiv:2210.09461; code facebookresearch/ToMe@af95e4b, tome/merge.py,
    `bipartite_soft_matching`.
    """
    vectors = token_vectors("metric", metric)
    n = len(vectors)
    safe = _between("protected", protected, 0, n)
    removed = _between("r", r, 0, (n - safe) // 2)
    tokens = np.arange(n, dtype=np.int64)
    if removed == 0:
        return Matching(np.empty((0, 2), dtype=np.int64), tokens)
    even, odd = tokens[0::2], tokens[1::2]
    unit = unit_rows("metric", vectors)
    similarity = cosines(unit[even], unit[odd])
    similarity[even < safe] = -np.inf
    similarity[:, odd < safe] = -np.inf
    order = strongest_first(similarity.max(axis=1))
    merged, stays = order[:removed], order[removed:]
    if safe:  # without a class token the reference leaves them in the order of similarity
        stays = np.sort(stays)
    remaining = np.concatenate([even[stays], odd])
    return Matching(
        np.column_stack([even[merged], odd[similarity[merged].argmax(axis=1)]]),
        np.concatenate([tokens[:safe], remaining[remaining >= safe]]),
    )


def merge(states: Any, size: npt.ArrayLike, matching: Matching) -> tuple[Any, Float64Array]:
    """The merged tokens and how many patches each of them holds.

    Parameters
    ----------
    states
        Tokens [token, dim], NumPy array or torch tensor.
    size
        Number of patches in each token [token]: ones before the first layer. The published method adds log(size) to
        the attention scores of the keys (proportional attention).
    matching
        Of `match`.

    Returns
    -------
    states
        Averages weighted by `size` [output, dim], of the kind and dtype of `states`.
    size
        float64 [output].

    Raises
    ------
    ValueError
        For another number of tokens, a shape or dtype that is not a matrix of floating numbers, or sizes that are not
        positive.
    """
    step = matching.assignment(size)
    grown = np.bincount(matching.places(), weights=_sizes(size, step.sources))
    return step.apply(states), grown.astype(np.float64, copy=False)


def trace(matchings: Sequence[Matching]) -> Assignment:
    """Where each patch went: an output of the last layer as the plain mean of the patches merged into it.

    Protected tokens count as patches here: with CLS, output and source 0 are CLS. The anchor of an output is the one
    that the others were merged into.

    Raises
    ------
    ValueError
        If there are no matchings, or one does not start from as many tokens as the one before it leaves.
    """
    if not matchings:
        raise ValueError("`matchings` must have at least one layer, got none")
    place = anchors = np.arange(matchings[0].places().size)
    for layer, matching in enumerate(matchings):
        step = matching.places()
        if step.size != anchors.size:
            raise ValueError(f"`matchings` must match {anchors.size} tokens in layer {layer}, got {step.size}")
        place, anchors = step[place], anchors[matching.remaining]
    shares = 1.0 / np.bincount(place)[place]
    matrix = scipy.sparse.csr_array((shares, (place, np.arange(place.size))), (anchors.size, place.size))
    return Assignment(anchors, matrix)


def tome_schedule(tokens: int, layers: int, keep: int) -> IntArray:
    """How many tokens to remove in each layer, so that exactly `keep` remain.

    A constant number r as published, where the budget allows it. Otherwise the first layers remove r and the others
    r - 1, and a layer where half of the tokens is less removes half (rounded down).

    Parameters
    ----------
    tokens
        Number of visual tokens before the first layer, protected ones not counted.
    layers
        Number of layers that merge.
    keep
        Number of tokens after the last one, in [1, tokens].

    Returns
    -------
    int64 [layer]
        It adds up to `tokens - keep`.

    Raises
    ------
    ValueError
        For numbers below 1, a budget outside [1, tokens], or one that is out of reach of so many layers.
    """
    start = _between("tokens", tokens, 1)
    depth = _between("layers", layers, 1)
    goal = budget(keep, start)
    least = _removed(start, [start] * depth)[1]
    if goal < least:
        raise ValueError(
            f"`keep` must be at least {least}, since {depth} layers halve {start} tokens at most, got {goal}"
        )
    most = next(r for r in range(start + 1) if _removed(start, [r] * depth)[1] <= goal)
    # One more token removed in one layer leaves one token less at the end, or as many: every number is reached.
    plans = ([most] * first + [most - 1] * (depth - first) for first in range(depth + 1))
    return next(removed for removed, left in (_removed(start, plan) for plan in plans) if left == goal)


def _removed(tokens: int, wanted: Sequence[int]) -> tuple[IntArray, int]:
    """What each layer removes of what it is asked for, at most half, and how many tokens remain."""
    removed = []
    for r in wanted:
        removed.append(max(0, min(r, tokens // 2)))
        tokens -= removed[-1]
    return np.array(removed, dtype=np.int64), tokens


def _sizes(size: npt.ArrayLike, tokens: int) -> Float64Array:
    sizes = per_token("size", size, tokens=tokens)
    if sizes.min() <= 0.0:
        raise ValueError(f"`size` must be positive, got {sizes.min():g}")
    return sizes


def _between(name: str, value: Any, low: int, high: int | None = None) -> int:
    whole = integer(name, value)
    if whole < low or (high is not None and whole > high):
        expected = f"at least {low}" if high is None else f"in [{low}, {high}]"
        raise ValueError(f"`{name}` must be {expected}, got {whole}")
    return whole
