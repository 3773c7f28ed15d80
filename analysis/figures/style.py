"""The one place for sizes, fonts and line widths, and for writing a figure to disk.

Nothing here touches pyplot or the reader's settings: figures are built and saved inside `theme()`, which starts from
Matplotlib's defaults and restores whatever was set before.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .palette import HAIRLINE, INK, MUTED
from .venues import Venue, venue

if TYPE_CHECKING:
    from .panels import Panels

COLUMN: Final = 3.3
"""Width of a figure in one column of a two-column paper, in inches, where no venue is named."""
TEXT: Final = 6.9
"""Width of a figure over both columns, in inches, where no venue is named."""
LEAST_PANEL: Final = 1.65
"""Inches that a panel with a title and an axis of its own needs."""
_PAPER: ContextVar[Venue | None] = ContextVar("paper", default=None)

_STYLE: Final[dict[Any, Any]] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["Arial", "Liberation Sans", "Helvetica", "DejaVu Sans"],
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 5,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.edgecolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": HAIRLINE,
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.3,
    "lines.markersize": 3.6,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.03,
    "figure.constrained_layout.h_pad": 0.03,
    "figure.dpi": 150,
    "savefig.facecolor": "white",
    "pdf.fonttype": 42,  # TrueType: text stays text, as publishers ask
    "ps.fonttype": 42,
    "svg.fonttype": "none",
}


_METADATA: Final[dict[str, dict[str, str | None]]] = {
    ".png": {"Software": None},
    ".pdf": {"CreationDate": None, "Producer": None, "Creator": None},
}
"""By suffix, the entries that are left out: no time stamp, no version."""


class Saved(NamedTuple):
    """Where a figure was written."""

    png: Path
    pdf: Path


@contextmanager
def theme() -> Iterator[None]:
    """The style of all figures, whatever the caller's rcParams are; they are as before on exit."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


@contextmanager
def on_paper(name: str) -> Iterator[Venue]:
    """Figures drawn inside are exactly as wide as a column or the page of this venue.

    Raises
    ------
    KeyError
        If `VENUES` has no such name; the nearest is suggested.
    """
    before = _PAPER.set(venue(name))
    try:
        yield venue(name)
    finally:
        _PAPER.reset(before)


def narrow() -> bool:
    """Whether the page leaves two panels too little room for words that fit otherwise."""
    return width() < 6


def columns(most: int, least: float = LEAST_PANEL) -> int:
    """Panels side by side, at most `most`, that have at least `least` inches each."""
    return max(1, min(most, int(width() / least)))


def width(share: float = 1.0) -> float:
    """Inches of a figure that wants `share` of the page: on the paper of a venue, one column up to a half, else all."""
    paper = _PAPER.get()
    if paper is None:
        return share * TEXT
    return paper.column if share <= 0.5 else paper.page


def save(figure: Panels | Figure | Axes, folder: str | Path, name: str, *, dpi: int = 300) -> Saved:
    """Write `figure` as `name`.png and `name`.pdf, with embedded TrueType fonts and no time stamp.

    Parameters
    ----------
    figure
        What a function of this package returned, or any Matplotlib figure; of axes, the whole figure they are on.
    folder
        Created when missing.
    name
        File name without suffix; a plain name, no path.
    dpi
        Dots per inch of the PNG, and of pictures inside the PDF.

    Raises
    ------
    ValueError
        If `name` is empty or holds a path separator.
    """
    if not name or Path(name).name != name:
        raise ValueError(f"`name` must be a plain file name without suffix, got {name!r}")
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    return Saved(*(write(figure, target / f"{name}{suffix}", dpi=dpi) for suffix in _METADATA))


def write(figure: Panels | Figure | Axes, path: Path, *, dpi: int = 300) -> Path:
    """Write `figure` to a .png or .pdf file in a folder that is there, as `save` does, and return the path.

    The page of a PDF is exactly as large as the figure: nothing is cropped or padded.
    """
    with theme():
        figure_of(figure).savefig(path, dpi=dpi, metadata=_METADATA[path.suffix])
    return path


def figure_of(drawn: Panels | Figure | Axes) -> Figure:
    """The figure that something is on, itself if it is one.

    Raises
    ------
    TypeError
        If it is on none, or on a part of one.
    """
    figure = getattr(drawn, "figure", None)
    if not isinstance(figure, Figure):
        raise TypeError(f"`figure` must be what a figure function returned, or a figure, got {type(drawn).__name__}")
    return figure


def interval_band(ax: Axes, x: Any, low: Any, high: Any, color: str) -> None:
    """The 95 % band of a line: flat, without an edge."""
    ax.fill_between(x, low, high, color=color, alpha=0.14, linewidth=0, zorder=1.5)


def reference_line(ax: Axes, y: float, label: str = "", *, at: float = 0.0, below: bool = False) -> None:
    """A dashed horizontal line with its name, if any, set on it at `at` (0 to 1) along the x axis."""
    ax.axhline(y, color=MUTED, linewidth=0.8, linestyle=(0, (3, 2)), zorder=1.2)
    ax.annotate(
        label,
        (at, y),
        xycoords=("axes fraction", "data"),
        xytext=(2 if at < 0.5 else -2, -2 if below else 2),
        textcoords="offset points",
        ha="left" if at < 0.5 else "right",
        va="top" if below else "bottom",
        fontsize=7,
        color=MUTED,
    )
