"""Figures are as wide as the paper they are drawn for, and only while they are drawn for it."""

from __future__ import annotations

import pytest

from analysis.figures import on_paper, style
from analysis.figures.venues import VENUES, venue


@pytest.mark.parametrize("entry", VENUES, ids=lambda entry: entry.name)
def test_widths_are_a_column_or_the_page(entry: style.Venue) -> None:
    with on_paper(entry.name) as paper:
        assert paper == entry
        assert {style.width(share) for share in (0.1, 0.5)} == {entry.column}
        assert {style.width(share) for share in (0.51, 0.72, 1.0)} == {entry.page}
    assert style.width(0.5) == 0.5 * style.TEXT
    assert 2 * entry.column < entry.page or entry.column == entry.page  # two columns and a gap, or one


def test_widths_in_points_of_tex() -> None:
    # what \showthe\columnwidth and \showthe\textwidth print in the documents of these style files
    printed = {"cvpr": (237.13594, 496.85625), "icml": (234.8775, 487.8225), "neurips": (397.48499, 397.48499)}
    for name, points in printed.items():
        entry = venue(name)
        assert (72.27 * entry.column, 72.27 * entry.page) == pytest.approx(points, abs=1e-3)


def test_paper_is_put_away_after_an_error_and_can_be_exchanged() -> None:
    with on_paper("cvpr"):
        with pytest.raises(KeyError), on_paper("iclr"):
            venue("nowhere")
        assert style.width() == 6.875
        with on_paper("iclr"):
            assert style.width() == 5.5
    assert style.width() == style.TEXT


def test_the_nearest_venue_is_suggested() -> None:
    with pytest.raises(KeyError, match=r"unknown venue 'cvpr2026'; did you mean 'cvpr'\?"), on_paper("cvpr2026"):
        pass


def test_fewer_panels_stand_side_by_side_on_a_narrow_page() -> None:
    assert style.columns(4) == 4
    with on_paper("eccv"):
        assert style.narrow()
        assert style.columns(4) == 2
