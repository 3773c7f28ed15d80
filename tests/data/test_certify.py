"""The table of certified gaps: numbers as defined, every solver named, a run that goes on where it stopped."""

import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from data.make import certify
from solvers import BruteForce, Exact, FacilityLocation, Greedy, LogDet, MaxMin, Random, TopK, instances

SMALL = instances.clip_like(4, grid=(3, 4), dim=16)
BUDGETS = {12: (2, 4)}


def rows_of(**columns):
    """Rows of `compare` as far as the summary reads them, one problem unless said."""
    size = len(columns["value"])
    given = {
        "problem": ["a"] * size, "n": [12] * size, "budget": [4] * size, "objective": ["MaxMin"] * size,
        "status": ["feasible"] * size, "reason": [""] * size, "seconds": [0.1] * size,
    }  # fmt: skip
    return pd.DataFrame(given | columns)


def test_gaps_are_taken_to_the_smallest_bound_of_the_problem():
    rows = rows_of(
        problem=["a", "a", "b", "b"],
        solver=["Greedy", "Exact", "Greedy", "Exact"],
        value=[8.0, 9.0, 5.0, 5.0],
        upper_bound=[20.0, 10.0, 5.0, 6.0],
        status=["feasible", "feasible", "feasible", "optimal"],
    )
    table = certify.summarise(rows).set_index("solver")
    greedy, exact = table.loc["Greedy"], table.loc["Exact"]
    assert (greedy["gap_mean"], greedy["gap_median"], greedy["gap_worst"]) == pytest.approx((0.1, 0.1, 0.2))
    assert (exact["gap_mean"], exact["gap_worst"]) == pytest.approx((0.05, 0.1))
    assert (greedy["ratio_mean"], greedy["ratio_worst"]) == pytest.approx(((8 / 9 + 1) / 2, 8 / 9))
    # On b somebody proved 5, and greedy has it; on a nobody proved anything.
    assert (greedy["optimal"], greedy["proven"]) == (1, 0)
    assert (exact["optimal"], exact["proven"]) == (1, 1)
    assert (greedy["problems"], greedy["solved"], greedy["gap_unit"]) == (2, 2, "share")


def test_a_log_determinant_is_counted_in_nats_per_token():
    rows = rows_of(solver=["Greedy"], objective=["LogDet"], value=[-10.0], upper_bound=[-8.0])
    (row,) = certify.summarise(rows).to_dict("records")
    assert (row["gap_mean"], row["gap_unit"]) == (0.5, "nats per token")
    assert np.isnan(row["ratio_mean"])


def test_what_could_not_run_is_a_row_with_its_reason():
    rows = rows_of(
        problem=["a", "b"], solver=["rule", "rule"], value=[np.nan, 3.0], upper_bound=[4.0, 4.0], reason=["why", ""]
    )
    (row,) = certify.summarise(rows).to_dict("records")
    assert (row["problems"], row["solved"], row["reason"], row["gap_mean"]) == (2, 1, "why", 0.25)
    (none,) = certify.summarise(rows.iloc[:1]).to_dict("records")
    assert (none["solved"], none["optimal"]) == (0, 0)
    assert np.isnan(none["gap_mean"])


def test_every_solver_and_rule_takes_part_once():
    names = [solver.name for solver in certify.solvers_compared()]
    assert len(names) == len(set(names))
    for name in ("Greedy", "Exact", "DppMap", "FarthestFirst", "LocalSearch", "cdpruner", "vispruner", "divprune"):
        assert name in names


def test_small_problems_are_closed_and_runs_are_kept(tmp_path):
    solvers = (Greedy(), TopK(), Random(), Exact(), BruteForce())
    options = {"solvers": solvers, "budgets": BUDGETS, "store": tmp_path, "progress": False}
    objectives = (FacilityLocation(), LogDet(), MaxMin())
    rows = certify.run([SMALL], objectives, **options)
    assert len(rows) == 3 * 2 * 5
    table = certify.summarise(rows)
    assert len(table) == 3 * 2 * 5
    exact = table[table["solver"].isin(["Exact", "BruteForce"])]
    assert (exact["optimal"] == 1).all()
    assert exact["gap_worst"].max() < 1e-6
    assert (table["gap_mean"] >= 0).all()
    again = certify.run([SMALL], objectives, **options)
    pd.testing.assert_series_equal(rows["seconds"], again["seconds"])  # read, not measured again


def test_problems_have_what_every_rule_reads():
    found = certify.problems(3, mosaic=False)
    assert [problem.id for problem in found] == ["mini_vqa_000", "mini_vqa_001", "mini_vqa_002"]
    assert all("attention_map" in problem.signals for problem in found)
    shipped = instances.load("mini_vqa_000")
    np.testing.assert_array_equal(found[0].features, shipped.features)
    with pytest.raises(ValueError, match=r"`images` must be in \[1, 20\], got 21"):
        certify.problems(21)


def test_the_command_writes_the_table(tmp_path, monkeypatch):
    monkeypatch.setattr(certify, "problems", lambda images, mosaic: [SMALL])
    monkeypatch.setattr(certify, "BUDGETS", BUDGETS)
    monkeypatch.setattr(certify, "solvers_compared", lambda: (Greedy(), TopK()))
    app = typer.Typer()
    app.command()(certify.main)
    target = tmp_path / "gaps.csv"
    done = CliRunner().invoke(app, ["--work", str(tmp_path / "work"), "--target", str(target), "--seconds", "1"])
    assert done.exit_code == 0, done.output
    table = pd.read_csv(target)
    assert len(table) == 3 * 2 * 2
    assert table["time_limit"].eq(1.0).all()
    assert {"config_hash", "task_checksum", "prunescope", "cpu", "commit"} <= set(table.columns)
