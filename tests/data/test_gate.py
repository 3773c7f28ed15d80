"""The gate's tables and pages."""

import pandas as pd

from data.make.gate import (
    MEASURED,
    card_table,
    keep_tables,
    replace_results,
    selection_table,
)

PRIORS = {"text": 0.02, "tiny": 0.14}


def accuracies():
    shown = {"oracle": 0.79, "vispruner": 0.8, "fastervlm": 0.7, "divprune": 0.75, "random": 0.55}
    full = {"text": 0.80, "tiny": 0.95, "mean": 0.88}
    rows = [{"pruner": "none", "keep": 576, "task": task, "estimate": value} for task, value in full.items()]
    for name, value in shown.items():
        rows += [{"pruner": name, "keep": 64, "task": task, "estimate": value} for task in full]
    table = pd.DataFrame(rows)
    return table.assign(low=table["estimate"] - 0.01, high=table["estimate"] + 0.01)


def test_card_table_has_a_row_per_task_and_the_mean():
    lines = card_table(accuracies(), PRIORS).splitlines()
    assert len(lines) == 2 + len(PRIORS) + 1
    assert lines[2] == "| text | 0.020 | 0.800 [0.790, 0.810] | 0.790 | 0.800 | 0.700 | 0.750 | 0.550 |"


def test_kept_tables_carry_their_provenance(tmp_path):
    (tmp_path / "tables").mkdir()
    for name in MEASURED:
        pd.DataFrame({"estimate": [0.123456789]}).to_csv(tmp_path / "tables" / f"{name}.csv", index=False)
    keep_tables(tmp_path / "tables", tmp_path / "measured", {"commit": "abc"})
    for name in MEASURED:
        kept = pd.read_csv(tmp_path / "measured" / f"{name}.csv")
        assert kept.to_dict("records") == [{"estimate": 0.123457, "commit": "abc"}]


def test_selection_table_is_sorted_by_facility_location_and_leaves_unknown_gaps_empty():
    selection = pd.DataFrame(
        {
            "solver": ["Random", "Exact", "Random", "Exact"],
            "objective": ["FacilityLocation", "FacilityLocation", "LogDet", "LogDet"],
            "gap": [0.05, 0.0, 0.4, float("nan")],
        }
    )
    assert selection_table(selection).splitlines()[2:] == ["| Exact | 0.00 % |  |", "| Random | 5.00 % | 40.00 % |"]


def test_results_are_replaced_between_their_marks():
    page = "a\n<!-- results: begin -->\nold\n<!-- results: end -->\nb\n"
    once = replace_results(page, "new\n")
    assert once == "a\n<!-- results: begin -->\nnew\n<!-- results: end -->\nb\n"
    assert replace_results(once, "new\n") == once
