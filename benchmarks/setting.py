"""How large and how often things are measured, and on which problems."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from solvers import AbstractObjective, Problem
from solvers.instances import clip_like

from .peers import NotInstalledError
from .rows import Row, Selections, Target, compared
from .timing import Timing, interleaved

SIDE, DIM, TILES = 24, 1024, 5
"""Tokens per row and column of an image, width of its features, and tiles of a large one."""


@dataclass(frozen=True)
class Setting:
    """Size of a run.

    Parameters
    ----------
    samples
        Timed samples of every call that is not heavy.
    shrink
        Divides rows and columns of the grids; widths and budgets go down by its square, time limits by itself. Targets
        are stated for 1 and judged only there.
    peers
        Whether peers are run at all.
    """

    samples: int = 7
    shrink: int = 1
    peers: bool = True

    def problem(self, keep: int, *, tiles: int = 1, seed: int = 0, side: int = SIDE) -> Problem:
        """Keep `keep` of side^2 tokens per tile, similarity computed; all numbers before they are shrunk."""
        return _problem(tiles, side // self.shrink, DIM // self.shrink**2, seed).with_budget(self.keep(keep))

    def keep(self, keep: int) -> int:
        """A budget at this size."""
        return max(2, keep // self.shrink**2)

    def seconds(self, limit: float) -> float:
        """A time limit at this size."""
        return limit / self.shrink

    def target(self, measure: str, limit: float, *, at_most: bool = False) -> Target | None:
        """A target, None at any size but the full one."""
        return Target(measure, limit, at_most) if self.shrink == 1 else None

    def against(
        self,
        row: Row,
        ours: Callable[[], Any],
        peers: Mapping[str, tuple[Callable[[], Callable[[], Any]], Target | None]],
        value: Callable[[Selections], float] | None,
        **needs: bool,
    ) -> list[Row]:
        """One row for each peer, all timed in turns with `ours`.

        Parameters
        ----------
        row
            What the rows share.
        ours
            The call to be timed.
        peers
            By name: a function that sets the peer up and returns the call to be timed, and the target.
        value, needs
            See `compared`.
        """
        ready: dict[str, Callable[[], Any]] = {}
        missing: dict[str, str] = {}
        for name, (prepare, _) in peers.items():
            try:
                if not self.peers:
                    raise NotInstalledError("left out of this run")
                ready[name] = prepare()
            except NotInstalledError as error:
                missing[name] = str(error)
            except Exception as error:  # a peer that refuses the input is a row of the table
                missing[name] = f"fails: {_first_line(error)}"
        times = interleaved({"": ours} | ready, self.samples)
        own = times.pop("")
        if isinstance(own, Exception):
            raise own
        rows = []
        for name, (_, target) in peers.items():
            about = Row(**(vars(row) | {"peer": name, "target": target}))
            timing = times.get(name)
            if isinstance(timing, Timing):
                rows.append(compared(about, own, timing, value, **needs))
            else:
                note = missing[name] if timing is None else f"fails: {_first_line(timing)}"
                rows.append(alone(about, own, note))
        return rows


def alone(row: Row, ours: Timing, note: str) -> Row:
    """`row` with our time only, and why there is no other."""
    timed = {"ours_cpu": ours.cpu, "ours_wall": ours.wall, "ours_samples": ours.samples}
    return Row(**(vars(row) | timed | {"verdict": "no peer", "note": note}))


def total(problems: list[Problem], objective: AbstractObjective[Any]) -> Callable[[Selections], float]:
    """Value of selections, summed over the images that they are of."""
    return lambda picked: sum(objective.value(p, tokens) for p, tokens in zip(problems, picked, strict=True))


def forget(problem: Problem, *names: str) -> None:
    """Drop cached results that are part of a solver's work, so that each call does it again.

    A problem keeps what several solvers share. Its similarity is given in these measurements; sums over it are not.
    """
    for name in names:
        problem._memo.pop(name, None)


@functools.cache
def _problem(tiles: int, side: int, dim: int, seed: int) -> Problem:
    problem = clip_like(1, grid=(side, side), tiles=tiles, dim=dim, seed=seed)
    problem.similarity  # noqa: B018  # computed here, since it is given in what follows
    return problem


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".strip().splitlines()[0]
