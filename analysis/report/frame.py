"""The token explorer in a notebook: an inline frame that needs neither files nor network."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .content import ExplorerImage
from .explorer import explorer_data
from .markup import EXPLORER, page

_DATA = re.compile(r'<script type="application/json" id="explorer-data">(.*?)</script>', re.DOTALL)


@dataclass(frozen=True)
class ExplorerFrame:
    """A page that Jupyter shows in a frame.

    Attributes
    ----------
    page
        HTML document; complete in itself.
    height
        Of the frame in pixels; its width is that of the notebook.
    """

    page: str
    height: int

    def _repr_html_(self) -> str:
        # scripts run, but without the notebook's origin: they reach neither its cookies nor its kernel
        return (
            f'<iframe title="Token explorer" srcdoc="{html.escape(self.page)}" sandbox="allow-scripts" '
            f'width="100%" height="{self.height}" style="border: 0"></iframe>'
        )

    def __repr__(self) -> str:
        return f"ExplorerFrame({len(self.page):,} characters, height={self.height})"


def explorer_frame(source: Sequence[ExplorerImage] | str | Path, *, height: int = 960) -> ExplorerFrame:
    """The token explorer of some pictures, or of a report, to be shown as the last value of a notebook cell.

    Parameters
    ----------
    source
        Pictures with their questions, or the path of a report that holds an explorer.
    height
        Of the frame, in pixels.

    Raises
    ------
    FileNotFoundError
        If there is no such report.
    ValueError
        If there are no pictures, the report has no explorer, or `height` is below 1.

    Examples
    --------
    >>> explorer_frame("out/report.html")  # doctest: +SKIP
    """
    if height < 1:
        raise ValueError(f"`height` must be at least 1 pixel, got {height}")
    if isinstance(source, (str, Path)):
        data = _embedded(Path(source))
    elif not source:
        raise ValueError("`source` must hold at least one picture, got none")
    else:
        data = explorer_data(source)
    return ExplorerFrame(page("frame.html", EXPLORER, data=data), height)


def _embedded(report: Path) -> Any:
    """The explorer's data in a report."""
    found = _DATA.search(report.read_text(encoding="utf-8"))
    if found is None:
        raise ValueError(f"`source` must be a report with a token explorer, {str(report)!r} has none")
    try:
        return json.loads(found[1])
    except json.JSONDecodeError as error:
        raise ValueError(f"the token explorer in {str(report)!r} is damaged: {error}") from None
