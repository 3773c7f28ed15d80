"""What loops hand back, compiled or plain."""

from __future__ import annotations

from typing import NamedTuple

from ..arrays import FloatArray, IntArray


class Cover(NamedTuple):
    """How a selection covers each client; the clients of facility location are the tokens."""

    best: FloatArray
    """Largest worth [client]."""
    second: FloatArray
    """Second largest worth [client], 0 if only one token is kept."""
    server: IntArray
    """Position in the selection of the best one [client]."""


class MapPicks(NamedTuple):
    """Where greedy MAP inference ends."""

    selected: IntArray
    """Tokens in pick order, fewer than asked for if no conditional variance was positive any more."""
    lowest: float
    """Smallest conditional variance of the others; a positive semidefinite kernel allows none below 0. Or inf."""


class Swapped(NamedTuple):
    """Where a swap search ends."""

    selected: IntArray
    """Tokens, each swap in the position of the one it replaces."""
    moves: int
    """Number of swaps; fewer than allowed if no further one improves."""
