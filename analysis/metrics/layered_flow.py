"""Compiled maximum flow through the layered graph of attention maps, from one top token to many bottom ones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from solvers.kernels.jit import fused

from .weights import Float64Array

IntArray = npt.NDArray[np.int64]


@fused
def flows(capacity: Float64Array, query: int, targets: IntArray, least: float) -> Float64Array:
    """Maximum flow from `query` on top to each of `targets` at the bottom, float64 [target].

    Dinic's method. Node (l, i) stands for token i below layer l, and an edge (l + 1, i) -> (l, j) has the capacity
    [l, i, j]. Dense maps with residual connections nearly always let one blocking flow reach a cut that is known
    beforehand, all edges out of the query or all into the target; then no second search is needed, and only the edges
    that carried flow are put back for the next target.

    Parameters
    ----------
    capacity
        [layer, query, token], layers from the bottom.
    query
        Token on top.
    targets
        Tokens at the bottom [target].
    least
        Residual capacity that counts as none.
    """
    layers, n, _ = capacity.shape
    room, used = capacity.copy(), np.zeros_like(capacity)
    result = np.empty(len(targets))
    level = np.empty((layers + 1, n), np.int64)
    tried = np.empty((layers + 1, n), np.int64)
    queue = np.empty((layers + 1) * n, np.int64)
    touched = np.empty((1 << 16, 3), np.int64)
    for position in range(len(targets)):
        target = targets[position]
        cut = min(capacity[layers - 1, query].sum(), capacity[0, :, target].sum())
        total, count = 0.0, 0
        while total < cut - least and _levels(room, used, target, least, level, queue)[layers, query] >= 0:
            tried[:] = 0
            while True:
                # One path at a time, along falling levels, without trying an edge twice.
                depth = _descend(room, used, layers * n + query, target, least, level, tried, queue)
                if depth < 0:
                    break
                amount = np.inf
                for step in range(depth):
                    amount = min(amount, _residual(room, used, n, queue[step], queue[step + 1]))
                if count + depth > len(touched):
                    grown = np.empty((2 * len(touched) + depth, 3), np.int64)
                    grown[:count] = touched[:count]
                    touched = grown
                for step in range(depth):
                    above, below = queue[step], queue[step + 1]
                    sign = 1.0
                    if above // n < below // n:
                        above, below, sign = below, above, -1.0
                    layer, i, j = below // n, above % n, below % n
                    room[layer, i, j] -= sign * amount
                    used[layer, i, j] += sign * amount
                    touched[count, 0], touched[count, 1], touched[count, 2] = layer, i, j
                    count += 1
                total += amount
        result[position] = min(total, cut)
        for entry in range(count):
            layer, i, j = touched[entry]
            room[layer, i, j], used[layer, i, j] = capacity[layer, i, j], 0.0
    return result


@fused
def _residual(room: Float64Array, used: Float64Array, n: int, start: int, end: int) -> float:
    """What can still go from node `start` to node `end` of a neighbouring level."""
    if end < start:
        return float(room[end // n, start % n, end % n])
    return float(used[start // n, end % n, start % n])


@fused
def _levels(
    room: Float64Array, used: Float64Array, target: int, least: float, level: IntArray, queue: IntArray
) -> IntArray:
    """Number of edges from each node to the target over residual edges, -1 for none; fills and returns `level`."""
    layers, n, _ = room.shape
    level[:] = -1
    level[0, target] = 0
    queue[0] = target
    head, tail = 0, 1
    while head < tail:
        layer, j = divmod(queue[head], n)
        head += 1
        beyond = level[layer, j] + 1
        if layer < layers:
            for i in range(n):
                if level[layer + 1, i] < 0 and room[layer, i, j] > least:
                    level[layer + 1, i] = beyond
                    queue[tail] = (layer + 1) * n + i
                    tail += 1
        if layer > 0:
            for i in range(n):
                if level[layer - 1, i] < 0 and used[layer - 1, j, i] > least:
                    level[layer - 1, i] = beyond
                    queue[tail] = (layer - 1) * n + i
                    tail += 1
    return level


@fused
def _descend(
    room: Float64Array,
    used: Float64Array,
    source: int,
    target: int,
    least: float,
    level: IntArray,
    tried: IntArray,
    path: IntArray,
) -> int:
    """Fill `path` with the nodes of a path along falling levels; the number of its edges, -1 if there is none left."""
    layers, n, _ = room.shape
    path[0] = source
    depth = 0
    while path[depth] != target:
        layer, i = divmod(path[depth], n)
        wanted = level[layer, i] - 1
        following = -1
        while tried[layer, i] < 2 * n:
            up, j = divmod(tried[layer, i], n)
            if up == 0 and layer > 0 and level[layer - 1, j] == wanted and room[layer - 1, i, j] > least:
                following = (layer - 1) * n + j
            elif up == 1 and layer < layers and level[layer + 1, j] == wanted and used[layer, j, i] > least:
                following = (layer + 1) * n + j
            if following >= 0:
                break
            tried[layer, i] += 1
        if following >= 0:
            depth += 1
            path[depth] = following
        else:
            if depth == 0:
                return -1
            depth -= 1
            layer, i = divmod(path[depth], n)
            tried[layer, i] += 1
    return depth
