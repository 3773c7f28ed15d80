"""Summaries of a study: small tables whose numbers can be worked out by hand."""

import numpy as np
import pandas as pd
import pytest

from analysis.figures import frames
from analysis.report.content import DIFFERENCES
from analysis.study.settings import DEFAULT, FAST, PRUNERS
from analysis.study.summaries import cost_summary, differences, kind_of, selection_summary
from solvers import RULES, SOLVERS


def selection_rows():
    row = {"objective": "LogDet()", "budget": 4, "seconds": 0.1, "status": "feasible", "reason": ""}
    return pd.DataFrame(
        [
            row | {"solver": "Greedy", "problem": "a", "value": 8.0, "upper_bound": 10.0},
            row | {"solver": "Greedy", "problem": "b", "value": -6.0, "upper_bound": -5.0, "status": "optimal"},
            row | {"solver": "fopru_rows", "problem": "a", "value": np.nan, "upper_bound": 10.0, "reason": "rows"},
            row | {"solver": "fopru_rows", "problem": "b", "value": np.nan, "upper_bound": -5.0, "reason": "rows"},
        ]
    )


def test_gap_is_the_mean_share_of_the_bound_also_for_negative_values():
    table = selection_summary(selection_rows()).set_index("solver")
    assert table.loc["Greedy", "gap"] == pytest.approx((2 / 10 + 1 / 5) / 2)
    assert table.loc["Greedy", ["value", "upper_bound", "problems"]].tolist() == [1.0, 2.5, 2]
    assert table.loc["Greedy", ["proven", "status"]].tolist() == [1, "feasible, optimal"]
    assert table.loc["Greedy", "low"] <= table.loc["Greedy", "gap"] <= table.loc["Greedy", "high"]


def test_what_cannot_run_keeps_its_reason_and_has_no_gap():
    row = selection_summary(selection_rows()).set_index("solver").loc["fopru_rows"]
    assert row["reason"] == "rows"
    assert np.isnan(row["gap"])


def test_selection_summary_has_the_columns_of_the_figure():
    frames.SELECTION.check(selection_summary(selection_rows()))


def test_kinds():
    assert {kind_of(rule.name) for rule in RULES} == {"rule"}
    assert kind_of("vispruner(important_ratio=0.75)") == "rule"
    kinds = {solver.__name__: kind_of(solver.__name__) for solver in SOLVERS}
    assert kinds["Exact"] == kinds["BruteForce"] == "exact"
    assert kinds["Random"] == kinds["TopK"] == "baseline"
    assert kinds["Greedy"] == kinds["DppMap"] == "solver"


def test_costs_are_shares_of_the_full_model():
    row = {"task": "mean"}
    accuracy = pd.DataFrame(
        [
            row | {"pruner": "none", "keep": 576, "flops": 200.0, "kv_bytes": 1000.0},
            row | {"pruner": "random", "keep": 64, "flops": 50.0, "kv_bytes": 100.0},
            {"task": "text", "pruner": "random", "keep": 64, "flops": 50.0, "kv_bytes": 100.0},
        ]
    )
    costs = cost_summary(accuracy).set_index("pruner")
    assert costs.loc["random", ["flops_ratio", "kv_ratio"]].tolist() == [0.25, 0.1]
    assert costs.loc["none", ["flops_ratio", "kv_ratio"]].tolist() == [1.0, 1.0]


def test_differences_are_paired_means_over_tasks():
    row = {"model": "m", "position_ids": "keep", "seed": 0, "n_text": 3}
    scores = {"none": (1, 1, 1, 1), "random": (0, 0, 1, 0), "divprune": (1, 0, 1, 1)}
    rows = pd.DataFrame(
        [
            row | {"pruner": pruner, "keep": 16 if pruner == "none" else 4, "image_id": number // 2}
            | {"question_id": number, "task": ("text", "count")[number % 2], "correct": bool(score)}
            for pruner, given in scores.items()
            for number, score in enumerate(given)
        ]
    )  # fmt: skip
    table = differences(rows)
    DIFFERENCES.check(table)
    found = table.set_index(["against", "pruner"])["difference"].to_dict()
    assert found == pytest.approx({("none", "random"): -0.75, ("none", "divprune"): -0.25, ("random", "divprune"): 0.5})


def test_the_study_compares_what_it_promises():
    names = {pruner.name for pruner in PRUNERS}
    assert len(names) == len(PRUNERS) >= 8
    assert {"random", "oracle", "vispruner", "fopru_rank", "greedyprune"} <= names
    assert DEFAULT.keeps == FAST.keeps == (192, 128, 64, 32)
    assert DEFAULT.digest != FAST.digest != FAST.with_images(5).digest
