"""Every figure of `prunescope figures`, drawn from made-up inputs on the paper of a venue.

The pictures in `baseline/` are what the figures looked like when somebody last looked at them at print size. They are
drawn in a font that comes with Matplotlib, without the words themselves, and some difference is allowed, since its
versions smooth letters and edges differently. After a wanted change look at the new figures, then write them with::

    WRITE_BASELINES=1 python -m pytest tests/analysis/figures/test_paper.py -n0
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.figure import Figure
from PIL import Image

from analysis import figures, metrics
from analysis.figures import style
from analysis.figures.paper import PAPER, PAPER_TABLES, Example, PaperFigure
from analysis.figures.style import write
from analysis.figures.venues import VENUES
from solvers.study_statistics import CriticalDifference

BASELINE = Path(__file__).with_name("baseline")
DPI = 50
MOST_MEAN, MOST_CHANGED = 0.8, 0.005
"""Allowed: mean difference of grey levels in 0 to 255, and share of pixels that differ by more than 48."""
SOLVERS = ("Greedy", "Exact", "DppMap", "divprune", "vispruner", "Random")


@pytest.fixture(autouse=True)
def _font_that_comes_with_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    """The layout depends on the widths of words; this font is there everywhere, and wider than the ones preferred."""
    monkeypatch.setitem(style._STYLE, "font.sans-serif", ["DejaVu Sans"])


@pytest.fixture(scope="module")
def timed(large_latency_frame: pd.DataFrame) -> dict[str, Any]:
    return {
        "latency": large_latency_frame,
        "work": figures.counted(large_latency_frame),
        "phases": figures.phases_of(large_latency_frame),
        "device": figures.device_of(large_latency_frame),
    }


@pytest.fixture
def inputs(
    attention_frame: pd.DataFrame,
    quartile_frame: pd.DataFrame,
    selection_frame: pd.DataFrame,
    accuracy_frame: pd.DataFrame,
    cost_frame: pd.DataFrame,
    score_frame: pd.DataFrame,
    timed: dict[str, Any],
    picture: Image.Image,
) -> dict[str, Any]:
    rng = np.random.default_rng(5)
    accuracy = accuracy_frame.replace({"pruner": {"VisPruner": "vispruner", "DivPrune": "divprune"}})
    kept = {name: np.sort(rng.permutation(576)[:64]).tolist() for name in ("VisPruner", "DivPrune", "Random")}
    return {
        "attention": attention_frame,
        "quartiles": quartile_frame,
        "selection": selection_frame,
        "accuracy": accuracy,
        "cost": cost_frame,
        "scores": score_frame,
        "optimising": optimising(),
        "quartile_kept": quartile_kept(),
        **attention_tables(),
        "maps": {f"layer {layer}": rng.dirichlet(np.full(576, 0.3)).reshape(24, 24) for layer in (1, 2, 3)},
        "example": Example(7, picture, "what is red ? a box (64 of 576 tokens)", (24, 24), kept, [99, 100, 123]),
        **timed,
        **comparison(),
    }


def attention_dump() -> xr.Dataset:
    rng = np.random.default_rng(0)
    return xr.Dataset(
        {
            "cls": (("image", "vision_layer", "vision_head", "token"), rng.dirichlet(np.full(48, 0.2), (4, 3, 3))),
            "last": (("image", "layer", "head", "token"), rng.dirichlet(np.full(48, 2.0), (4, 4, 3))),
        },
        coords={"image_id": ("image", np.arange(4)), "vision_layer": np.arange(1, 4), "layer": np.arange(1, 5)},
        attrs={"model": "toy", "grid": [6, 8]},
    )


@cache
def attention_tables() -> dict[str, pd.DataFrame]:
    dump = attention_dump()
    return {
        "curves": metrics.mass_curves(dump),
        "histogram": metrics.score_histogram(dump),
        "profile": metrics.profile(dump),
        "frequency": metrics.selection_frequency(dump, keep=6, bins=12),
        "agreement": metrics.layer_agreement(dump, resamples=20),
        "heads": metrics.head_features(metrics.measure(dump, metrics.BEHAVIOUR, heads=True)),
    }


def optimising() -> pd.DataFrame:
    rng = np.random.default_rng(6)
    names = ("FacilityLocation", "LogDet(signal=cls)", "MaxMin", "1 FacilityLocation + 576 Saliency")
    rows = [
        (32, objective, solver, 1 - 0.1 * place * rng.random(), 0.85 - 0.06 * place)
        for objective in names
        for place, solver in enumerate(SOLVERS)
    ]
    frame = pd.DataFrame(rows, columns=["keep", "objective", "solver", "share_mean", "accuracy"])
    return frame.assign(low=frame["accuracy"] - 0.02, high=frame["accuracy"] + 0.02)


def quartile_kept() -> pd.DataFrame:
    rows = [("toy", k, q, 0.5 + 0.05 * k + 0.02 * (q == 3)) for k in range(6) for q in (1, 2, 3, 4)]
    frame = pd.DataFrame([*rows, ("toy", 6, 0, 0.85)], columns=["model", "layer", "quartile", "estimate"])
    return frame.assign(low=frame["estimate"] - 0.01, high=frame["estimate"] + 0.01)


def comparison() -> dict[str, Any]:
    """What `solvers.Study` returns, with made-up times: those of a study that is run change from run to run."""
    shortfalls = np.array([0.0, 0.001, 0.01, 0.03, 0.1, 0.4])
    profile = {name: np.clip(np.linspace(0.9 - 0.2 * at, 1.3 - 0.1 * at, 6), 0, 1) for at, name in enumerate(SOLVERS)}
    settings = [(objective, 64, name, at) for objective in ("FacilityLocation", "MaxMin")
                for at, name in enumerate(SOLVERS)]  # fmt: skip
    front = [(o, b, s, 0.03 * at, 1e-4 * 4 ** (5 - at), at in (0, 1, 5)) for o, b, s, at in settings]
    progress = [
        (o, b, s, t, 0.02 * at, 0.5 / (step + 1) if s == "Exact" else np.inf)
        for o, b, s, at in settings
        for step, t in enumerate((1e-3, 1e-2, 1e-1))
    ]
    ranks = pd.Series(np.linspace(1.2, 5.8, len(SOLVERS)), index=list(SOLVERS))
    groups = (SOLVERS[:3], SOLVERS[2:5], SOLVERS[4:])
    share = np.abs(np.subtract.outer(np.arange(6), np.arange(6)))
    return {
        "performance": pd.DataFrame(profile, index=pd.Index(shortfalls, name="shortfall")),
        "front": pd.DataFrame(front, columns=["objective", "budget", "solver", "relative_gap", "seconds", "efficient"]),
        "progress": pd.DataFrame(
            progress, columns=["objective", "budget", "solver", "seconds", "relative_gap", "proven_gap"]
        ),
        "ranks": CriticalDifference(ranks, 2.1, groups, 30.0, 1e-4, 0.05, 20),
        "overlap": pd.DataFrame(1 - 0.15 * share, index=list(SOLVERS), columns=list(SOLVERS)),
    }


def drawn(entry: PaperFigure, inputs: dict[str, Any], venue: str) -> Figure:
    with figures.on_paper(venue):
        return entry.draw(*(inputs[name] for name in entry.inputs)).figure


def wordless(figure: Figure) -> np.ndarray:
    """Grey levels [y, x] of the figure without its words, in steps of 8."""
    for text in figure.findobj(mpl.text.Text):
        text.set_visible(False)
    with figures.theme():
        figure.set_dpi(DPI)
        canvas = mpl.backends.backend_agg.FigureCanvasAgg(figure)
        canvas.draw()
    grey = np.asarray(Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("L"), dtype=float)
    return np.minimum(8 * np.round(grey / 8), 255)


def difference(seen: np.ndarray, kept: np.ndarray) -> tuple[float, float]:
    assert seen.shape == kept.shape
    gap = np.abs(seen - kept)
    return float(gap.mean()), float((gap > 48).mean())


def check_words(figure: Figure) -> None:
    """No word leaves the paper, and no two lie on each other."""
    figure.draw_without_rendering()
    out_of_view = {
        label
        for ax in figure.axes
        for axis in (ax.xaxis, ax.yaxis)
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks())
        if not ax.axison or not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
        for label in (tick.label1, tick.label2)
    }
    texts = [text for text in figure.findobj(mpl.text.Text) if text.get_visible() and text.get_text().strip()]
    boxes = [
        (text.get_text(), text.get_window_extent())
        for text in texts
        if text not in out_of_view and text.get_rotation() in (0, 90)
    ]
    assert len(boxes) > 3
    paper = figure.bbox.padded(1)
    shown = [(word, box.padded(-0.05 * box.height)) for word, box in boxes if box.y1 > 0]
    assert [word for word, box in shown if not (paper.x0 < box.x0 and box.x1 < paper.x1 and box.y1 < paper.y1)] == []
    touching = [
        (word, other)
        for at, (word, box) in enumerate(shown)
        for other, beside in shown[at + 1 :]
        if box.overlaps(beside) and (word, box.x0) != (other, beside.x0)
    ]
    assert touching == []


def kept_picture(name: str) -> np.ndarray:
    with Image.open(BASELINE / f"{name}.png") as picture:
        return np.asarray(picture.convert("L"), dtype=float)


@pytest.mark.parametrize("entry", PAPER, ids=lambda entry: entry.name)
def test_looks_as_when_it_was_last_looked_at(entry: PaperFigure, inputs: dict[str, Any], tmp_path: Path) -> None:
    figure = drawn(entry, inputs, "cvpr")
    pdf = write(figure, tmp_path / "figure.pdf", dpi=DPI).read_bytes()
    assert b"/FontFile2" in pdf
    assert not re.search(rb"/Subtype\s*/Type3", pdf)
    (box,) = re.findall(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", pdf)
    assert float(box[0]) / 72 in (pytest.approx(3.28125, abs=1e-4), pytest.approx(6.875, abs=1e-4))
    assert float(box[1]) / 72 < 9

    seen = wordless(figure)
    if os.environ.get("WRITE_BASELINES"):
        BASELINE.mkdir(exist_ok=True)
        Image.fromarray(seen.astype(np.uint8)).save(BASELINE / f"{entry.name}.png", optimize=True)
    mean, changed = difference(seen, kept_picture(entry.name))
    assert mean < MOST_MEAN
    assert changed < MOST_CHANGED


def changed(name: str, inputs: dict[str, Any]) -> dict[str, Any]:
    """The inputs with something else in them that the figure of this name is there to show."""
    frame = inputs[next(entry for entry in PAPER if entry.name == name).inputs[0]]
    other: dict[str, Callable[[], Any]] = {
        "shift": lambda: frame.assign(quartile=5 - frame["quartile"]),
        "dispersion": lambda: frame.assign(estimate=0.9 * frame["estimate"]),
        "accuracy_vs_budget": lambda: frame[frame["pruner"] != "GreedyPrune"],
        "certified_gap": lambda: frame.assign(gap=1.5 * frame["gap"], low=1.5 * frame["low"], high=1.5 * frame["high"]),
        "score_accuracy": lambda: frame.assign(estimate=0.95 * frame["estimate"]),
        "flops_vs_latency": lambda: frame.assign(first_token_ms=frame["first_token_ms"] ** 1.1),
        "kept_tokens": lambda: frame._replace(kept={name: range(64) for name in frame.kept}),
        "overlap": lambda: 0.8 * frame,
    }
    return inputs | {next(key for key, value in inputs.items() if value is frame): other[name]()}


@pytest.mark.parametrize(
    "name",
    ["shift", "dispersion", "accuracy_vs_budget", "certified_gap", "score_accuracy", "flops_vs_latency", "kept_tokens",
     "overlap"],
)  # fmt: skip
def test_other_numbers_look_different(name: str, inputs: dict[str, Any]) -> None:
    entry = next(entry for entry in PAPER if entry.name == name)
    mean, share = difference(wordless(drawn(entry, changed(name, inputs), "cvpr")), kept_picture(name))
    assert mean > MOST_MEAN or share > MOST_CHANGED


@pytest.mark.parametrize("entry", PAPER, ids=lambda entry: entry.name)
def test_words_are_on_the_narrowest_page_and_apart(entry: PaperFigure, inputs: dict[str, Any]) -> None:
    assert min(VENUES, key=lambda venue: venue.page).name == "eccv"
    check_words(drawn(entry, inputs, "eccv"))


def test_every_figure_has_its_place_its_caption_and_known_inputs(inputs: dict[str, Any]) -> None:
    listed = {entry.name for entry in PAPER}
    groups = (figures.FIGURES, figures.STUDY_FIGURES, figures.ATTENTION_FIGURES, figures.EXPERIMENT_FIGURES)
    assert listed == {draw.__name__ for group in (*groups, figures.LATENCY_FIGURES) for draw in group}
    assert len(listed) == len(PAPER)
    for entry in (*PAPER, *PAPER_TABLES):
        assert set(entry.inputs) <= set(inputs)
        assert entry.caption.endswith((".", "cache"))
        assert "\n" not in entry.caption
