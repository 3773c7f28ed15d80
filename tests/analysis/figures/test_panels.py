"""Panels: the axes that were drawn, and what Jupyter, which knows only figures of pyplot, shows of them."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from IPython.core.formatters import DisplayFormatter
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from analysis import figures


@pytest.fixture
def shown(attention_frame: pd.DataFrame) -> tuple[bytes, dict[str, int]]:
    data, about = DisplayFormatter().format(figures.dispersion(attention_frame))
    return data["image/png"], about["image/png"]


def test_a_figure_is_shown_as_a_small_png(shown: tuple[bytes, dict[str, int]]) -> None:
    png, size = shown
    assert len(png) < 60_000
    with Image.open(io.BytesIO(png)) as picture:
        assert picture.mode == "P"
        assert np.asarray(picture.convert("L")).std() > 5  # something is on the paper
        assert picture.width == pytest.approx(figures.panels.FINER * size["width"], abs=1)
        assert picture.height == pytest.approx(figures.panels.FINER * size["height"], abs=1)


def test_every_drawing_function_gives_one() -> None:
    everything = (
        *figures.FIGURES,
        *figures.STUDY_FIGURES,
        *figures.ATTENTION_FIGURES,
        *figures.EXPERIMENT_FIGURES,
    )
    assert all(hasattr(draw, "__wrapped__") for draw in everything)  # `themed` adds it, to whatever is drawn


def test_showing_leaves_the_readers_settings_and_pyplot_alone(attention_frame: pd.DataFrame) -> None:
    loaded = "matplotlib.pyplot" in sys.modules
    with mpl.rc_context({"font.size": 21}):
        figures.dispersion(attention_frame)._repr_png_()
        assert mpl.rcParams["font.size"] == 21
    assert ("matplotlib.pyplot" in sys.modules) == loaded


def test_what_is_drawn_on_later_is_shown(attention_frame: pd.DataFrame) -> None:
    panels = figures.dispersion(attention_frame)
    before = DisplayFormatter().format(panels)[0]["image/png"]
    panels[0].axvspan(1, 3, color="0.5")
    assert DisplayFormatter().format(panels)[0]["image/png"] != before


def test_panels_are_the_axes_that_show_something(attention_frame: pd.DataFrame) -> None:
    panels = figures.dispersion(attention_frame)
    assert len(panels) == attention_frame["metric"].nunique() == 4
    assert all(isinstance(ax, Axes) and ax.figure is panels.figure for ax in panels)
    assert [panels[0], *panels[1:]] == panels.axes == list(panels)
    assert repr(panels).startswith("<4 panels of <Figure size")
    with pytest.raises(AttributeError, match=r"`ax` is the panel of a figure with one, .* 4: take one by number"):
        _ = panels.ax


def test_colour_bars_and_empty_places_are_no_panels(accuracy_frame: pd.DataFrame) -> None:
    figure = Figure()
    left, middle, empty = figure.subplots(1, 3)
    figure.colorbar(left.imshow(np.eye(2)))
    middle.plot([0, 1])
    panels = figures.Panels(figure)
    assert panels.axes == [left, middle]
    assert len(figure.axes) == 4
    assert empty in figure.axes
    only = figures.accuracy_vs_budget(accuracy_frame)
    assert only.ax is only[0]
    assert repr(only).startswith("<1 panel of <Figure size")


def test_axes_and_panels_are_saved_as_their_whole_figure(accuracy_frame: pd.DataFrame, tmp_path: Path) -> None:
    panels = figures.accuracy_vs_budget(accuracy_frame)
    drawn = []
    for what in (panels, panels.figure, panels[0]):
        with Image.open(figures.save(what, tmp_path, "a", dpi=72).png) as picture:
            drawn.append(np.asarray(picture.convert("L"), dtype=float))
    # Laid out anew each time, words move by a fraction of a pixel.
    assert all(np.abs(other - drawn[0]).mean() < 2 for other in drawn[1:])
    with pytest.raises(TypeError, match="`figure` must be what a figure function returned, or a figure, got str"):
        figures.save("shift", tmp_path, "a")  # type: ignore[arg-type]
