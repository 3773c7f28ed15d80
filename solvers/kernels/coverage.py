"""Fused loops of facility location over a symmetric coverage matrix, float32 [token, token], sums in float64.

The matrix holds fixed-point numbers (see `solvers.objectives.facility_location.coverage`), so differences are exact in
float32 and sums exact in float64: reordering by the compiler cannot change a result. `assign` and `covered` also take
the worths [token, client] of other clients than the tokens, float32 or float64.

Memory traffic of a whole greedy run: the totals read the matrix once, 4 n^2 bytes, and each pick re-reads the rows of
the tokens that it covers better than before, 4 n bytes each. A token changes its best coverage a few times in all, on
visual tokens about 3.6 times at k = 64 and 4.3 times at k = 192, whatever n is. So 4 n^2 (1 + changes) bytes, nearly
independent of k, where gains computed afresh read 4 n^2 k. The matrix is 1.3 MB at n = 576: after the first read these
are second- and third-level cache reads, whose bandwidth is the limit, since the gains (8 n bytes) stay in the first.
"""

from __future__ import annotations

import numpy as np

from ..arrays import Float64Array, FloatArray, IntArray, IntArray32
from . import plain
from .jit import fused
from .records import Cover as Cover

FloatScalar = np.float32 | np.float64


@fused(plain=plain.total_gains)
def total_gains(coverage: FloatArray) -> Float64Array:
    """Gain of each token [token] over the empty selection."""
    n = coverage.shape[0]
    gains = np.zeros(n, np.float64)
    for i in range(n):
        for j in range(n):
            gains[j] += coverage[i, j]
    return gains


@fused(plain=plain.cover)
def cover(coverage: FloatArray, best: FloatArray, gains: Float64Array, token: int) -> None:
    """Add `token`, in place: only tokens that it covers better than before change the gains of the others."""
    n = coverage.shape[0]
    for i in range(n):
        old = best[i]
        new = coverage[token, i]
        if new > old:
            best[i] = new
            most = new - old
            for j in range(n):
                gains[j] -= min(max(coverage[i, j] - old, np.float32(0.0)), most)


@fused(plain=plain.greedy_cover)
def greedy_cover(steps: IntArray32, budget: int) -> IntArray:
    """Tokens [budget] of exact greedy in pick order, from coverage counted in grid `steps`; ties to the lowest.

    Integers do what float32 coverages and float64 gains do, to the last bit, on twice as many tokens at a time: a step
    count is at most 2**24, so 64 of them fit into an int32 sum before they go to the int64 gains.
    """
    n = steps.shape[0]
    gains, held = np.zeros(n, np.int64), np.zeros(n, np.int32)
    for i in range(n):
        for j in range(n):
            held[j] -= steps[i, j]
        if i % 64 == 63:
            _settle(gains, held)
    _settle(gains, held)
    best = np.zeros(n, np.int32)
    selected = np.empty(budget, np.int64)
    for pick in range(budget):
        token, largest = 0, gains[0]
        for j in range(n):
            if gains[j] > largest:
                token, largest = j, gains[j]
        selected[pick] = token
        if pick == budget - 1:
            break  # nobody asks for the gains after the last pick
        rows = 0
        for i in range(n):
            old, new = best[i], steps[token, i]
            if new > old:
                best[i] = new
                most = new - old
                for j in range(n):
                    held[j] += min(max(steps[i, j] - old, np.int32(0)), most)
                rows += 1
                if rows % 64 == 0:
                    _settle(gains, held)
        _settle(gains, held)
        gains[token] = -1
    return selected


@fused
def _settle(gains: IntArray, held: IntArray32) -> None:
    """Take what is `held` off the gains."""
    for j in range(len(gains)):
        gains[j] -= held[j]
        held[j] = 0


@fused(plain=plain.fixed_point)
def fixed_point(similarity: FloatArray, step: FloatScalar, steps: IntArray32) -> None:
    """Fill `steps` [token, token] with max(0, similarity) rounded to multiples of `step`, a power of two.

    `step` has the type of the similarity: scaling by a power of two is exact in either, and float32 is twice as fast.
    """
    n = similarity.shape[0]
    scale = np.float32(1.0) / step
    for i in range(n):
        for j in range(n):
            steps[i, j] = np.int32(np.rint(max(similarity[i, j], np.float32(0.0)) * scale))


@fused(plain=plain.assign)
def assign(by_token: FloatArray, selected: IntArray) -> Cover:
    """Best and second best worth of each client by `selected`, from worths [token, client]."""
    clients = by_token.shape[1]
    nothing = by_token.dtype.type(0.0)
    best = np.full(clients, by_token.dtype.type(-1.0))
    second = np.zeros(clients, by_token.dtype)
    server = np.zeros(clients, np.int64)
    for position in range(len(selected)):
        for i in range(clients):
            value = by_token[selected[position], i]
            if value > best[i]:
                second[i] = max(best[i], nothing)
                best[i] = value
                server[i] = position
            elif value > second[i]:
                second[i] = value
    return Cover(best, second, server)


@fused(plain=plain.covered)
def covered(by_token: FloatArray, selected: IntArray) -> float:
    """Facility-location value of `selected`, from worths [token, client]."""
    total = 0.0
    for value in assign(by_token, selected).best:
        total += value
    return total
