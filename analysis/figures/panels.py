"""What a figure function returns: the axes it drew, and how Jupyter shows them."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Sequence
from typing import Final, ParamSpec, overload

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from .style import theme

NOTEBOOK: Final = 105
"""Pixels per inch at which notebooks show a figure; it is drawn finer, for fine screens."""
FINER: Final = 1.25
COLORS: Final = 64
"""Of a notebook's picture: a palette makes it a third as large, and notebooks are kept under version control."""

P = ParamSpec("P")


class Panels(Sequence[Axes]):
    """The Matplotlib axes of a figure, panel by panel in reading order, without colour bars and empty places.

    Jupyter shows it as a picture of the figure as it is then, so that axes can be changed first.

    Attributes
    ----------
    figure
        The figure they are on.

    Examples
    --------
    >>> panels = figures.shift(quartiles)  # doctest: +SKIP
    >>> panels[0].set_title("Last token")  # doctest: +SKIP
    >>> figures.pareto(front).ax.axhline(0.01)  # doctest: +SKIP
    """

    def __init__(self, figure: Figure) -> None:
        self.figure = figure

    @property
    def axes(self) -> list[Axes]:
        """The panels as a list."""
        return [ax for ax in self.figure.axes if ax.has_data() and ax.get_label() != "<colorbar>"]

    @property
    def ax(self) -> Axes:
        """The only panel.

        Raises
        ------
        AttributeError
            If there are several.
        """
        axes = self.axes
        if len(axes) != 1:
            raise AttributeError(
                f"`ax` is the panel of a figure with one, this one has {len(axes)}: take one by number"
            )
        return axes[0]

    @overload
    def __getitem__(self, number: int) -> Axes: ...

    @overload
    def __getitem__(self, number: slice) -> list[Axes]: ...

    def __getitem__(self, number: int | slice) -> Axes | list[Axes]:
        return self.axes[number]

    def __len__(self) -> int:
        return len(self.axes)

    def __repr__(self) -> str:
        return f"<{len(self)} panel{'s' if len(self) != 1 else ''} of {self.figure!r}>"

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        # Jupyter knows only figures of pyplot, which nothing here touches.
        return notebook_png(self.figure)


def themed(draw: Callable[P, Panels]) -> Callable[P, Panels]:
    """Run a drawing function inside `theme()`."""

    @functools.wraps(draw)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Panels:
        with theme():
            return draw(*args, **kwargs)

    return wrapper


def notebook_png(figure: Figure) -> tuple[bytes, dict[str, int]]:
    """A small PNG of `figure`, and the width and height in pixels at which a notebook should show it."""
    buffer = io.BytesIO()
    with theme():
        figure.savefig(buffer, format="png", dpi=NOTEBOOK * FINER)
    with Image.open(buffer) as drawn:
        small = drawn.convert("RGB").quantize(COLORS, dither=Image.Dither.NONE)
    packed = io.BytesIO()
    small.save(packed, "PNG", optimize=True)
    return packed.getvalue(), {"width": round(small.width / FINER), "height": round(small.height / FINER)}
