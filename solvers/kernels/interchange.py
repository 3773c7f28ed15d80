"""Fused swap search of facility location over worths, float32 or float64 on a fixed-point grid, sums in float64.

The profit of swapping the kept token at position p for token j splits into three tables (Resende and Werneck, 2004,
"On the implementation of a swap-based local search procedure for the p-median problem", ALENEX): what j gains on top
of all kept tokens, what the loss of p costs, and what j gives back of that loss. A swap changes best or second best of
few clients only, and each of them touches one row of the worths. All sums are exact on the grid, so that updated tables
equal recomputed ones and no error builds up.

Memory traffic in bytes: the worths once to build the tables; at most 8 k n to look for a swap, all of it for the
steepest one and a block of tokens at a time for an eager one; and for each client that a swap touches, about 2.4 n / k
of n, two reads of its row of worths and two updates of 16 n in the tables. At n = 576 all of it fits into the caches.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..arrays import Float64Array, FloatArray, IntArray
from . import plain
from .jit import fused
from .records import Swapped

BLOCK = 64
"""Tokens that an eager search looks at together."""


Positions = npt.NDArray[np.int32]
"""Positions in the selection: half as wide as indices, so that they are compared as fast as worths."""


@fused
def _assign(
    by_token: FloatArray, chosen: IntArray, best: FloatArray, second: FloatArray, server: Positions, runner: Positions
) -> None:
    """Fill largest and second largest worth of each client, and the positions of the two; -1 where there is none."""
    best[:] = -1.0
    second[:] = 0.0
    server[:] = -1
    runner[:] = -1
    nothing = by_token.dtype.type(0.0)
    for position in range(len(chosen)):
        row = by_token[chosen[position]]
        for i in range(len(row)):
            value, first, then = row[i], best[i], second[i]
            better, also = value > first, value > then
            second[i] = max(first, nothing) if better else (value if also else then)
            runner[i] = server[i] if better else (position if also else runner[i])
            best[i] = value if better else first
            server[i] = position if better else server[i]


@fused
def _two_best(row: FloatArray, chosen: IntArray) -> tuple[Any, Any, int, int]:
    """The same for one client with worths `row` [token]."""
    best, second, server, runner = row[chosen[0]], row.dtype.type(0.0), 0, -1
    for position in range(1, len(chosen)):
        value = row[chosen[position]]
        if value > best:
            best, second, server, runner = value, best, position, server
        elif value > second:
            second, runner = value, position
    return best, second, server, runner


@fused
def _enter(row: FloatArray, second: float, best: float, gain: Float64Array, back: Float64Array) -> None:
    """Add to the tables [token] the part of a client served at `best`, else at `second`, with worths `row` [token]."""
    most, nothing = best - second, row.dtype.type(0.0)
    for j in range(len(row)):
        above = max(row[j] - second, nothing)
        returned = min(above, most)
        back[j] += returned
        gain[j] += above - returned


@fused
def _leave(row: FloatArray, second: float, best: float, gain: Float64Array, back: Float64Array) -> None:
    """Take the same part away."""
    most, nothing = best - second, row.dtype.type(0.0)
    for j in range(len(row)):
        above = max(row[j] - second, nothing)
        returned = min(above, most)
        back[j] -= returned
        gain[j] -= above - returned


@fused
def _reserve(
    row: FloatArray, second: float, old_second: float, best: float, gain: Float64Array, back: Float64Array
) -> None:
    """`_leave` from `old_second` and `_enter` at `second` in one, for a client whose server stays."""
    low, old_low, nothing = best - second, best - old_second, row.dtype.type(0.0)
    for j in range(len(row)):
        returned = min(max(row[j] - second, nothing), low)
        back[j] += returned - min(max(row[j] - old_second, nothing), old_low)


@fused
def _best_profits(
    gain: Float64Array, loss: Float64Array, back: Float64Array, start: int, stop: int, profit: Float64Array
) -> None:
    """Fill `profit` [token] from `start` to `stop` with the profit of the best swap that brings each token in."""
    for j in range(start, stop):
        profit[j] = back[0, j] - loss[0]
    for position in range(1, len(loss)):
        cost = loss[position]
        for j in range(start, stop):
            profit[j] = max(profit[j], back[position, j] - cost)
    for j in range(start, stop):
        profit[j] += gain[j]


@fused
def _next_profitable(
    gain: Float64Array,
    loss: Float64Array,
    back: Float64Array,
    inside: npt.NDArray[np.bool_],
    start: int,
    profit: Float64Array,
) -> int:
    """First token from `start` on, around the end, that some swap brings in at a profit; -1 if there is none."""
    n, position, left = len(gain), start, len(gain)
    while left > 0:
        stop = min(position + min(BLOCK, left), n)
        _best_profits(gain, loss, back, position, stop, profit)
        for j in range(position, stop):
            if profit[j] > 0.0 and not inside[j]:
                return j
        left -= stop - position
        position = stop if stop < n else 0
    return -1


@fused
def _swaps(by_client: FloatArray, by_token: FloatArray, selected: IntArray, max_moves: int, eager: bool) -> Swapped:
    clients, n = by_client.shape
    k = len(selected)
    chosen = selected.copy()
    inside = np.zeros(n, np.bool_)
    inside[chosen] = True
    best, second = np.empty(clients, by_client.dtype), np.empty(clients, by_client.dtype)
    server, runner = np.empty(clients, np.int32), np.empty(clients, np.int32)
    gain, loss, back, profit = np.zeros(n), np.zeros(k), np.zeros((k, n)), np.empty(n)
    _assign(by_token, chosen, best, second, server, runner)
    for i in range(clients):
        loss[server[i]] += best[i] - second[i]
        _enter(by_client[i], second[i], best[i], gain, back[server[i]])
    token, moves = -1, 0
    while moves < max_moves:
        if eager:
            token = _next_profitable(gain, loss, back, inside, (token + 1) % n, profit)
        else:
            _best_profits(gain, loss, back, 0, n, profit)
            token, top = -1, 0.0
            for j in range(n):
                if profit[j] > top and not inside[j]:
                    token, top = j, profit[j]
        if token < 0:
            break
        leaving = 0
        while gain[token] + (back[leaving, token] - loss[leaving]) < profit[token]:
            leaving += 1
        inside[chosen[leaving]] = False
        inside[token] = True
        chosen[leaving] = token
        moves += 1
        for i in range(clients):
            value, lost = by_token[token, i], server[i] == leaving or runner[i] == leaving
            if value <= second[i] and not lost:
                continue
            old_best, old_second, old_server = best[i], second[i], server[i]
            if lost:
                best[i], second[i], server[i], runner[i] = _two_best(by_client[i], chosen)
            elif value > old_best:
                best[i], second[i], server[i], runner[i] = value, old_best, leaving, old_server
            else:
                second[i], runner[i] = value, leaving
            loss[old_server] -= old_best - old_second
            loss[server[i]] += best[i] - second[i]
            if best[i] == old_best and server[i] == old_server:
                _reserve(by_client[i], second[i], old_second, best[i], gain, back[old_server])
            else:
                _leave(by_client[i], old_second, old_best, gain, back[old_server])
                _enter(by_client[i], second[i], best[i], gain, back[server[i]])
    return Swapped(chosen, moves)


@fused(plain=plain.steepest_swaps)
def steepest_swaps(by_client: FloatArray, by_token: FloatArray, selected: IntArray, max_moves: int) -> Swapped:
    """Swap one kept for one dropped token, best swap first, until none improves or `max_moves` are made.

    Worths in both layouts, [client, token] and [token, client]. Equal swaps go to the lowest token that comes in, then
    to the lowest position. The steepest descent of Whitaker (1983, INFOR 21).
    """
    return _swaps(by_client, by_token, selected, max_moves, False)


@fused(plain=plain.eager_swaps)
def eager_swaps(by_client: FloatArray, by_token: FloatArray, selected: IntArray, max_moves: int) -> Swapped:
    """Go through the tokens in index order, around and around, and make the best swap of each that improves.

    Stops when a whole round brings none, or after `max_moves`. The order of FasterPAM (Schubert and Rousseeuw, 2021,
    Information Systems 101, arXiv:2008.05171), hence its result where no rounding interferes.
    """
    return _swaps(by_client, by_token, selected, max_moves, True)
