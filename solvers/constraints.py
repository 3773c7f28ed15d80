"""Which selections are allowed. Every constraint keeps exactly `budget` distinct tokens; most ask for more."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .arrays import IntArray
from .names import nearest

if TYPE_CHECKING:
    from .problem import Problem

BoolArray = npt.NDArray[np.bool_]
PARTS = ("rows", "columns", "groups")


@dataclass(frozen=True)
class AbstractConstraint(ABC):
    """A rule on selections. Subclasses are frozen dataclasses of parameters; the problem checks them once."""

    @abstractmethod
    def infeasible(self, problem: Problem) -> str | None:
        """Why no selection of `problem` is allowed or the rule has no meaning there, or None if nothing shows it."""

    def violation(self, selected: IntArray, problem: Problem) -> str | None:
        """Why `selected` breaks the constraint, or None if it keeps it.

        Parameters
        ----------
        selected
            Token indices, in pick order.
        problem
            The instance, with n tokens and a budget.
        """
        tokens, budget = problem.tokens, problem.budget
        if selected.ndim != 1 or selected.size != budget:
            return f"`selected` must hold exactly {budget} tokens, got shape {selected.shape}"
        if selected.min() < 0 or selected.max() >= tokens:
            return f"`selected` must lie in [0, {tokens - 1}], got [{selected.min()}, {selected.max()}]"
        if len(set(selected.tolist())) != budget:
            return f"`selected` must not repeat a token, got {budget - len(set(selected.tolist()))} repeats"
        return self._violation(selected, problem)

    def _violation(self, selected: IntArray, problem: Problem) -> str | None:
        return None


class StuckError(RuntimeError):
    """No token may join those chosen so far, and they are fewer than the budget."""


class NoSelectionError(ValueError):
    """No selection that keeps the constraint was found: there is none, or the time was up before one was met."""


@dataclass(frozen=True)
class IndependenceSystem(AbstractConstraint):
    """A constraint that can be kept token by token: what may not join some tokens may not join more of them either."""

    @abstractmethod
    def extensions(self, selected: IntArray, problem: Problem) -> BoolArray:
        """Which tokens may be added to the allowed tokens `selected` [token]; those in it may not."""

    @property
    def required(self) -> tuple[int, ...]:
        """Tokens that every selection contains, ascending."""
        return ()

    def candidates(self, selected: IntArray, problem: Problem) -> IntArray:
        """Tokens of which one comes next, ascending: the next that must stay, if any is missing, else all `extensions`.

        Raises
        ------
        StuckError
            If there is none.
        """
        if selected.size < len(self.required):
            return np.array([self.required[selected.size]], dtype=np.int64)
        allowed = np.flatnonzero(self.extensions(selected, problem)).astype(np.int64, copy=False)
        if allowed.size == 0:
            raise StuckError(f"after {selected.size} of {problem.budget} tokens {self!r} allows no other")
        return allowed


@dataclass(frozen=True)
class MatroidConstraint(IndependenceSystem):
    """A constraint under which every allowed part of a selection can be completed: greedy never gets stuck."""


@dataclass(frozen=True)
class Cardinality(MatroidConstraint):
    """Exactly `budget` distinct tokens, whichever they are."""

    def infeasible(self, problem: Problem) -> str | None:
        return None

    def extensions(self, selected: IntArray, problem: Problem) -> BoolArray:
        allowed = np.ones(problem.tokens, dtype=np.bool_)
        allowed[selected] = False
        return allowed


@dataclass(frozen=True)
class Partition(MatroidConstraint):
    """At most so many tokens of each row, column, or group (tile or frame): a partition matroid.

    Parameters
    ----------
    capacities
        Most tokens of a part, at least 0: one number for all parts, or one for each. Rows and columns are counted from
        the top left, groups in ascending order of their labels.
    by
        "rows" or "columns" of the problem's grid, or its "groups".

    Examples
    --------
    >>> from solvers import Greedy, Partition, Problem, Saliency
    >>> signals = {"cls": [5.0, 4.0, 3.0, 2.0, 1.0, 0.0]}
    >>> frame = Problem.from_features(np.eye(6), 3, signals=signals, grid=(3, 2), constraint=Partition(1))
    >>> Greedy().solve(frame, Saliency()).selected.tolist()
    [0, 2, 4]
    """

    capacities: int | tuple[int, ...] = 1
    by: str = "rows"

    def __post_init__(self) -> None:
        nearest(self.by, PARTS, "partition")
        numbers = (self.capacities,) if isinstance(self.capacities, (int, np.integer)) else tuple(self.capacities)
        if not numbers or any(isinstance(c, bool) or not isinstance(c, (int, np.integer)) or c < 0 for c in numbers):
            raise ValueError(f"`capacities` must be one or more integers of at least 0, got {self.capacities!r}")
        plain = tuple(int(number) for number in numbers)
        object.__setattr__(self, "capacities", plain if isinstance(self.capacities, (tuple, list)) else plain[0])

    def parts(self, problem: Problem) -> IntArray:
        """Part of each token, int64 [token], numbered from 0."""
        if self.by == "groups":
            assert problem.groups is not None
            return np.unique(problem.groups, return_inverse=True)[1].astype(np.int64)
        assert problem.grid is not None
        rows, columns = np.divmod(np.arange(problem.tokens, dtype=np.int64), problem.grid[1])
        return rows if self.by == "rows" else columns

    def room(self, problem: Problem) -> IntArray:
        """Capacity of each part, int64 [part]."""
        parts = int(self.parts(problem).max()) + 1
        return np.broadcast_to(np.asarray(self.capacities, dtype=np.int64), (parts,)).copy()

    def infeasible(self, problem: Problem) -> str | None:
        return self.infeasible_among(problem, np.ones(problem.tokens, dtype=np.bool_))

    def infeasible_among(self, problem: Problem, available: BoolArray) -> str | None:
        """As `infeasible`, if only the tokens of `available` [token] may be kept."""
        source = "groups" if self.by == "groups" else "grid"
        if getattr(problem, source) is None:
            return f"a partition by {self.by} needs `{source}`"
        parts = self.parts(problem)
        sizes = np.bincount(parts[available], minlength=int(parts.max()) + 1)
        if isinstance(self.capacities, tuple) and len(self.capacities) != sizes.size:
            return f"`capacities` must be one number or one for each of {sizes.size} {self.by}, got {self.capacities}"
        most = int(np.minimum(sizes, self.room(problem)).sum())
        if most < problem.budget:
            return f"the {self.by} have room for {most} tokens, fewer than the budget {problem.budget}"
        return None

    def extensions(self, selected: IntArray, problem: Problem) -> BoolArray:
        room, parts = self.room(problem), self.parts(problem)
        left: BoolArray = (room - np.bincount(parts[selected], minlength=room.size) > 0)[parts]
        left[selected] = False
        return left

    def _violation(self, selected: IntArray, problem: Problem) -> str | None:
        room = self.room(problem)
        taken = np.bincount(self.parts(problem)[selected], minlength=room.size)
        over = np.flatnonzero(taken > room)
        if over.size:
            part = int(over[0])
            return f"part {part} of the {self.by} has room for {room[part]} tokens, got {taken[part]}"
        return None


@dataclass(frozen=True)
class Forced(MatroidConstraint):
    """Some tokens must stay, some must go; a partition may hold for the selection as well.

    Parameters
    ----------
    kept, dropped
        Distinct token indices.
    within
        What holds beside, `Cardinality` or `Partition`.
    """

    kept: tuple[int, ...] = ()
    dropped: tuple[int, ...] = ()
    within: Cardinality | Partition = field(default_factory=Cardinality)

    def __post_init__(self) -> None:
        for name in ("kept", "dropped"):
            tokens = tuple(getattr(self, name))
            if any(isinstance(t, bool) or not isinstance(t, (int, np.integer)) for t in tokens):
                raise ValueError(f"`{name}` must hold token indices, got {tokens}")
            # Ascending, so that equal constraints are equal.
            object.__setattr__(self, name, tuple(sorted(int(token) for token in tokens)))
        both = [*self.kept, *self.dropped]
        if len(set(both)) < len(both):
            twice = next(token for token in both if both.count(token) > 1)
            raise ValueError(f"`kept` and `dropped` must name no token twice, got {twice}")
        if type(self.within) not in (Cardinality, Partition):
            raise ValueError(f"`within` must be a Cardinality or a Partition, got {self.within!r}")

    def infeasible(self, problem: Problem) -> str | None:
        named = [*self.kept, *self.dropped]
        if named and not 0 <= min(named) <= max(named) < problem.tokens:
            return f"forced tokens must lie in [0, {problem.tokens - 1}], got [{min(named)}, {max(named)}]"
        if len(self.kept) > problem.budget:
            return f"{len(self.kept)} tokens must stay, more than the budget {problem.budget}"
        available = np.ones(problem.tokens, dtype=np.bool_)
        available[list(self.dropped)] = False
        if int(available.sum()) < problem.budget:
            return f"{int(available.sum())} tokens may stay, fewer than the budget {problem.budget}"
        if isinstance(self.within, Partition):
            reason = self.within.infeasible_among(problem, available)
            if reason is not None:
                return reason
            reason = self.within._violation(np.array(self.kept, dtype=np.int64), problem)
            return None if reason is None else f"of the tokens that must stay, {reason}"
        return None

    def extensions(self, selected: IntArray, problem: Problem) -> BoolArray:
        allowed = self.within.extensions(selected, problem)
        allowed[list(self.dropped)] = False
        return allowed

    @property
    def required(self) -> tuple[int, ...]:
        return self.kept

    def _violation(self, selected: IntArray, problem: Problem) -> str | None:
        chosen = set(selected.tolist())
        missing, present = set(self.kept) - chosen, set(self.dropped) & chosen
        if missing:
            return f"token {min(missing)} must stay and is not selected"
        if present:
            return f"token {min(present)} must go and is selected"
        return self.within._violation(selected, problem)


@dataclass(frozen=True)
class WholeRows(AbstractConstraint):
    """Only whole rows of the image grid, as FoPru's row reservation keeps them."""

    def rows(self, problem: Problem) -> IntArray:
        """Tokens of each row, int64 [row, column]."""
        assert problem.grid is not None
        return np.arange(problem.tokens, dtype=np.int64).reshape(problem.grid)

    def infeasible(self, problem: Problem) -> str | None:
        if problem.grid is None:
            return "whole rows need `grid`"
        if problem.budget % problem.grid[1]:
            return f"whole rows need a `budget` that is a multiple of {problem.grid[1]}, got {problem.budget}"
        return None

    def _violation(self, selected: IntArray, problem: Problem) -> str | None:
        assert problem.grid is not None
        columns = problem.grid[1]
        rows, taken = np.unique(selected // columns, return_counts=True)
        broken = np.flatnonzero(taken < columns)
        if broken.size:
            return f"row {rows[broken[0]]} must be kept whole, got {taken[broken[0]]} of its {columns} tokens"
        return None


@dataclass(frozen=True)
class Conflict(IndependenceSystem):
    """No two kept tokens may be more similar than `threshold`, as in GreedyPrune and D2Pruner.

    Whether any selection is allowed is a question about independent sets and hard in general. A problem is refused
    where groups of tokens that conflict pairwise, fewer than the budget, cover all of them. Solvers that choose token
    by token can get stuck, also where a selection exists; then they do not support the problem and say so.

    Parameters
    ----------
    threshold
        Largest allowed similarity; 0.9 as in GreedyPrune.
    """

    threshold: float = 0.9

    def __post_init__(self) -> None:
        if not math.isfinite(self.threshold):
            raise ValueError(f"`threshold` must be finite, got {self.threshold}")
        # Equal thresholds print alike, so that problems with equal data have equal fingerprints.
        object.__setattr__(self, "threshold", float(self.threshold))

    def conflicts(self, problem: Problem) -> BoolArray:
        """Which pairs exclude each other [token, token]; nobody excludes itself."""
        close: BoolArray = problem.similarity > self.threshold
        np.fill_diagonal(close, False)
        return close

    def infeasible(self, problem: Problem) -> str | None:
        from .kernels.dispersion import clique_cover_size

        apart = (~self.conflicts(problem)).astype(np.float64)  # 0 for a conflict, hence closer than 1/2
        order = np.arange(problem.tokens)
        groups = clique_cover_size(apart, 0.5, order, problem.budget)
        if groups < problem.budget:
            return (
                f"at a threshold of {self.threshold:g} all tokens fall into {groups} groups of conflicting ones, "
                f"fewer than the budget {problem.budget}"
            )
        return None

    def extensions(self, selected: IntArray, problem: Problem) -> BoolArray:
        allowed = np.ones(problem.tokens, dtype=np.bool_)
        allowed[(problem.similarity[selected] > self.threshold).any(axis=0)] = False
        allowed[selected] = False
        return allowed

    def _violation(self, selected: IntArray, problem: Problem) -> str | None:
        close = np.argwhere(np.triu(self.conflicts(problem)[np.ix_(selected, selected)]))
        if close.size:
            a, b = selected[close[0]]
            return f"tokens {a} and {b} conflict: similarity {problem.similarity[a, b]:.6g} above {self.threshold:g}"
        return None


CONSTRAINTS: tuple[type[AbstractConstraint], ...] = (Cardinality, Partition, Forced, WholeRows, Conflict)
"""Every constraint of the package; files of problems name them by class."""


def dead_end(problem: Problem, choose: Callable[[IndependenceSystem], object]) -> str | None:
    """Where `choose`, which builds a selection token by token, gets stuck, or None; under a matroid it never does."""
    rule = problem.constraint
    if isinstance(rule, MatroidConstraint) or not isinstance(rule, IndependenceSystem):
        return None
    try:
        choose(rule)
    except StuckError as error:
        return str(error)
    return None
