"""The explorer in a notebook: the same data, in a frame that cannot reach the notebook."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from analysis.report import ReportInput, explorer_frame, write_report
from analysis.report.explorer import explorer_data

Build = Callable[..., ReportInput]


class Frame(HTMLParser):
    """Attributes of the only tag."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def data_in(page: str) -> object:
    found = re.search(r'id="explorer-data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_a_sandboxed_frame_holds_the_page(report_input: Build) -> None:
    shown = explorer_frame(report_input().explorer, height=700)
    ((tag, attributes),) = Frame(shown._repr_html_()).tags
    assert tag == "iframe"
    assert attributes["sandbox"] == "allow-scripts"
    assert attributes["height"] == "700"
    assert attributes["srcdoc"] == shown.page
    assert "default-src 'none'" in html.unescape(shown.page)
    assert repr(shown) == f"ExplorerFrame({len(shown.page):,} characters, height=700)"


def test_of_a_report_it_shows_the_same(report_input: Build, tmp_path: Path) -> None:
    content = report_input()
    report = write_report(tmp_path, content)
    expected = json.loads(json.dumps(explorer_data(content.explorer)))
    assert data_in(explorer_frame(report).page) == expected
    assert explorer_frame(str(report)).page == explorer_frame(content.explorer).page


def test_what_cannot_be_shown_is_refused(report_input: Build, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`source` must hold at least one picture, got none"):
        explorer_frame([])
    with pytest.raises(ValueError, match="`height` must be at least 1 pixel, got 0"):
        explorer_frame(report_input().explorer, height=0)
    with pytest.raises(FileNotFoundError):
        explorer_frame(tmp_path / "report.html")
    bare = write_report(tmp_path, report_input(explorer=[]))
    with pytest.raises(ValueError, match=r"must be a report with a token explorer, '.*report\.html' has none"):
        explorer_frame(bare)
    cut = tmp_path / "cut.html"
    cut.write_text('<script type="application/json" id="explorer-data">{"images":</script>')
    with pytest.raises(ValueError, match=r"the token explorer in '.*cut\.html' is damaged"):
        explorer_frame(cut)
