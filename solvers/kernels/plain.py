"""The loops of this package as vectorised NumPy: where numba is missing they take the place of the compiled ones.

Same names, arguments and results; what each does is said at its compiled version. Facility location is exact in both
(fixed-point numbers), and so is everything built on minima and maxima. Sums of determinants may differ in the last
bits, but those of equal tokens are equal in both: no product is left to a library that may sum columns differently.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from ..arrays import Float64Array, FloatArray, IntArray, IntArray32
from .records import Cover, MapPicks, Swapped


def total_gains(coverage: FloatArray) -> Float64Array:
    gains: Float64Array = coverage.sum(axis=0, dtype=np.float64)
    return gains


def cover(coverage: FloatArray, best: FloatArray, gains: Float64Array, token: int) -> None:
    serve(coverage, best, gains, token)


def serve(worth: FloatArray, best: FloatArray, gains: Float64Array, token: int) -> None:
    new = worth[:, token]
    better = np.flatnonzero(new > best)
    lost = worth[better]
    lost -= best[better, None]
    np.maximum(lost, 0.0, out=lost)
    np.minimum(lost, (new - best)[better, None], out=lost)
    gains -= lost.sum(axis=0, dtype=np.float64)
    best[better] = new[better]


def greedy_cover(steps: IntArray32, budget: int) -> IntArray:
    best, gains = np.zeros(len(steps), np.int64), steps.sum(axis=0, dtype=np.int64)
    selected = np.empty(budget, np.int64)
    for pick in range(budget):
        token = int(np.argmax(gains))
        new = steps[token]
        better = np.flatnonzero(new > best)
        lost = steps[better] - best[better, None]
        np.clip(lost, 0, (new - best)[better, None], out=lost)
        gains -= lost.sum(axis=0)
        best[better] = new[better]
        gains[token] = -1
        selected[pick] = token
    return selected


def fixed_point(similarity: FloatArray, step: np.floating[Any], steps: IntArray32) -> None:
    scaled = np.maximum(similarity, 0.0) * (np.float32(1.0) / step)
    steps[:] = np.rint(scaled, out=scaled)


def examined(
    bits: npt.NDArray[np.signedinteger[Any]], magnitude: int, first: IntArray, second: IntArray
) -> tuple[int, int, bool]:
    return int(bits.max()), int((bits & magnitude).max()), bool((bits == bits.T).all())


def assign(by_token: FloatArray, selected: IntArray) -> Cover:
    kept = by_token[selected]
    server = kept.argmax(axis=0)
    if len(selected) == 1:
        return Cover(kept[0].copy(), np.zeros(kept.shape[1], kept.dtype), server)
    best = np.partition(kept, len(selected) - 2, axis=0)
    return Cover(best[-1], best[-2], server)


def covered(by_token: FloatArray, selected: IntArray) -> float:
    return float(by_token[selected].max(axis=0).sum(dtype=np.float64))


def steepest_swaps(by_client: FloatArray, by_token: FloatArray, selected: IntArray, max_moves: int) -> Swapped:
    return _swaps(by_client, by_token, selected, max_moves, False)


def eager_swaps(by_client: FloatArray, by_token: FloatArray, selected: IntArray, max_moves: int) -> Swapped:
    return _swaps(by_client, by_token, selected, max_moves, True)


def _swaps(by_client: FloatArray, by_token: FloatArray, selected: IntArray, max_moves: int, eager: bool) -> Swapped:
    chosen, n = selected.copy(), by_client.shape[1]
    gain, loss, back = np.zeros(n), np.zeros(len(chosen)), np.zeros((len(chosen), n))
    served = assign(by_token, chosen)
    _account(by_client, served, gain, loss, back, 1.0)
    token, moves = -1, 0
    while moves < max_moves:
        profit = (back - loss[:, None]).max(axis=0) + gain
        profit[chosen] = 0.0
        following = np.roll(profit, -(token + 1)) if eager else profit
        token = int(np.argmax(following > 0.0) + token + 1) % n if eager else int(np.argmax(following))
        if not profit[token] > 0.0:
            break
        chosen[np.argmax(back[:, token] - loss)] = token
        moves += 1
        now = assign(by_token, chosen)
        # What a client contributes follows from these three alone.
        touched = np.flatnonzero(np.logical_or.reduce([a != b for a, b in zip(served, now, strict=True)]))
        for was, sign in ((served, -1.0), (now, 1.0)):
            part = Cover(was.best[touched], was.second[touched], was.server[touched])
            _account(by_client[touched], part, gain, loss, back, sign)
        served = now
    return Swapped(chosen, moves)


def _account(
    rows: FloatArray, served: Cover, gain: Float64Array, loss: Float64Array, back: Float64Array, sign: float
) -> None:
    most = served.best - served.second
    above = np.maximum(rows - served.second[:, None], 0.0)
    returned = np.minimum(above, most[:, None])
    gain += sign * (above - returned).sum(axis=0, dtype=np.float64)
    for position in np.unique(served.server):
        there = served.server == position
        loss[position] += sign * most[there].sum(dtype=np.float64)
        back[position] += sign * returned[there].sum(axis=0, dtype=np.float64)


def extend_cholesky(
    kernel: FloatArray, rows: Float64Array, variances: Float64Array, floor: Float64Array, count: int, token: int
) -> None:
    row = kernel[token] - (rows[:count, token, None] * rows[:count]).sum(axis=0)
    row *= 1.0 / math.sqrt(variances[token])
    rows[count] = row
    np.maximum(variances - row * row, floor, out=variances)


def map_picks(kernel: FloatArray, variances: Float64Array, floor: Float64Array, budget: int) -> MapPicks:
    n = len(kernel)
    rows, left, taken = np.empty((budget, n)), variances.copy(), np.zeros(n, np.bool_)
    selected = np.empty(budget, np.int64)
    for pick in range(budget):
        token = int(np.argmax(np.where(taken, -np.inf, left)))
        if not left[token] > 0.0:
            return MapPicks(selected[:pick], float(left[token]))
        extend_cholesky(kernel, rows, left, floor, pick, token)
        taken[token] = True
        selected[pick] = token
    return MapPicks(selected, float(left[~taken].min(initial=np.inf)))


def greedy_map(kernel: Float64Array, floor: Float64Array, budget: int) -> IntArray:
    return map_picks(kernel, np.diag(kernel), floor, budget).selected


def log_elementary_symmetric(log_values: Float64Array, degree: int) -> Float64Array:
    table = np.full((len(log_values) + 1, degree + 1), -np.inf)
    table[:, 0] = 0.0
    for m, log_value in enumerate(log_values, start=1):
        table[m, 1:] = np.logaddexp(table[m - 1, 1:], table[m - 1, :-1] + log_value)
    return table


def clique_cover_size(distances: Float64Array, threshold: float, order: IntArray, limit: int) -> int:
    fits = np.zeros((limit, len(distances)), np.bool_)
    groups = 0
    for token in order:
        group = int(np.argmax(fits[:groups, token])) if groups else 0
        if not fits[group, token]:
            if groups + 1 >= limit:
                return limit
            group, groups = groups, groups + 1
            fits[group] = True
        fits[group] &= distances[token] < threshold
    return groups


def farthest_first(distances: Float64Array, first: int, budget: int) -> IntArray:
    nearest = distances[first].copy()
    selected = np.empty(budget, np.int64)
    selected[0] = first
    nearest[first] = -1.0
    for pick in range(1, budget):
        selected[pick] = token = int(np.argmax(nearest))
        np.minimum(nearest, distances[token], out=nearest)
        nearest[token] = -1.0
    return selected


def greedy_spread(distances: Float64Array, isolation: Float64Array, budget: int) -> IntArray:
    nearest = isolation.copy()
    value = 0.0
    selected = np.empty(budget, np.int64)
    for pick in range(budget):
        selected[pick] = token = int(np.argmax(nearest - value))
        value = nearest[token]
        nearest = distances[token].copy() if pick == 0 else np.minimum(nearest, distances[token])
        nearest[selected[: pick + 1]] = -np.inf
    return selected


def spread_similarity(similarity: FloatArray, chord: bool, budget: int) -> IntArray:
    size = np.diag(similarity).astype(np.float64)
    distances: Float64Array = np.maximum((size[:, None] + size) / 2 - similarity, 0.0)
    if chord:
        np.sqrt(2.0 * distances, out=distances)
    np.fill_diagonal(distances, np.inf)
    isolation = distances.min(axis=1) if len(size) > 1 else np.zeros(1)
    np.fill_diagonal(distances, 0.0)
    return greedy_spread(distances, isolation, budget)


def smallest_distance(distances: Float64Array, selected: IntArray) -> float:
    pairs = distances[np.ix_(selected, selected)][np.triu_indices(len(selected), 1)]
    return float(pairs.min(initial=np.inf))


def saturated_gains(coverage: FloatArray, room: Float64Array, gains: Float64Array) -> None:
    gains[:] = np.minimum(coverage, np.maximum(room, 0.0)[:, None]).sum(axis=0, dtype=np.float64)


def covering_radii(distances: Float64Array, nearest: Float64Array, radii: Float64Array) -> None:
    radii[:] = np.minimum(distances, np.maximum(nearest, 0.0)[:, None]).max(axis=0, initial=0.0)


def shared_radii(distances: Float64Array, token: int, radii: Float64Array) -> None:
    np.minimum(radii, np.maximum(distances, distances[token]).min(axis=1), out=radii)


def cosine(rows: FloatArray, scale: Float64Array, i: int, j: int) -> float:
    if np.array_equal(rows[i], rows[j]):
        return 1.0
    product = np.multiply(rows[i], rows[j], dtype=np.float64).sum() * (scale[i] * scale[j])
    return float(min(max(product, -1.0), 1.0))
