"""Slices by difficulty against hand-computed means, and the cost of a run from its log."""

import json

import pandas as pd
import pytest

from data.make.gate import needed_table
from data.make.history import core_minutes
from data.make.slices import SHOWN, slice_accuracy, slice_table

KNOBS = pd.DataFrame(
    {
        "question_id": [0, 1, 2, 3],
        "background": ["leaves", "clouds", "stripes", "stripes"],
        "clutter": ["low", "low", "high", "high"],
        "object_size": "small",
        "objects": [4, 4, 5, 5],
        "text_length": [2, 0, 3, 0],
    }
)


def rows():
    task, answer = ["text", "count", "text", "count"], ["1 2", "3", "1 2 3", "4"]
    cells = []
    for pruner in SHOWN:
        keep = 576 if pruner == "none" else 64
        correct = [True, False, True, True] if pruner == "none" else [False, False, True, False]
        for number in range(4):
            cells.append((pruner, keep, number, task[number], answer[number], correct[number]))
    cells.append(("random", 32, 0, "text", "1 2", True))
    return pd.DataFrame(cells, columns=["pruner", "keep", "question_id", "task", "answer", "correct"])


def test_means_are_over_tasks_and_other_budgets_are_left_out():
    table = slice_accuracy(rows(), KNOBS).set_index(["knob", "level", "pruner"])
    assert table.loc[("background", "natural", "none"), "estimate"] == 0.5
    assert table.loc[("background", "flat", "none"), "estimate"] == 1
    assert table.loc[("background", "natural", "random")].tolist() == [0, 2]
    assert table.loc[("text_length", "2", "none")].tolist() == [1, 1]
    assert table.loc[("text_length", "3", "random")].tolist() == [1, 1]
    assert table.loc[("answer", "3", "none")].tolist() == [0, 1]
    assert ("text_length", "0", "none") not in table.index


def test_table_has_a_row_per_level():
    lines = slice_table(slice_accuracy(rows(), KNOBS)).splitlines()
    assert "| background | natural | 2 | 0.500 | 0.000 | 0.000 | 0.000 | 0.000 |" in lines
    assert len(lines) == 2 + 2 + 2 + 1 + 2 + 2 + 2


def test_needed_table_rounds():
    needed = pd.DataFrame(
        {"task": ["tiny"], "questions": [9], "prior": 0.1, "all": 0.9, "without_needed": 0.2, "needed_alone": 0.81}
    )
    assert needed_table(needed).splitlines()[-1] == "| tiny | 9 | 0.100 | 0.900 | 0.200 | 0.810 |"


def test_core_minutes_add_up_over_the_starts_of_a_run(tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_text("".join(json.dumps({"cpu_minutes": value}) + "\n" for value in (0.1, 2.0, 5.0, 0.2, 3.0, 0.1)))
    assert core_minutes(log) == pytest.approx(8.1)
