"""What a solver hands back: the selection, its value, the bound on every other selection, and how it ended."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import NamedTuple

from .arrays import IntArray
from .certificate import Certificate


class Status(enum.Enum):
    """How a run ended; each value is a sentence for people."""

    OPTIMAL = "Proven optimal: no allowed selection has a larger value (within the stated tolerance)."
    FEASIBLE = "Finished: the selection is allowed, no claim of optimality is made."
    TIME_LIMIT = "Stopped at the time limit: the best selection so far and its bound are returned."
    NO_SELECTION = "No result: no selection keeps the constraint, or none was met within the time limit."
    UNSUPPORTED = "Not run: the solver does not support this problem or objective."

    @property
    def label(self) -> str:
        """Lower-case name for tables, for example "optimal"."""
        return self.name.lower()


class TracePoint(NamedTuple):
    """State of an anytime solver at one moment."""

    seconds: float
    """Wall time since the start, in seconds."""
    value: float
    """Value of the best selection so far."""
    upper_bound: float
    """Smallest proven bound so far."""


class Bound(NamedTuple):
    """An upper bound on the objective of every allowed selection."""

    value: float
    """The bound; inf where none is known."""
    method: str
    """Name of the method that proved it."""


@dataclass(frozen=True, eq=False, repr=False)
class Solution:
    """One run of one solver on one problem.

    Parameters
    ----------
    selected
        Tokens kept, int64 [budget], in pick order.
    value
        Objective of `selected`, computed by the objective and not by the solver.
    upper_bound
        No allowed selection has a larger value; inf where the solver proves nothing.
    status
        How the run ended.
    seconds
        Wall time of the selection alone: similarity and compilation are done before.
    evaluations
        Marginal gains or values computed; 0 for rules that look at no objective.
    trace
        Progress of an anytime solver, oldest first.
    certificate
        Proof of the value and of an upper bound that can be checked on its own, where there is one. Its bound may be
        larger than `upper_bound`, which branching may have lowered.
    """

    selected: IntArray
    value: float
    upper_bound: float
    status: Status
    seconds: float
    evaluations: int
    trace: tuple[TracePoint, ...] = ()
    certificate: Certificate | None = None

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise ValueError(f"`value` must be finite, got {self.value}")
        if not self.upper_bound >= self.value:
            raise ValueError(f"`upper_bound` must be at least the value {self.value}, got {self.upper_bound}")
        if self.seconds < 0 or self.evaluations < 0:
            raise ValueError(
                f"`seconds` and `evaluations` must not be negative, got {self.seconds}, {self.evaluations}"
            )

    @property
    def gap(self) -> float:
        """`upper_bound - value`, in units of the objective."""
        return self.upper_bound - self.value

    @property
    def relative_gap(self) -> float:
        """`gap` divided by |value|; see `relative_gap`."""
        return relative_gap(self.value, self.upper_bound)

    def summary(self) -> str:
        """One line for people."""
        bound = (
            "no bound" if math.isinf(self.upper_bound) else f"bound {self.upper_bound:.6g}, gap {self.relative_gap:.4%}"
        )
        return (
            f"{self.value:.6g} with {self.selected.size} tokens ({bound}) in {self.seconds:.4f} s. {self.status.value}"
        )

    def __repr__(self) -> str:
        bound = "" if math.isinf(self.upper_bound) else f" <= {self.upper_bound:.6g}"
        return f"Solution({self.value:.6g}{bound}, {self.selected.size} tokens, {self.status.label})"

    def _repr_html_(self) -> str:
        from .notebook_views import solution_html  # it imports this module

        return solution_html(self)


def relative_gap(value: float, upper_bound: float) -> float:
    """(upper_bound - value) / |value|; 0 where they are equal, inf where the value is 0 or there is no bound.

    Never negative, also for negative values, where it may exceed 1: value -2 and bound 1 give 1.5. It has a meaning
    where the objective has a natural zero (saliency, facility location, max-min). A log-determinant has none, since a
    rescaled kernel shifts it; read its gap itself: no determinant is larger than exp(gap) times the one found.
    """
    if upper_bound == value:
        return 0.0
    if value == 0 or math.isinf(upper_bound):
        return math.inf
    return (upper_bound - value) / abs(value)
