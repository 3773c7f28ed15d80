"""Does optimising better help: rows that are those of `evaluate` and `compare`, tables as defined."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from analysis import load
from analysis.causes import Exam
from analysis.evaluation import MiniVqa, evaluate
from analysis.pruning.pruners import SolverPruner
from analysis.study.run import EMBEDDED
from data.make import optimising, optimising_tables
from data.make.optimising_tables import WORST, correlation_table, share_of_bound, summary_table
from solvers import Exact, FacilityLocation, Greedy, KDpp, LogDet, MaxSum, Saliency, SaturatedCoverage

OBJECTIVES = (Saliency(), MaxSum(), LogDet())
SOLVERS = (Greedy(), Exact(), KDpp())
SMALL = {"objectives": OBJECTIVES, "solvers": SOLVERS, "keeps": (12, 6), "seconds": 0.2, "draws": 5}


@pytest.fixture(scope="module")
def rows():
    vlm, task = load(str(EMBEDDED)), MiniVqa()
    return optimising.measure(Exam(vlm, task, list(islice(iter(task), 2))), **SMALL)


def test_every_cell_is_answered_once(rows):
    assert not rows.duplicated(["image_id", "keep", "objective", "solver", "question_id"]).any()
    questions = rows.groupby(["keep", "objective", "solver"])["question_id"].nunique()
    assert len(questions) == 2 * 3 * 5
    assert questions.nunique() == 1
    assert rows["correct"].isin((0, 1)).all()
    for _, cell in rows.groupby(["image_id", "keep", "selection", "question_id"]):
        assert cell["correct"].nunique() == 1  # one set, one answer


def test_answers_are_those_of_evaluate_with_the_solver_as_a_pruner(rows):
    options = {"position_ids": "keep", "images": 2, "progress": False}
    for objective in OBJECTIVES:
        pruner = SolverPruner(Greedy(), objective, signal="cls")
        expected = evaluate(load(str(EMBEDDED)), MiniVqa(), [pruner], (6,), **options)
        expected = expected[expected["pruner"] != "none"].set_index("question_id")["correct"].astype(float)
        found = rows[(rows["solver"] == "Greedy") & (rows["objective"] == objective.name) & (rows["keep"] == 6)]
        pd.testing.assert_series_equal(found.set_index("question_id")["correct"], expected, check_index_type=False)


def test_values_bounds_and_shares_fit_together(rows):
    assert (rows["value"] <= rows["upper_bound"] + 1e-6).all()
    cells = rows.groupby(["image_id", "keep", "objective"])
    assert (cells["upper_bound"].nunique() == 1).all()
    for objective in OBJECTIVES:
        own = rows[rows["objective"] == objective.name]
        shares = [
            share_of_bound(objective.name, value, bound, keep)
            for value, bound, keep in zip(own["value"], own["upper_bound"], own["keep"], strict=True)
        ]
        np.testing.assert_allclose(own[f"share {objective.name}"], shares, rtol=1e-9)
    optimal = rows[(rows["objective"] == "Saliency") & (rows["solver"] == "Exact")]
    np.testing.assert_allclose(optimal["share Saliency"], 1)
    drawn = rows[rows["solver"].isin(["Random", WORST])].pivot_table(
        index=["image_id", "keep", "objective"], columns="solver", values="value"
    )
    assert (drawn[WORST] <= drawn["Random"]).all()


def test_shares():
    assert share_of_bound("MaxMin", 3.0, 4.0, 8) == 0.75
    assert share_of_bound("MaxMin", 0.0, 0.0, 8) == 1
    assert share_of_bound("LogDet(signal=cls)", -30.0, -14.0, 8) == pytest.approx(np.exp(-2))


def test_a_solver_that_cannot_run_is_a_row_with_its_reason():
    vlm, task = load(str(EMBEDDED)), MiniVqa()
    settings = SMALL | {"objectives": (SaturatedCoverage(),), "solvers": (Greedy(), Exact()), "keeps": (6,)}
    table = summary_table(optimising.measure(Exam(vlm, task, list(islice(iter(task), 1))), **settings))
    exact = table.set_index("solver").loc["Exact"]
    assert exact["images"] == 0
    assert np.isnan(exact["accuracy"])
    assert exact["reason"].startswith("Exact has methods for")


def planted(agree: bool, images: int = 30) -> pd.DataFrame:
    """Images of different difficulty; within each, better values answer better (or worse), over three solvers."""
    made = []
    for image in range(images):
        for place, solver in enumerate(("Greedy", "LocalSearch", "Exact")):
            for number in range(4):
                right = number < 1 + (place if agree else 2 - place) - image % 2
                made.append((image, 10 * image + number, "ab"[number % 2], solver, 0.5 + 0.1 * place, float(right)))
    columns = ["image_id", "question_id", "task", "solver", "value", "correct"]
    frame = pd.DataFrame(made, columns=columns)
    return frame.assign(
        keep=4, objective="Saliency", upper_bound=1.0, status="feasible", reason="", seconds=0.1,
        selection=frame["solver"], **{"share Saliency": frame["value"]},
    )  # fmt: skip


def test_summary_by_hand():
    table = summary_table(planted(agree=True)).set_index("solver")
    # Right answers of an image, of four: 1, 2, 3 on even images, one less on odd ones.
    assert table["accuracy"].tolist() == pytest.approx([0.5 / 4, 1.5 / 4, 2.5 / 4])
    assert table["over_greedy"].tolist() == pytest.approx([np.nan, 0.25, 0.5], nan_ok=True)
    assert table["share_mean"].tolist() == pytest.approx([0.5, 0.6, 0.7])
    assert table.loc["Exact", "over_greedy_low"] == pytest.approx(0.5)
    assert (table.loc[["LocalSearch", "Exact"], "p_holm"] < 0.01).all()
    assert table["images"].eq(30).all()


@pytest.mark.parametrize(("agree", "sign"), [(True, 1), (False, -1)])
def test_planted_agreement_is_found_and_difficulty_does_not_count(agree, sign):
    table = correlation_table(planted(agree), resamples=50)
    within = table[table["scope"] == "within"]
    assert within["over"].unique().tolist() == ["all solvers", "optimisers"]
    assert within["estimate"].tolist() == pytest.approx([sign] * 4)
    assert within["low"].tolist() == pytest.approx([sign] * 4)
    assert table[table["scope"] == "across"]["estimate"].tolist() == pytest.approx([sign] * 2)
    between = table[table["scope"] == "between"]
    assert between["estimate"].isna().all()  # one objective: nothing to compare
    assert between["varying"].eq(0).all()


def test_correlation_is_that_of_deviations_from_the_image():
    rng = np.random.default_rng(0)
    rows = planted(agree=True)
    noise = dict(zip(rows["image_id"].unique(), rng.random(30), strict=True))
    rows["share Saliency"] += rows["image_id"].map(noise) + 0.2 * rng.random(len(rows)) * (rows["question_id"] < 0)
    rows["share Saliency"] += rows["solver"].map({"Greedy": 0, "LocalSearch": 0.3, "Exact": -0.2})
    units = rows.groupby(["image_id", "solver"])[["share Saliency", "correct"]].mean()
    deviations = units - units.groupby("image_id").transform("mean")
    table = correlation_table(rows, resamples=5).set_index(["scope", "over", "statistic"])
    assert table.loc[("within", "optimisers", "pearson"), "estimate"] == pytest.approx(np.corrcoef(deviations.T)[0, 1])


def test_a_second_run_measures_nothing_and_other_settings_are_refused(tmp_path, monkeypatch):
    calls = []
    stock = optimising.measure
    monkeypatch.setattr(optimising, "measure", lambda exam, **given: calls.append(exam) or stock(exam, **given))
    vlm, task = load(str(EMBEDDED)), MiniVqa()
    settings = SMALL | {"objectives": (FacilityLocation(),), "solvers": (Greedy(),), "keeps": (4,), "draws": 2}
    first = optimising.run(vlm, task, 1, tmp_path, progress=False, **settings)
    again = optimising.run(vlm, task, 1, tmp_path, progress=False, **settings)
    assert len(calls) == 1
    pd.testing.assert_frame_equal(first, again)
    with pytest.raises(ValueError, match="settings"):
        optimising.run(vlm, task, 1, tmp_path, progress=False, **(settings | {"draws": 3}))
    with pytest.raises(ValueError, match=r"`images` must be in \[1, 1080\], got 0"):
        optimising.run(vlm, task, 0, tmp_path, progress=False)


def test_the_command_writes_tables_and_figure(tmp_path, monkeypatch, rows):
    monkeypatch.setattr(optimising, "run", lambda *given, **settings: rows)
    monkeypatch.setattr(optimising, "KEEPS", (12, 6))
    monkeypatch.setattr(optimising_tables, "RESAMPLES", 20)
    app = typer.Typer()
    app.command()(optimising.main)
    done = CliRunner().invoke(app, ["--images", "2", "--target", str(tmp_path)])
    assert done.exit_code == 0, done.output
    table = pd.read_csv(tmp_path / "optimising.csv")
    assert len(table) == 2 * 3 * 5
    assert {"time_limit", "config_hash", "task_checksum", "prunescope", "cpu", "commit"} <= set(table.columns)
    assert set(pd.read_csv(tmp_path / "optimising_correlation.csv")["scope"]) == {"within", "across", "between"}
    assert (tmp_path / "optimising.png").stat().st_size > 10_000
