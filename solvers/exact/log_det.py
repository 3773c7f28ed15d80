"""Exact log-determinant: branch and bound with factorisation and Hadamard bounds, best bound first."""

from __future__ import annotations

import heapq
import itertools
import math
import time
from typing import NamedTuple

import numpy as np
from scipy.linalg import solve_triangular

from ..arrays import Float64Array, IntArray
from ..determinant_bounds import EPS, WORST_ROUNDING, capped, leading
from ..kernels.determinant_search import search_determinants
from ..local_search import LocalSearch
from ..objectives.log_det import KernelLogDet
from ..problem import Problem
from ..solution import Status, TracePoint
from ..solver import Outcome

TOLERANCE = 1e-6
"""Gap, in nats, at which a selection counts as optimal."""

ROOT_ITERATIONS, NODE_ITERATIONS = 40, 6
"""Weights tried for the factorisation bound of all selections, and of those below a node."""

SEARCH_STEPS = 1_000_000
"""Nodes times tokens of one depth-first search, some tens of milliseconds."""

LARGEST_FAN = 8
"""Most tokens still to be picked at which a node gets one child per token. Above, depth-first search closes next to no
child, and two children, with and without one token, raise the bound more per eigendecomposition."""

SECONDS_PER_CUBE = 4e-10
"""Cautious cost of an eigendecomposition in n^3: none is begun that would not end before the time limit."""


class _Modular(NamedTuple):
    """A modular function above the objective: constant + the sum of `gains` over the tokens still to be picked."""

    constant: float
    gains: Float64Array
    weights: Float64Array
    """Fractional selection at which it was found [token]."""

    def bound(self, size: int) -> float:
        """Largest value over `size` tokens."""
        return self.constant + math.fsum(np.sort(self.gains)[-size:])


class _Node(NamedTuple):
    """All selections that hold `fixed` and take the rest from `tokens`."""

    fixed: tuple[int, ...]
    tokens: IntArray
    modular: _Modular


class _Search:
    """Kernel, incumbent and deadline of one run."""

    def __init__(
        self, problem: Problem, objective: KernelLogDet, selected: IntArray, started: float, limit: float
    ) -> None:
        self.problem, self.objective = problem, objective
        self.kernel, self.floor = objective.kernel(problem), objective.floor(problem)
        self.started, self.deadline = started, started + limit
        self.selected, self.value = selected, objective.value(problem, selected)
        self.upper_bound = math.inf
        self.evaluations = 0
        self.trace: tuple[TracePoint, ...] = ()

    @property
    def threshold(self) -> float:
        """Bounds up to here prove nothing better that matters."""
        return self.value + TOLERANCE

    @property
    def expired(self) -> bool:
        return time.perf_counter() >= self.deadline

    def reach(self, selected: IntArray) -> None:
        value = self.objective.value(self.problem, selected)
        self.evaluations += 1
        if value > self.value:
            self.selected, self.value = selected, value
            self.record(self.upper_bound)

    def record(self, upper_bound: float) -> None:
        self.upper_bound = max(min(self.upper_bound, upper_bound), self.value)
        self.trace += (TracePoint(time.perf_counter() - self.started, self.value, self.upper_bound),)


