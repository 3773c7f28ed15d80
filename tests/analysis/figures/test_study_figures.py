"""Figures of a solver comparison draw what `solvers.Study` returns, for a study that is really run."""

from __future__ import annotations

from collections.abc import Callable

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis import figures
from analysis.figures.palette import PRUNERS, SOLVERS, solver_look
from solvers import SOLVERS as SOLVER_CLASSES
from solvers import DppMap, Exact, FacilityLocation, Greedy, MaxMin, PublishedRule, Random, Study, TopK, compare

Draw = Callable[[], Figure]


@pytest.fixture(scope="module")
def comparison(make_problem: Callable) -> Study:
    problems = [make_problem(rows=4, columns=5, seed=seed, id=f"p{seed}") for seed in range(4)]
    chosen = [Exact(), Greedy(), DppMap(), TopK(), TopK("relevance"), Random(), PublishedRule("divprune")]
    return compare(problems, chosen, [FacilityLocation(), MaxMin()], budgets=[3, 6], seeds=(0, 1), progress=False)


@pytest.fixture
def drawings(comparison: Study) -> dict[str, Draw]:
    return {
        "performance_profile": lambda: figures.performance_profile(comparison.performance_profile()).figure,
        "critical_difference": lambda: figures.critical_difference(comparison.critical_difference()).figure,
        "gap_versus_time": lambda: figures.gap_versus_time(comparison.gap_versus_time()).figure,
        "pareto": lambda: figures.pareto(comparison.pareto(), budget=6).figure,
        "overlap": lambda: figures.overlap(comparison.overlap()).figure,
    }


@pytest.mark.parametrize("name", ["critical_difference", "overlap"])
def test_no_two_texts_overlap_and_none_is_cut_off(name: str, drawings: dict[str, Draw]) -> None:
    figure = drawings[name]()
    figure.draw_without_rendering()
    texts = [text for text in figure.findobj(mpl.text.Text) if text.get_visible() and text.get_text().strip()]
    upright = [text.get_window_extent() for text in texts if text.get_rotation() == 0]
    assert len(upright) > 5
    for at, box in enumerate(upright):
        assert not any(box.overlaps(other) for other in upright[at + 1 :])
        assert box.x0 >= figure.bbox.x0 - 1
        assert box.x1 <= figure.bbox.x1 + 1


def words(figure: Figure) -> set[str]:
    figure.draw_without_rendering()
    return {text.get_text() for text in figure.findobj(mpl.text.Text) if text.get_visible()}


def curves(figure: Figure, panel: int = 0) -> list[np.ndarray]:
    return [np.asarray(line.get_ydata(), dtype=float) for line in figure.axes[panel].lines]


def test_profile_shows_the_shares(comparison: Study) -> None:
    profile = comparison.performance_profile()
    drawn = curves(figures.performance_profile(profile))
    for name in profile.columns:
        assert any(line.size == len(profile) + 1 and np.allclose(line[:-1], profile[name]) for line in drawn)


def test_diagram_has_a_bar_for_every_group_and_a_place_for_every_rank(comparison: Study) -> None:
    result = comparison.critical_difference()
    figure = figures.critical_difference(result).figure
    bars = [line for line in figure.axes[0].lines if line.get_linewidth() == 2.6]
    assert len(bars) == len(result.groups) > 0
    for bar, group in zip(bars, result.groups, strict=True):
        left, right = np.asarray(bar.get_xdata(), dtype=float)
        assert left <= result.ranks[group[0]] < result.ranks[group[-1]] <= right
    marked = sorted(float(line.get_xdata()[0]) for line in figure.axes[0].lines if line.get_marker() != "None")
    np.testing.assert_allclose(marked, result.ranks)
    assert f"Critical difference {result.difference:.2f} at level 0.05" in words(figure)


def test_progress_shows_both_gaps_of_the_anytime_solver(comparison: Study) -> None:
    frame = comparison.gap_versus_time()
    figure = figures.gap_versus_time(frame, budget=6).figure
    rows = frame.query("objective == 'FacilityLocation' and budget == 6 and solver == 'Exact'")
    for column in ("relative_gap", "proven_gap"):
        assert any(line.size == len(rows) and np.allclose(line, 100 * rows[column]) for line in curves(figure))
    assert {"Exact", "Greedy", "DivPrune", "Facility location", "to its own bound\nso far"} <= words(figure)


def test_front_joins_the_efficient_and_fills_them(comparison: Study) -> None:
    front = comparison.pareto()
    figure = figures.pareto(front, budget=3).figure
    rows = front.query("objective == 'FacilityLocation' and budget == 3")
    steps, *points = figure.axes[0].lines
    np.testing.assert_allclose(np.asarray(steps.get_ydata(), float), 100 * rows[rows["efficient"]]["relative_gap"])
    assert len(points) == len(rows)
    hollow = [point for point in points if point.get_markerfacecolor() == "white"]
    crossed = rows[~rows["efficient"]]["solver"].isin(["Random"]).sum()
    assert len(hollow) == (~rows["efficient"]).sum() - crossed


def test_heat_map_holds_each_pair_once(comparison: Study) -> None:
    matrix = comparison.overlap()
    shown = figures.overlap(matrix).axes[0].collections[0].get_array()
    pairs = np.tril_indices(len(matrix), -1)
    np.testing.assert_allclose(np.sort(shown.compressed()), np.sort(100 * matrix.to_numpy()[pairs]))


def test_every_solver_of_the_package_has_a_look_and_parameters_change_the_marker() -> None:
    names = {figures.palette.key(kind.__name__) for kind in SOLVER_CLASSES if kind is not PublishedRule}
    assert names <= {*SOLVERS, *PRUNERS}
    looks = [(look.color, look.marker) for look in (*SOLVERS.values(), *PRUNERS.values())]
    assert len(set(looks)) == len(looks)
    assert not set(SOLVERS) & set(PRUNERS)
    plain, changed = solver_look("TopK"), solver_look("TopK(signal=relevance)")
    assert (changed.label, changed.color) == ("Top k (signal=relevance)", plain.color)
    assert changed.marker != plain.marker


@pytest.mark.parametrize(
    ("draw", "text"),
    [
        (lambda study: figures.pareto(study.pareto(), budget=4), "`budget` must be one of 6, 3 in `front`, got 4"),
        (lambda study: figures.pareto(study.pareto("gap")), "`front` must have the columns .* missing: relative_gap"),
        (
            lambda study: figures.pareto(study.pareto().assign(relative_gap=np.inf)),
            "`front` must have a solver with a finite gap at 3 tokens",
        ),
        (lambda study: figures.gap_versus_time(pd.concat([study.gap_versus_time()] * 2)), "got several for"),
        (lambda study: figures.overlap(study.overlap().iloc[::-1]), "must have the same solvers as rows and columns"),
        (lambda study: figures.overlap(study.overlap().iloc[:1, :1]), "at least two solvers, got 1"),
        (lambda study: figures.performance_profile(pd.DataFrame()), "at least one solver and one shortfall"),
        (
            lambda study: figures.performance_profile(study.performance_profile()[::-1]),
            "must hold ascending shortfalls",
        ),
        (
            lambda study: figures.critical_difference(study.critical_difference()._replace(groups=(("z", "y"),))),
            "`groups` must name ranked solvers, got 'z'",
        ),
    ],
)
def test_unusable_input_is_refused(draw: Callable[[Study], Figure], text: str, comparison: Study) -> None:
    with pytest.raises(ValueError, match=text):
        draw(comparison)
