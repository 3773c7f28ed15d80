"""One self-contained HTML page: no network, no other file, nothing that came from data is ever markup."""

from __future__ import annotations

import io
from pathlib import Path
from typing import NamedTuple

from PIL import Image, UnidentifiedImageError

from analysis.figures import frames
from solvers.files import replacing

from . import numbers, tables
from .captions import CAPTIONS, Caption
from .content import ReportInput
from .explorer import explorer_data, png_data_uri
from .headline import headline
from .markup import EXPLORER, page

_CSS_PIXELS_PER_INCH = 139
"""Shows a figure over two paper columns as wide as the text of the page, and others in proportion."""


class _Picture(NamedTuple):
    name: str
    src: str
    width: int
    caption: Caption


def write_report(folder: str | Path, content: ReportInput, *, name: str = "report.html") -> Path:
    """Write the report and return its path; an existing one is replaced in one step.

    Parameters
    ----------
    folder
        Created when missing.
    content
        See `ReportInput`.
    name
        File name.

    Raises
    ------
    FileNotFoundError
        If a figure's file is missing.
    ValueError
        If a figure's file is not a PNG.
    """
    target = Path(folder) / name
    with replacing(target) as unfinished:
        unfinished.write_text(render(content), encoding="utf-8")
    return target


def render(content: ReportInput) -> str:
    """The page as text; the same content gives the same text."""
    keep = frames.chosen_budget(content.accuracy, None, "accuracy")
    selection_keep = frames.chosen_budget(content.selection, None, "selection")
    return page(
        "report.html",
        (*(EXPLORER if content.explorer else ()), "page.js"),
        content=content,
        facts=headline(content),
        pictures=_pictures(content),
        total=sum(stage.seconds for stage in content.stages),
        duration=numbers.duration,
        attention=tables.attention_table(content.attention),
        quartiles=tables.quartile_table(content.quartiles),
        selection=[
            (k, k == selection_keep, tables.selection_table(content.selection, k))
            for k in frames.budgets(content.selection)
        ],
        accuracy=tables.accuracy_table(content.accuracy),
        tasks=[(k, k == keep, tables.task_table(content.accuracy, k)) for k in frames.budgets(content.accuracy)],
        cost=tables.cost_table(content.cost),
        differences=tables.difference_tables(content.differences, content.accuracy),
        data=explorer_data(content.explorer) if content.explorer else None,
    )


def _pictures(content: ReportInput) -> dict[str, list[_Picture]]:
    """Figures by section, in the order of their captions; unknown names are in section "further"."""
    order = [name for name in CAPTIONS if name in content.figures]
    order += [name for name in content.figures if name not in CAPTIONS]
    sections: dict[str, list[_Picture]] = {caption.section: [] for caption in CAPTIONS.values()}
    sections["further"] = []
    for name in order:
        caption = CAPTIONS.get(name, Caption("further", name.replace("_", " ").capitalize(), ""))
        png = Path(content.figures[name]).read_bytes()
        sections[caption.section].append(_Picture(name, png_data_uri(png), _shown_width(name, png), caption))
    return sections


def _shown_width(name: str, png: bytes) -> int:
    """Width on the page in CSS pixels, from the figure's size on paper."""
    try:
        with Image.open(io.BytesIO(png), formats=["PNG"]) as picture:
            result: int = round(picture.width / picture.info.get("dpi", (300.0,))[0] * _CSS_PIXELS_PER_INCH)
            return result
    except UnidentifiedImageError:
        raise ValueError(f"figure {name!r} must be a PNG file, got something else") from None
