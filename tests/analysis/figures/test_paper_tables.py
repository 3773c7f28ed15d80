"""LaTeX tables hold the numbers of their frames, in the order of the report, and mark who competes."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from analysis.figures import paper_tables
from analysis.figures.paper import PAPER_TABLES


def rows(text: str) -> dict[str, list[str]]:
    """Cells by row name."""
    lines = text.split("\\midrule\n")[1].split("\\bottomrule")[0].strip().splitlines()
    cells = [line.removesuffix(r" \\").split(" & ") for line in lines]
    return {name: values for name, *values in cells}


def test_accuracy_with_intervals_best_budget_first(accuracy_frame: pd.DataFrame) -> None:
    text = paper_tables.accuracy_tabular(accuracy_frame)
    assert text.startswith("% \\usepackage{booktabs}\n\\begin{tabular}{lrrrr}\n\\toprule\n")
    assert r"\multicolumn{4}{c}{Accuracy (\%) by visual tokens kept}" in text
    assert r"Pruner & 192 & 128 & 64 & 32 \\" in text
    table = rows(text)
    assert list(table)[:3] == ["Full model", "Oracle", "Greedy facility location"]
    row = accuracy_frame.query("pruner == 'CDPruner' and keep == 64 and task == 'mean'").iloc[0]
    number, low, high = (f"{100 * row[name]:.1f}" for name in ("estimate", "low", "high"))
    assert number in table["CDPruner"][2]
    assert table["CDPruner"][2].endswith(rf"{{\scriptsize [{low}, {high}]}}")


def test_the_full_model_and_the_oracle_do_not_compete(accuracy_frame: pd.DataFrame) -> None:
    for text in (paper_tables.accuracy_tabular(accuracy_frame), paper_tables.task_tabular(accuracy_frame)):
        table = rows(text)
        assert not any("textbf" in cell or "underline" in cell for cell in table["Full model"] + table["Oracle"])
        for column in zip(*table.values(), strict=True):
            assert sum("textbf" in cell for cell in column) >= 1
            assert sum("underline" in cell for cell in column) >= 1
            best = max(
                float(re.sub(r"[^\d.]", "", cell.split(" {")[0]))
                for name, cell in zip(table, column, strict=True)
                if name not in {"Full model", "Oracle"}
            )
            assert any(f"\\textbf{{{best:.1f}}}" in cell for cell in column)


def test_tasks_at_one_budget(accuracy_frame: pd.DataFrame) -> None:
    text = paper_tables.task_tabular(accuracy_frame, keep=32)
    assert r"Accuracy (\%) at 32 tokens" in text
    assert "Pruner & exist random & " in text
    assert text.count(r"& mean \\") == 1
    with pytest.raises(ValueError, match="`keep` must be one of 192, 128, 64, 32, got 7"):
        paper_tables.task_tabular(accuracy_frame, keep=7)


def test_gaps_smallest_best_without_baselines(selection_frame: pd.DataFrame) -> None:
    free = selection_frame.assign(gap=selection_frame["gap"].where(selection_frame["solver"] != "Random", -1.0))
    table = rows(paper_tables.gap_tabular(free, keep=64))
    assert "textbf" in table["Exact"][0]
    assert table["Exact"][1] == "--"  # was not run
    assert table["Uniform grid"][2] == "--"  # nothing is proven
    assert not any("textbf" in cell for cell in table["Random"])


def test_costs_are_not_marked(cost_frame: pd.DataFrame) -> None:
    text = paper_tables.cost_tabular(cost_frame)
    assert r"\multicolumn{4}{c}{FLOPs (\%)} & \multicolumn{4}{c}{KV cache (\%)}" in text
    assert "textbf" not in text
    assert "Full model" not in text
    assert rows(text)["Random"][0] == f"{100 * (192 + 190) / 766:.1f}"


def test_names_are_escaped_and_frames_checked(accuracy_frame: pd.DataFrame) -> None:
    strange = accuracy_frame.replace({"pruner": {"CDPruner": r"50%_&\mine"}})
    assert r"50\%\_\&\textbackslash{}mine &" in paper_tables.accuracy_tabular(strange)
    for entry in PAPER_TABLES:
        with pytest.raises(ValueError, match="must have the columns"):
            entry.write(pd.DataFrame({"keep": [1], "pruner": [np.nan]}))
