"""Every figure draws what the frame says, leaves the reader's settings alone, and refuses what it cannot draw."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from analysis import figures
from analysis.figures import frames

Draw = Callable[[], Figure]


@pytest.fixture
def drawings(
    attention_frame: pd.DataFrame,
    quartile_frame: pd.DataFrame,
    selection_frame: pd.DataFrame,
    accuracy_frame: pd.DataFrame,
    cost_frame: pd.DataFrame,
    picture: Image.Image,
) -> dict[str, Draw]:
    weights = np.random.default_rng(0).random((24, 24))
    return {
        "dispersion": lambda: figures.dispersion(attention_frame).figure,
        "shift": lambda: figures.shift(quartile_frame).figure,
        "attention_maps": lambda: figures.attention_maps(picture, {"CLS": weights, "Text, layer 6": weights**4}).figure,
        "certified_gap": lambda: figures.certified_gap(selection_frame).figure,
        "accuracy_vs_budget": lambda: figures.accuracy_vs_budget(accuracy_frame).figure,
        "accuracy_by_task": lambda: figures.accuracy_by_task(accuracy_frame).figure,
        "accuracy_vs_cost": lambda: figures.accuracy_vs_cost(accuracy_frame, cost_frame).figure,
        "kept_tokens": lambda: (
            figures.kept_tokens(
                picture,
                {"VisPruner": range(64), "Random": [0, 575]},
                (24, 24),
                needed=[30, 31],
                notes={"Random": "red"},
            ).figure
        ),
    }


def words(figure: Figure) -> list[str]:
    figure.draw_without_rendering()
    return [text.get_text() for text in figure.findobj(mpl.text.Text) if text.get_visible() and text.get_text()]


@pytest.mark.parametrize("draw", figures.FIGURES, ids=lambda draw: draw.__name__)
def test_saved_as_png_and_as_pdf_with_truetype_fonts(
    draw: Callable[..., Figure], drawings: dict[str, Draw], tmp_path: Path
) -> None:
    figure = drawings[draw.__name__]()
    saved = figures.save(figure, tmp_path / "figures", draw.__name__, dpi=72)
    assert figure.get_figwidth() <= figures.style.TEXT
    with Image.open(saved.png) as png:
        assert np.asarray(png.convert("L")).std() > 5  # something is on the paper
    pdf = saved.pdf.read_bytes()
    assert b"/FontFile2" in pdf
    assert not re.search(rb"/Subtype\s*/Type3", pdf)


def test_the_same_figure_gives_the_same_files(drawings: dict[str, Draw], tmp_path: Path) -> None:
    first = figures.save(drawings["shift"](), tmp_path / "a", "shift", dpi=72)
    second = figures.save(drawings["shift"](), tmp_path / "b", "shift", dpi=72)
    assert first.png.read_bytes() == second.png.read_bytes()
    assert first.pdf.read_bytes() == second.pdf.read_bytes()


def test_settings_of_the_reader_neither_change_nor_matter(drawings: dict[str, Draw], tmp_path: Path) -> None:
    plain = figures.save(drawings["accuracy_vs_budget"](), tmp_path, "plain", dpi=72).png.read_bytes()
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red", "lines.linewidth": 9}):
        before = dict(mpl.rcParams)
        loud = figures.save(drawings["accuracy_vs_budget"](), tmp_path, "loud", dpi=72).png.read_bytes()
        assert dict(mpl.rcParams) == before
    assert loud == plain


def test_lines_carry_the_numbers_of_the_frame(accuracy_frame: pd.DataFrame) -> None:
    figure = figures.accuracy_vs_budget(accuracy_frame).figure
    rows = accuracy_frame.query("pruner == 'VisPruner' and task == 'mean'").sort_values("keep", ascending=False)
    drawn = [np.asarray(line.get_ydata()) for line in figure.axes[0].lines]
    assert any(line.shape == (4,) and np.allclose(line, rows["estimate"]) for line in drawn)
    assert {"VisPruner", "Oracle", "Greedy facility location", "full model, 576 tokens"} <= set(words(figure))


def test_heat_map_holds_the_accuracies_best_mean_first(accuracy_frame: pd.DataFrame) -> None:
    figure = figures.accuracy_by_task(accuracy_frame, keep=32).figure
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert labels[:2] == ["Full model", "Oracle"]
    assert labels[-1] == "Random"
    shown = figure.axes[0].collections[0].get_array().reshape(12, 9)
    random = accuracy_frame.query("pruner == 'Random' and keep == 32 and task == 'mean'")["estimate"].item()
    assert shown[-1, -1] == pytest.approx(100 * random)


def test_gaps_of_zero_and_missing_bounds_have_a_place(selection_frame: pd.DataFrame) -> None:
    figure = figures.certified_gap(selection_frame, keep=64).figure
    facility, log_det, max_min = figure.axes
    points = [line.get_xdata()[0] for line in facility.lines if line.get_linestyle() == "None"]
    assert points[0] == 0
    expected = selection_frame.query("objective == 'FacilityLocation' and keep == 64")["gap"]
    np.testing.assert_allclose(sorted(points), sorted(100 * expected))
    assert [text.get_text().strip() for text in log_det.texts] == ["not run"]
    assert [text.get_text().strip() for text in max_min.texts] == ["no bound"] * 3


def test_uniform_reference_is_left_out_where_there_is_none(attention_frame: pd.DataFrame) -> None:
    assert words(figures.dispersion(attention_frame).figure).count("uniform") == 4
    assert "uniform" not in words(figures.dispersion(attention_frame.assign(uniform=np.nan)).figure)


def test_kept_patches_keep_their_colour_and_others_lose_it(picture: Image.Image) -> None:
    red_patch = (30 // 8 + 1) * 24 + 24 // 8
    figure = figures.kept_tokens(picture, {"VisPruner": [red_patch]}, (24, 24)).figure
    shown = np.asarray(figure.axes[1].images[0].get_array())
    original = np.asarray(picture) / 255
    y, x = divmod(red_patch, 24)
    inside = np.s_[8 * y : 8 * y + 8, 8 * x : 8 * x + 8]
    np.testing.assert_allclose(shown[inside], original[inside])
    outside = np.ones((192, 192), dtype=bool)
    outside[inside] = False
    assert np.ptp(shown[outside], axis=-1).max() < 1e-9


def test_needed_tokens_are_outlined(picture: Image.Image) -> None:
    figure = figures.kept_tokens(picture, {"Random": [0]}, (24, 24), needed=[25, 26]).figure
    segments = np.array(figure.axes[1].collections[0].get_segments()) + 0.5
    assert len(segments) == 6  # two patches side by side have a border of six edges
    assert segments[..., 0].min() == 8
    assert segments[..., 0].max() == 24


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.drop(columns="low"), "`accuracy` must have the columns .* missing: low"),
        (lambda frame: frame.iloc[:0], "`accuracy` must have at least one row"),
        (
            lambda frame: pd.concat([frame, frame.iloc[[-1]]]),
            "one row per pruner, keep, task; got several for Oracle, 32",
        ),
        (lambda frame: frame[frame["pruner"] == "none"], "at least one pruner besides 'none'"),
    ],
)
def test_unusable_frames_are_refused(
    change: Callable[[pd.DataFrame], pd.DataFrame], message: str, accuracy_frame: pd.DataFrame
) -> None:
    with pytest.raises(ValueError, match=message):
        figures.accuracy_by_task(change(accuracy_frame))


def test_wrong_choices_are_refused(
    accuracy_frame: pd.DataFrame, attention_frame: pd.DataFrame, quartile_frame: pd.DataFrame, picture: Image.Image
) -> None:
    with pytest.raises(ValueError, match="`keep` must be one of 192, 128, 64, 32, got 65"):
        figures.accuracy_by_task(accuracy_frame, keep=65)
    with pytest.raises(ValueError, match=r"`task` must be one of .*, got 'texts'"):
        figures.accuracy_vs_budget(accuracy_frame, task="texts")
    with pytest.raises(ValueError, match=r"`metrics` must be among .*, got ginny"):
        figures.dispersion(attention_frame, metrics=["ginny"])
    with pytest.raises(ValueError, match="`quartile` must be 1, 2, 3 or 4, got 5"):
        figures.shift(quartile_frame.replace({"quartile": {4: 5}}))
    with pytest.raises(ValueError, match=r"tokens must be in \[0, 575\] for a grid of 24 x 24, got 576"):
        figures.kept_tokens(picture, {"Random": [576]}, (24, 24))
    with pytest.raises(ValueError, match="map 'CLS' must hold finite numbers"):
        figures.attention_maps(picture, {"CLS": np.full((24, 24), np.nan)})
    with pytest.raises(ValueError, match="`name` must be a plain file name"):
        figures.save(Figure(), ".", "a/b")


def test_default_budget_is_the_lower_median(accuracy_frame: pd.DataFrame) -> None:
    assert frames.chosen_budget(accuracy_frame, None, "accuracy") == 64
