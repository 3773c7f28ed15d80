"""Which selections are allowed."""

from __future__ import annotations

from dataclasses import dataclass

from .arrays import IntArray


@dataclass(frozen=True)
class Cardinality:
    """Exactly `budget` distinct tokens, whichever they are."""

    def violation(self, selected: IntArray, tokens: int, budget: int) -> str | None:
        """Why `selected` breaks the constraint, or None if it keeps it.

        Parameters
        ----------
        selected
            Token indices [budget], in pick order.
        tokens
            Number of tokens n of the problem.
        budget
            Number of tokens k to keep.
        """
        if selected.ndim != 1 or selected.size != budget:
            return f"`selected` must hold exactly {budget} tokens, got shape {selected.shape}"
        if selected.min() < 0 or selected.max() >= tokens:
            return f"`selected` must lie in [0, {tokens - 1}], got [{selected.min()}, {selected.max()}]"
        if len(set(selected.tolist())) != budget:
            return f"`selected` must not repeat a token, got {budget - len(set(selected.tolist()))} repeats"
        return None
