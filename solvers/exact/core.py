"""What the Lagrangian bound leaves open of a facility-location problem: a core of few tokens and assignments."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ..arrays import Float64Array, IntArray
from ..lagrangian_dual import LagrangianBound, service
from ..problem import Problem


class Core(NamedTuple):
    """What reduced costs could not decide."""

    open: IntArray
    """Tokens kept in every selection that is at least as good as the incumbent."""
    columns: IntArray
    """Tokens that such a selection may keep, those of `open` included."""
    client: IntArray
    """Client of each assignment of positive worth that such a selection may use."""
    server: IntArray
    """Position in `columns` of the kept token of each assignment."""
    worth: Float64Array
    """Worth of each assignment."""


def reduce(problem: Problem, dual: LagrangianBound) -> Core:
    """Fix by Lagrangian reduced costs everything that no selection as good as the incumbent can use.

    Forcing a token in or out, or serving client c by j below its multiplier, lowers the dual bound by a known amount;
    if it falls below the incumbent's value, the choice is out. All numbers are exact, so no margin is needed. A client
    without an assignment in the core is worth nothing to any such selection.
    """
    worth, k, surplus = service(problem, dual.objective).by_client, problem.budget, dual.search.surplus
    gap = dual.value - dual.reached
    order = np.argsort(-surplus, kind="stable")
    least_in, best_out = surplus[order[k - 1]], surplus[order[k]] if k < problem.tokens else -math.inf
    regret = np.maximum(least_in - surplus, 0.0)
    columns = np.flatnonzero(regret <= gap)
    opened = np.flatnonzero(surplus - best_out > gap)
    open_worth = worth[:, columns].astype(np.float64)
    shortfall = np.maximum(dual.search.multipliers[:, None].astype(np.float64) - open_worth, 0.0)
    client, server = np.nonzero((shortfall + regret[columns] <= gap) & (open_worth > 0.0))
    return Core(opened, columns, client, server, open_worth[client, server])
