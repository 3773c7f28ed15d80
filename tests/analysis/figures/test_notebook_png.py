"""Figures show themselves in Jupyter, which knows only those of pyplot."""

from __future__ import annotations

import io
import sys

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from IPython.core.formatters import DisplayFormatter
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
        assert picture.width == pytest.approx(figures.style.FINER * size["width"], abs=1)
        assert picture.height == pytest.approx(figures.style.FINER * size["height"], abs=1)


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
        figures.dispersion(attention_frame)._repr_png_()  # type: ignore[attr-defined]
        assert mpl.rcParams["font.size"] == 21
    assert ("matplotlib.pyplot" in sys.modules) == loaded


def test_what_is_drawn_on_later_is_shown(attention_frame: pd.DataFrame) -> None:
    figure = figures.dispersion(attention_frame)
    before = DisplayFormatter().format(figure)[0]["image/png"]
    figure.axes[0].axvspan(1, 3, color="0.5")
    assert DisplayFormatter().format(figure)[0]["image/png"] != before
