"""Rows of the benchmark table: two times, what they are worth, and whether the target is met."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any, NamedTuple

import numpy as np

from .timing import Timing

SAME_VALUE = 1e-7
"""Relative difference up to which two values count as one: rounding of float32 sums."""

Selections = Sequence[Sequence[int]]
"""Tokens picked in each image, in pick order."""


class Target(NamedTuple):
    """What a row has to reach."""

    measure: str
    """What is compared with the limit: "ratio", "gap %", "seconds"."""
    limit: float
    at_most: bool = False
    """Whether the measure must not exceed the limit; else it must reach it."""

    def met(self, measured: float) -> bool:
        """Whether `measured` is on the right side of the limit; NaN never is."""
        return measured <= self.limit if self.at_most else measured >= self.limit

    def __str__(self) -> str:
        return f"{self.measure} {'<=' if self.at_most else '>='} {self.limit:g}"


RATIO = "ratio"


@dataclass(frozen=True)
class Row:
    """One comparison. Times are seconds per call, NaN where there is none."""

    work: str
    problem: str = ""
    """Id of the problem; of the first one where there are several."""
    n: int = 0
    keep: int = 0
    images: int = 1
    ours: str = ""
    """What was called of this project."""
    peer: str = ""
    ours_cpu: float = math.nan
    ours_wall: float = math.nan
    ours_samples: int = 0
    peer_cpu: float = math.nan
    peer_wall: float = math.nan
    peer_samples: int = 0
    same_picks: str = ""
    """ "order", "set" or "no"; empty where there is nothing to compare."""
    overlap: float = math.nan
    """Share of our picks that the peer picked too."""
    ours_value: float = math.nan
    peer_value: float = math.nan
    """Values of the selections under the same objective, in float64."""
    target: Target | None = None
    measured: float = math.nan
    """The measure of the target."""
    verdict: str = ""
    """ "pass", "below", "picks differ", "lower value", "not proven", "no peer", or empty without a target."""
    note: str = ""

    @property
    def ratio_cpu(self) -> float:
        """How many times the processor time of ours the peer takes."""
        return self.peer_cpu / self.ours_cpu

    @property
    def ratio_wall(self) -> float:
        """How many times the elapsed time of ours the peer takes."""
        return self.peer_wall / self.ours_wall

    def record(self) -> dict[str, Any]:
        """The row as columns of a table, times in milliseconds."""
        return {
            "work": self.work, "problem": self.problem, "n": self.n, "keep": self.keep, "images": self.images,
            "ours": self.ours, "peer": self.peer, "peer_version": version(self.peer),
            "ours_cpu_ms": 1e3 * self.ours_cpu, "ours_wall_ms": 1e3 * self.ours_wall,
            "peer_cpu_ms": 1e3 * self.peer_cpu, "peer_wall_ms": 1e3 * self.peer_wall,
            "ratio_cpu": self.ratio_cpu, "ratio_wall": self.ratio_wall,
            "ours_samples": self.ours_samples, "peer_samples": self.peer_samples,
            "same_picks": self.same_picks, "overlap": self.overlap,
            "ours_value": self.ours_value, "peer_value": self.peer_value,
            "target": "" if self.target is None else str(self.target), "measured": self.measured,
            "verdict": self.verdict, "note": self.note,
        }  # fmt: skip


def version(peer: str) -> str:
    """Installed version of the package that the name of a peer begins with; empty if there is none."""
    try:
        return metadata.version(peer.split(" ")[0]) if peer else ""
    except metadata.PackageNotFoundError:
        return ""


def agreement(ours: Selections, peer: Selections) -> tuple[str, float]:
    """How far two lists of selections are the same, image by image.

    Returns
    -------
    tuple
        "order" if every pick is the same, else "set" if every set is, else "no"; and the share of our picks that the
        peer picked too, over all images.
    """
    if len(ours) != len(peer) or not ours:
        raise ValueError(
            f"selections must be of equally many images, and of one at least, got {len(ours)}, {len(peer)}"
        )
    shared = sum(len(set(a) & set(b)) for a, b in zip(ours, peer, strict=True))
    overlap = shared / sum(len(set(a)) for a in ours)
    if all(list(a) == list(b) for a, b in zip(ours, peer, strict=True)):
        return "order", overlap
    same = all(len(a) == len(b) and set(a) == set(b) for a, b in zip(ours, peer, strict=True))
    return ("set" if same else "no"), overlap


def compared(
    row: Row,
    ours: Timing,
    peer: Timing,
    value: Callable[[Selections], float] | None,
    *,
    same: bool = False,
    at_least: bool = False,
) -> Row:
    """`row` with both times, the agreement of their results, and its verdict.

    Parameters
    ----------
    row
        Names, sizes and the target.
    ours, peer
        Times; their results are lists of picks, or lists of such lists.
    value
        Value of selections, or None where picks are not to be compared.
    same
        Whether a pass needs the same picks: equal sets, or else equal values, which means that ties were broken
        otherwise.
    at_least
        Whether a pass needs a value no lower than that of the peer.
    """
    timed: dict[str, Any] = {
        "ours_cpu": ours.cpu, "ours_wall": ours.wall, "ours_samples": ours.samples,
        "peer_cpu": peer.cpu, "peer_wall": peer.wall, "peer_samples": peer.samples,
    }  # fmt: skip
    if value is not None:
        picked, theirs = selections(ours.result), selections(peer.result)
        timed["same_picks"], timed["overlap"] = agreement(picked, theirs)
        timed["ours_value"], timed["peer_value"] = value(picked), value(theirs)
    full = Row(**(vars(row) | timed))
    measured = full.ratio_cpu if row.target is not None and row.target.measure == RATIO else row.measured
    return Row(**(vars(full) | {"measured": measured, "verdict": verdict(full, measured, same, at_least)}))


def verdict(row: Row, measured: float, same: bool, at_least: bool) -> str:
    """What a finished row amounts to."""
    if row.target is None:
        return ""
    slack = SAME_VALUE * max(1.0, abs(row.peer_value)) if math.isfinite(row.peer_value) else 0.0
    if same and row.same_picks == "no" and abs(row.ours_value - row.peer_value) > slack:
        return "picks differ"
    if at_least and row.ours_value < row.peer_value - slack:
        return "lower value"
    return "pass" if row.target.met(measured) else "below"


def selections(result: Any) -> list[list[int]]:
    """Picks of one image or of several as a list of lists."""
    array = np.asarray(result)
    return [[int(token) for token in picks] for picks in (array[None] if array.ndim == 1 else array)]