def solve_log_det(problem: Problem, objective: KernelLogDet, time_limit: float | None) -> Outcome:
    """Best selection of `problem.budget` tokens, with bound and trace; at the time limit what is known so far.

    Maximum-entropy sampling (Ko, Lee and Queyranne, 1995, Operations Research 43(4)). The bound of a node is a tangent
    of the augmented factorisation bound (Li, 2024, arXiv:2410.10078) of the kernel conditioned on the tokens fixed, or
    the Hadamard bound; both are modular functions above the objective. With the tokens sorted by it, the i-th child
    fixes token i and drops those before: the children end where the modular function cannot exceed the incumbent, and
    a child loses the tokens that cannot lift it above. A fused depth-first search closes children that are small. While
    many tokens are to be picked a node has two children instead, with and without its heaviest token.
    """
    started = time.perf_counter()
    first = LocalSearch()._solve(problem, objective, np.random.default_rng(0), time_limit)
    limit = math.inf if time_limit is None else time_limit
    search = _Search(problem, objective, first.selected, started, limit)
    root = _root(search)
    count = itertools.count()
    heap = [(-root.modular.bound(problem.budget), next(count), root)]
    search.record(-heap[0][0])
    while heap and -heap[0][0] > search.threshold and not search.expired:
        bound, _, node = heap[0]
        search.record(-bound)
        children = _children(search, node)
        if search.expired:
            break  # the node was not finished: it stays on the heap and in the bound
        heapq.heappop(heap)
        for child_bound, child in children:
            # A child is part of its parent, so the parent's bound is its own too.
            heapq.heappush(heap, (max(bound, -child_bound), next(count), child))
    open_bound = -heap[0][0] if heap else -math.inf
    search.record(max(open_bound, search.threshold))
    status = Status.OPTIMAL if open_bound <= search.threshold else Status.TIME_LIMIT
    return Outcome(search.selected, status, search.upper_bound, first.evaluations + search.evaluations, search.trace)


def _root(search: _Search) -> _Node:
    n, k = search.problem.tokens, search.problem.budget
    tokens = np.arange(n)
    modular = _hadamard(search.kernel, 0.0, np.full(n, k / n))
    tangent = _factorisation(search, search.kernel, 0.0, k, modular.weights, ROOT_ITERATIONS)
    if tangent is not None and tangent.bound(k) < modular.bound(k):
        modular = tangent
    return _Node((), tokens, modular)


def _children(search: _Search, node: _Node) -> list[tuple[float, _Node]]:
    """Bound and node of each part of `node` that may hold a better selection and is not searched yet."""
    size = search.problem.budget - len(node.fixed)
    if size > LARGEST_FAN:
        return _halves(search, node, size)
    order = np.argsort(-node.modular.gains, kind="stable")
    gains, tokens, weights = node.modular.gains[order], node.tokens[order], node.modular.weights[order]
    children = []
    for i in range(len(tokens) - size + 1):
        best = node.modular.constant + math.fsum(gains[i : i + size])
        if best <= search.threshold or search.expired:
            break
        fixed = (*node.fixed, int(tokens[i]))
        if size == 1:
            search.reach(np.array(fixed, dtype=np.int64))
            continue
        # The last of the best `size` makes way for a token further down.
        useful = best - gains[i + size - 1] + gains[i + 1 :] > search.threshold
        useful[: size - 1] = True
        rest = tokens[i + 1 :][useful]
        child = _bounded(search, fixed, rest, size - 1, weights[i + 1 :][useful])
        if child is not None:
            children.append((min(best, child.modular.bound(size - 1)), child))
    return children


def _halves(search: _Search, node: _Node, size: int) -> list[tuple[float, _Node]]:
    """As `_children`, for the part with the heaviest token that is not certain and the part without it."""
    bound, gains = node.modular.bound(size), node.modular.gains
    useful = bound - np.sort(gains)[-size] + gains > search.threshold
    useful[np.argsort(-gains, kind="stable")[:size]] = True
    tokens, weights = node.tokens[useful], node.modular.weights[useful]
    split = int(np.argmax(np.where(weights < 0.999, weights, 0.0)))
    token, others, rest = int(tokens[split]), np.delete(tokens, split), np.delete(weights, split)
    kept = _bounded(search, (*node.fixed, token), others, size - 1, rest)
    dropped = _bounded(search, node.fixed, others, size, rest) if len(others) >= size else None
    children = [(kept, size - 1), (dropped, size)]
    return [(min(bound, child.modular.bound(left)), child) for child, left in children if child is not None]


