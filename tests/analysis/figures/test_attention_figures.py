"""Figures of attention draw what the tables of `analysis.metrics` hold, for a dump in which something is planted."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from analysis import figures, metrics
from analysis.figures import frames
from analysis.figures.layers import shades

Draw = Callable[[], Figure]
GRID = (6, 8)


@pytest.fixture(scope="module")
def dump() -> xr.Dataset:
    rng = np.random.default_rng(0)
    return xr.Dataset(
        {
            "cls": (("image", "vision_layer", "vision_head", "token"), rng.dirichlet(np.full(48, 0.2), (9, 4, 3))),
            "last": (("image", "layer", "head", "token"), rng.dirichlet(np.full(48, 2.0), (9, 8, 3))),
        },
        coords={"image_id": ("image", np.arange(9)), "vision_layer": np.arange(1, 5), "layer": np.arange(1, 9)},
        attrs={"model": "toy", "grid": list(GRID)},
    )


def own_quartile_kept() -> pd.DataFrame:
    """Accuracy that rises with the layer, the third quartile best; 0 = all tokens."""
    rows = [("toy", k, q, 0.5 + 0.05 * k + 0.02 * (q == 3)) for k in range(6) for q in (1, 2, 3, 4)]
    frame = pd.DataFrame([*rows, ("toy", 6, 0, 0.85)], columns=["model", "layer", "quartile", "estimate"])
    return frame.assign(low=frame["estimate"] - 0.01, high=frame["estimate"] + 0.01)


@pytest.fixture(scope="module")
def tables(dump: xr.Dataset) -> dict[str, pd.DataFrame]:
    return {
        "mass_curves": metrics.mass_curves(dump),
        "score_histogram": metrics.score_histogram(dump),
        "index_profile": metrics.profile(dump),
        "position_maps": metrics.profile(dump),
        "selection_frequency": metrics.selection_frequency(dump, keep=6, bins=12),
        "layer_agreement": metrics.layer_agreement(dump, resamples=20),
        "quartile_kept": pd.concat([own_quartile_kept(), figures.published_quartile_kept()]),
        "head_atlas": metrics.cluster_heads(metrics.measure(dump, metrics.BEHAVIOUR, heads=True)),
    }


@pytest.fixture
def drawings(tables: dict[str, pd.DataFrame]) -> dict[str, Draw]:
    own = {draw.__name__: lambda draw=draw: draw(tables[draw.__name__]).figure for draw in figures.ATTENTION_FIGURES}
    curves = tables["mass_curves"]
    return own | {"overlaid": lambda: figures.mass_curves(curves, published=figures.published_mass_curves()).figure}


def words(figure: Figure) -> list[str]:
    figure.draw_without_rendering()
    return [text.get_text() for text in figure.findobj(mpl.text.Text) if text.get_visible() and text.get_text()]


def drawn(figure: Figure, panel: int) -> list[np.ndarray]:
    return [np.asarray(line.get_ydata(), dtype=float) for line in figure.axes[panel].lines]


def within(axis: mpl.axis.Axis, place: float) -> bool:
    low, high = sorted(axis.get_view_interval())
    return bool(low <= place <= high)


NAMES = [*(draw.__name__ for draw in figures.ATTENTION_FIGURES), "overlaid"]


@pytest.mark.parametrize("name", NAMES)
def test_saved_as_png_and_as_pdf_with_truetype_fonts(name: str, drawings: dict[str, Draw], tmp_path: Path) -> None:
    figure = drawings[name]()
    saved = figures.save(figure, tmp_path, name, dpi=72)
    assert figure.get_figwidth() <= figures.style.TEXT
    with Image.open(saved.png) as png:
        assert np.asarray(png.convert("L")).std() > 5  # something is on the paper
    pdf = saved.pdf.read_bytes()
    assert b"/FontFile2" in pdf
    assert not re.search(rb"/Subtype\s*/Type3", pdf)


@pytest.mark.parametrize("name", NAMES)
def test_no_two_texts_overlap_and_none_is_cut_off(name: str, drawings: dict[str, Draw]) -> None:
    figure = drawings[name]()
    figure.draw_without_rendering()
    axes = [axis for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)]
    unseen = {tick.label1 for axis in axes for tick in axis.get_major_ticks() if not within(axis, tick.get_loc())}
    texts = [text for text in figure.findobj(mpl.text.Text) if text.get_visible() and text.get_text().strip()]
    texts = [text for text in texts if text.get_rotation() == 0 and text not in unseen]
    upright = [text.get_window_extent() for text in texts]
    assert len(upright) > 5
    for at, box in enumerate(upright):
        # ticks of neighbouring panels may touch: a pixel is none
        assert not any(box.padded(-1).overlaps(other.padded(-1)) for other in upright[at + 1 :]), texts[at]
        assert box.x0 >= figure.bbox.x0 - 1
        assert box.x1 <= figure.bbox.x1 + 1


@pytest.mark.parametrize(
    ("name", "along", "value", "scale"),
    [
        ("mass_curves", "share", "mass", 100),
        ("index_profile", "token", "weight", 1),
        ("selection_frequency", "position", "frequency", 1),
    ],
)
def test_lines_carry_the_numbers(name: str, along: str, value: str, scale: float, tables, drawings) -> None:
    figure = drawings[name]()
    for panel, source in enumerate(["vision CLS", "text last token"]):
        part = tables[name].query(f"source == '{source}'")
        for layer in (part["layer"].min(), part["layer"].max()):
            expected = scale * part[part["layer"] == layer].sort_values(along)[value].to_numpy()
            lines = [line[-len(expected) :] for line in drawn(figure, panel)]
            assert any(line.shape == expected.shape and np.allclose(line, expected) for line in lines)


def test_histogram_leaves_gaps_and_ends_where_asked(tables: dict[str, pd.DataFrame]) -> None:
    table = tables["score_histogram"]
    figure = figures.score_histogram(table, up_to=0.5).figure
    line = drawn(figure, 0)[-1]
    expected = table.query("source == 'vision CLS' and layer == 4 and score <= 0.5")["share"].to_numpy()
    np.testing.assert_allclose(line[expected > 0], expected[expected > 0])
    assert np.isnan(line[expected == 0]).all()
    assert figure.axes[1].get_xlim() == (0, 0.5)


def test_maps_hold_the_mean_of_every_layer(tables: dict[str, pd.DataFrame]) -> None:
    profile = tables["position_maps"]
    figure = figures.position_maps(profile.sample(frac=1, random_state=0).sort_values(["source", "layer"])).figure
    panel = next(ax for ax in figure.axes if ax.get_title("left") == "Text, last token\nlayer 3")
    expected = profile.query("source == 'text last token' and layer == 3").sort_values("token")["weight"]
    np.testing.assert_allclose(panel.images[0].get_array(), expected.to_numpy().reshape(GRID))


def test_matrix_holds_each_pair_once(tables: dict[str, pd.DataFrame]) -> None:
    table = tables["layer_agreement"]
    figure = figures.layer_agreement(table).figure
    shown = figure.axes[0].images[0].get_array()
    assert shown.shape == (11, 11)
    assert shown.count() == 12 * 11 / 2
    expected = table.query(
        "source == 'text last token' and layer == 8 and other_source == 'vision CLS' and other_layer == 2"
    )
    assert shown[-1, 1] == pytest.approx(expected["estimate"].item())
    assert {"Vision CLS", "Text, last token", "Spearman correlation"} <= set(words(figure))


def test_colours_of_agreement_run_below_zero_only_where_numbers_do(tables: dict[str, pd.DataFrame]) -> None:
    table = tables["layer_agreement"]
    same = figures.layer_agreement(table.assign(estimate=0.4)).axes[0].images[0]
    assert same.get_clim() == (0, 1)
    assert figures.layer_agreement(table.assign(estimate=-0.4)).axes[0].images[0].get_clim() == (-1, 1)
    assert "-0.00" not in words(figures.layer_agreement(table.assign(estimate=-0.001)).figure)


def test_atlas_holds_the_metric_and_the_clusters(tables: dict[str, pd.DataFrame]) -> None:
    heads = tables["head_atlas"]
    figure = figures.head_atlas(heads, metric="top_mass").figure
    shown = figure.axes[1].images[0].get_array()
    expected = heads.query("source == 'text last token'").pivot_table("top_mass", "layer", "head")
    np.testing.assert_allclose(shown, expected)
    first, second = (ax.images[0].get_clim() for ax in figure.axes[:2])
    assert first == second == (heads["top_mass"].min(), heads["top_mass"].max())
    written = [text.get_text() for text in figure.axes[1].texts]
    assert written == heads.query("source == 'text last token'")["cluster"].astype(str).tolist()
    assert not figures.head_atlas(heads.drop(columns="cluster")).axes[0].texts
    assert "Mass on the top 10 %" in words(figure)


def test_of_many_layers_the_first_the_last_and_some_between_are_drawn(tables: dict[str, pd.DataFrame]) -> None:
    figure = figures.index_profile(tables["index_profile"]).figure
    assert [word for word in words(figure) if word.startswith("layer")] == [f"layer {n}" for n in (1, 3, 4, 1, 5, 8)]
    two = figures.index_profile(tables["index_profile"], layers=[2, 7]).figure
    assert [word for word in words(two) if word.startswith("layer")] == ["layer 2", "layer 2", "layer 7"]
    with pytest.raises(ValueError, match=r"`layers` must be among \[1, .*, 8\], got \[9\]"):
        figures.index_profile(tables["index_profile"], layers=[9])


def test_published_curves_lie_beside_their_source_under_the_name_of_their_model(drawings: dict[str, Draw]) -> None:
    published = figures.published_mass_curves()
    frames.PUBLISHED_CURVES.check(published)
    figure = drawings["overlaid"]()
    cls, last = ([text.get_text() for text in ax.get_legend().get_texts()] for ax in figure.axes)
    assert cls[-2:] == ["LLaVA-1.5-7B, CLS (FasterVLM page)", "LLaVA-1.5-7B, CLS (VisPruner page)"]
    assert last[-1] == "LLaVA-1.5-7B, equi (VisPruner page)"
    points = published.query("label == 'LLaVA-1.5-7B, CLS (VisPruner page)' and share == 0.01")["mass"]
    assert points.tolist() == [0.423]
    expected = 100 * published[published["label"] == last[-1]].sort_values("share")["mass"].to_numpy()
    assert any(line.shape == expected.shape and np.allclose(line, expected) for line in drawn(figure, 1))


def test_published_quartiles_get_a_panel_of_their_own(dump: xr.Dataset) -> None:
    ours = metrics.quartile_shares(metrics.summarise(metrics.measure(dump), GRID, resamples=20))
    published = figures.published_quartiles()
    assert len(published) == 4 * 32
    np.testing.assert_allclose(published.groupby("layer")["estimate"].sum(), 1, atol=0.01)  # as digitised
    figure = figures.shift(pd.concat([ours, published])).figure
    assert figure.axes[2].get_title("left") == "LLaVA-1.5-7B, last token (published)"
    last_quarter = published.query("quartile == 4").sort_values("layer")["estimate"].to_numpy()
    assert last_quarter[0] == pytest.approx(0.786)
    assert any(line.shape == (32,) and np.allclose(line, last_quarter) for line in drawn(figure, 2))


def test_a_quartile_alone_beside_what_was_published(tables: dict[str, pd.DataFrame]) -> None:
    figure = figures.quartile_kept(tables["quartile_kept"]).figure
    ours, theirs = figure.axes
    assert theirs.get_title("left") == "LLaVA-1.5-7B (published)"
    expected = tables["quartile_kept"].query("model == 'toy' and quartile == 3")["estimate"].to_numpy()
    assert any(line.shape == (6,) and np.allclose(line, expected) for line in drawn(figure, 0))
    first = [line[0] for line in drawn(figure, 1) if line.shape == (14,)]
    assert first == pytest.approx([0.442, 0.605, 0.61, 0.491])
    assert any(np.allclose(line, 0.7034) for line in drawn(figure, 1))
    assert words(figure).count("all tokens") == 2
    assert ours.get_ylim() != theirs.get_ylim()


def test_shades_darken_to_the_hue() -> None:
    ramp = shades("#0A43B0", 5)
    assert (np.diff(np.array(ramp).sum(1)) < 0).all()
    assert ramp[-1] == pytest.approx(to_rgb("#0A43B0"))
    assert shades("#0A43B0", 1) == [pytest.approx(to_rgb("#0A43B0"))]


@pytest.mark.parametrize(
    ("draw", "text"),
    [
        (lambda t: figures.mass_curves(t["mass_curves"].iloc[:0]), "`curves` must have at least one row"),
        (
            lambda t: figures.mass_curves(t["mass_curves"], published=t["mass_curves"]),
            "`published` must have the columns source, label, share, mass; missing: label",
        ),
        (lambda t: figures.score_histogram(t["score_histogram"], up_to=0), r"`up_to` must be in \(0, 1\], got 0"),
        (lambda t: figures.score_histogram(t["score_histogram"].assign(share=0.0)), "a bin up to 0.2 that holds"),
        (lambda t: figures.selection_frequency(pd.concat([t["selection_frequency"]] * 2)), "got several for"),
        (
            lambda t: figures.selection_frequency(t["selection_frequency"].assign(even=np.arange(144) % 2)),
            "`even` must be one number, got 0, 1",
        ),
        (lambda t: figures.position_maps(t["position_maps"].iloc[:-1]), "must have 6 x 8 tokens for text last token"),
        (
            lambda t: figures.quartile_kept(t["quartile_kept"].iloc[:1].assign(quartile=5)),
            "`quartile` must be 0, 1, 2, 3 or 4",
        ),
        (lambda t: figures.quartile_kept(t["quartile_kept"].assign(quartile=0).iloc[:1]), "with a quartile for 'toy'"),
        (lambda t: figures.layer_agreement(t["layer_agreement"].iloc[:-1]), None),
        (lambda t: figures.layer_agreement(t["layer_agreement"].iloc[:-2]), "every pair of at least two layers"),
        (lambda t: figures.layer_agreement(t["layer_agreement"].iloc[:1]), "every pair of at least two layers"),
        (
            lambda t: figures.head_atlas(t["head_atlas"], metric="gini"),
            "`metric` must be a column of `heads`, got 'gini'",
        ),
    ],
)
def test_unusable_input_is_refused(draw: Callable, text: str | None, tables: dict[str, pd.DataFrame]) -> None:
    if text is None:
        assert draw(tables).ax.images  # the diagonal is not needed
        return
    with pytest.raises(ValueError, match=text):
        draw(tables)
