"""Widths of text in the style files of conferences."""

from __future__ import annotations

from typing import Final, NamedTuple

from solvers.names import nearest

CM: Final = 1 / 2.54
"""Inches per centimetre."""


class Venue(NamedTuple):
    """Where a paper is printed."""

    name: str
    column: float
    """Inches of one column; where text runs in a single one, the page."""
    page: float
    """Inches of the whole text."""
    source: str
    """Where the widths are set."""


VENUES: Final = (
    Venue("cvpr", (6.875 - 0.3125) / 2, 6.875, "cvpr.sty, cvpr-org/author-kit@1a9acb7: text 6.875 in, gap 0.3125 in"),
    Venue("eccv", 12.2 * CM, 12.2 * CM, "llncs.cls: text 12.2 cm"),
    Venue("icml", (6.75 - 0.25) / 2, 6.75, "icml.sty: text 6.75 in, gap 0.25 in"),
    Venue("neurips", 5.5, 5.5, "neurips.sty: text 5.5 in"),
    Venue("iclr", 5.5, 5.5, "iclr_conference.sty: text 5.5 in"),
    Venue("acl", 7.7 * CM, 16 * CM, "acl.sty, acl-org/acl-style-files@1c24b4a: A4, margins 2.5 cm, gap 0.6 cm"),
)
"""A new one is one entry."""


def venue(name: str) -> Venue:
    """The entry of `VENUES` with this name; KeyError with the nearest name if there is none."""
    known = {entry.name: entry for entry in VENUES}
    return known[nearest(name, known, "venue")]
