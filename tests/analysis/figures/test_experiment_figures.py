"""Figures of the experiments in `data/make` draw the numbers of their tables."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis import figures

SOLVERS = ("Greedy", "LocalSearch", "Exact", "DppMap", "KDpp", "Random", "Random(worst)")
OBJECTIVES = (
    "Saliency", "FacilityLocation", "WeightedFacilityLocation(signal=cls)", "SaturatedCoverage", "GraphCut", "LogDet",
    "LogDet(signal=cls)", "GramLogDet", "MaxMin", "MaxSum", "CoveringRadius", "1 FacilityLocation + 576 Saliency",
)  # fmt: skip


@pytest.fixture
def optimising_table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = [
        (keep, objective, solver, 1 - place * rng.random() / 10, 0.8 - 0.05 * place)
        for keep in (64, 32)
        for objective in OBJECTIVES
        for place, solver in enumerate(SOLVERS)
    ]
    table = pd.DataFrame(rows, columns=["keep", "objective", "solver", "share_mean", "accuracy"])
    unsupported = (table["solver"] == "Exact") & (table["objective"] == "SaturatedCoverage")
    table.loc[unsupported, ["share_mean", "accuracy"]] = np.nan
    return table.assign(low=table["accuracy"] - 0.02, high=table["accuracy"] + 0.02)


def points(figure: Figure, panel: int) -> set[tuple[float, float]]:
    lines = [line.get_xydata() for line in figure.axes[panel].lines]
    return {(float(line[0, 0]), float(line[0, 1])) for line in lines if len(line) == 1}


def test_every_solver_is_a_point_at_its_share_and_accuracy(optimising_table: pd.DataFrame) -> None:
    figure = figures.accuracy_vs_value(optimising_table, keep=32).figure
    for panel, objective in enumerate(OBJECTIVES):
        rows = optimising_table[(optimising_table["keep"] == 32) & (optimising_table["objective"] == objective)]
        rows = rows[rows["accuracy"].notna()]
        assert points(figure, panel) == set(zip(rows["share_mean"], rows["accuracy"], strict=True))
    assert len(points(figure, OBJECTIVES.index("SaturatedCoverage"))) == len(SOLVERS) - 1


def test_names_are_printed_and_no_two_titles_touch(optimising_table: pd.DataFrame) -> None:
    figure = figures.accuracy_vs_value(optimising_table).figure
    figure.draw_without_rendering()
    titles = [ax.get_title("left") for ax in figure.axes]
    assert titles[:3] == ["Saliency", "Facility location", "Weighted coverage (cls)"]
    assert titles[6] == "Log-determinant (cls)"
    assert titles[-1] == "Facility location + saliency"
    texts = [text for text in figure.findobj(mpl.text.Text) if text.get_text() in titles and text.get_visible()]
    boxes = [text.get_window_extent() for text in texts]
    assert len(boxes) == len(OBJECTIVES)
    assert not any(box.overlaps(other) for at, box in enumerate(boxes) for other in boxes[at + 1 :])
    words = {text.get_text() for text in figure.findobj(mpl.text.Text)}
    assert {"Accuracy at 32 tokens", "Random (worst)", "k-DPP sample", "DPP MAP"} <= words


def test_unused_panels_stay_empty(optimising_table: pd.DataFrame) -> None:
    five = optimising_table[optimising_table["objective"].isin(OBJECTIVES[:5])]
    figure = figures.accuracy_vs_value(five).figure
    assert [ax.axison for ax in figure.axes] == [True] * 5 + [False] * 3


def test_tables_that_cannot_be_drawn_are_refused(optimising_table: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match=r"`keep` must be one of 64, 32, got 16"):
        figures.accuracy_vs_value(optimising_table, keep=16)
    with pytest.raises(ValueError, match="missing: share_mean"):
        figures.accuracy_vs_value(optimising_table.drop(columns="share_mean"))
    with pytest.raises(ValueError, match="a row with an accuracy at 64 tokens, got none"):
        figures.accuracy_vs_value(optimising_table.assign(accuracy=np.nan), keep=64)
    with pytest.raises(ValueError, match="one row per objective, keep, solver; got several for Saliency, 64, Greedy"):
        figures.accuracy_vs_value(pd.concat([optimising_table, optimising_table.iloc[:1]]))


def test_a_score_has_a_bar_per_budget_and_its_interval(score_frame: pd.DataFrame) -> None:
    figure = figures.score_accuracy(score_frame).figure
    assert [ax.get_title("left") for ax in figure.axes] == ["192 tokens", "64 tokens"]
    for ax, keep in zip(figure.axes, (192, 64), strict=True):
        rows = score_frame[score_frame["keep"] == keep]
        assert [bar.get_width() for bar in ax.patches] == rows["estimate"].tolist()
        whiskers = [line.get_xdata() for line in ax.lines if len(set(line.get_ydata())) == 1]
        np.testing.assert_array_equal(whiskers, rows[["low", "high"]])
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["Vision CLS", "Text, last token, layer 2", "Text, equal positions, layer 4", "Random", "Oracle"]


def test_scores_that_were_not_run_at_a_budget_leave_their_place_empty(score_frame: pd.DataFrame) -> None:
    some = score_frame[(score_frame["score"] != "random") | (score_frame["keep"] == 192)]
    most, fewest = figures.score_accuracy(some).axes
    assert len(most.patches) == len(fewest.patches) + 1
    with pytest.raises(ValueError, match="one row per score, keep; got several for cls, 192"):
        figures.score_accuracy(pd.concat([score_frame, score_frame.iloc[:1]]))