def _bounded(
    search: _Search, fixed: tuple[int, ...], tokens: IntArray, size: int, weights: Float64Array
) -> _Node | None:
    """The node, or None once nothing below it is better than the incumbent."""
    base, conditional = _condition(search, fixed, tokens)
    steps = SEARCH_STEPS if size <= LARGEST_FAN else SEARCH_STEPS // 100
    found = search_determinants(conditional, search.floor[tokens], size, search.threshold - base, steps // len(tokens))
    search.evaluations += len(tokens)
    if found.selected.size:
        search.reach(np.array([*fixed, *tokens[found.selected]], dtype=np.int64))
    if found.finished:
        return None
    weights = np.maximum(weights, 1e-6)
    modular = _hadamard(conditional, base, capped(weights, size))
    tangent = _factorisation(search, conditional, base, size, modular.weights, NODE_ITERATIONS)
    if tangent is not None and tangent.bound(size) < modular.bound(size):
        modular = tangent
    return _Node(fixed, tokens, modular) if modular.bound(size) > search.threshold else None


def _condition(search: _Search, fixed: tuple[int, ...], tokens: IntArray) -> tuple[float, Float64Array]:
    """Log-determinant of `fixed`, and the kernel of `tokens` given them [token, token]."""
    if not fixed:
        return 0.0, search.kernel[np.ix_(tokens, tokens)]
    held = np.array(fixed, dtype=np.int64)
    factor = np.linalg.cholesky(search.kernel[np.ix_(held, held)])
    rows = solve_triangular(factor, search.kernel[np.ix_(held, tokens)], lower=True, check_finite=False)
    conditional = search.kernel[np.ix_(tokens, tokens)] - rows.T @ rows
    diagonal = np.maximum(np.diag(conditional), search.floor[tokens])
    np.fill_diagonal(conditional, diagonal)
    return 2.0 * math.fsum(np.log(np.diag(factor))), conditional


def _hadamard(kernel: Float64Array, base: float, weights: Float64Array) -> _Modular:
    return _Modular(base, np.log(np.diag(kernel)), weights)


def _factorisation(
    search: _Search, kernel: Float64Array, base: float, size: int, weights: Float64Array, iterations: int
) -> _Modular | None:
    """Lowest of the tangents met by multiplicative steps; None where time or rounding allow none."""
    n = len(kernel)
    cost = SECONDS_PER_CUBE * n**3
    if time.perf_counter() + 2 * cost > search.deadline:
        return None
    rounding = n * EPS * float(np.trace(kernel))
    least = float(np.linalg.eigvalsh(kernel)[0])
    psi = max(least - rounding, 0.0)
    best: _Modular | None = None
    reached = math.inf
    for _ in range(iterations):
        if time.perf_counter() + cost > search.deadline:
            break
        tangent = _tangent(kernel, psi, weights, size, rounding)
        if tangent is None:
            break
        tangent = tangent._replace(constant=base + tangent.constant)
        bound = tangent.bound(size)
        if bound < reached:
            best, reached = tangent, bound
        if reached <= search.threshold:
            break
        weights = capped(weights * tangent.gains**2, size)
    return best


def _tangent(kernel: Float64Array, psi: float, weights: Float64Array, size: int, rounding: float) -> _Modular | None:
    """Tangent at `weights` of the augmented factorisation bound: factors of kernel - psi I, psi added to eigenvalues.

    The bound keeps the `large` leading eigenvalues and replaces the rest by size - large copies of their mean, where
    `large` is the smallest number for which that mean is at least the next eigenvalue. None where the rounding error of
    an eigenvalue could be as large as the smallest that counts.
    """
    n = len(weights)
    root = np.sqrt(weights)
    shifted = kernel - psi * np.eye(n)
    weighted = root[:, None] * shifted * root
    trace = float(np.trace(weighted))
    values, vectors = leading(weighted, size)
    values = np.maximum(values, 0.0)
    means = (trace - np.concatenate([[0.0], np.cumsum(values)[:-1]])) / np.arange(size, 0, -1)
    fits = means >= values
    fits[-1] = True  # true in exact arithmetic, where the sum of the rest contains the last value
    large = int(np.argmax(fits))
    tail = max(float(means[large]), float(values[large])) + psi
    if rounding > WORST_ROUNDING * tail:
        return None
    value = math.fsum(np.log(values[:large] + psi)) + (size - large) * math.log(tail) + size * rounding / tail
    loading = (shifted @ (root[:, None] * vectors[:, :large])) ** 2 / values[:large]
    slope = loading @ (1.0 / (values[:large] + psi) - 1.0 / tail)
    gains = np.maximum(np.diag(shifted) / tail + slope, 0.0)
    return _Modular(value - float(gains @ weights), gains, weights)
