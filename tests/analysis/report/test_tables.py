"""Tables show the frame's numbers in readable form, in the right order, with the right entry in bold."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from analysis.report import ReportInput, numbers, tables

Build = Callable[..., ReportInput]


def row(table: tables.Table, name: str) -> tables.Row:
    return next(row for row in table.rows if row.name == name)


def test_accuracy_is_ranked_and_the_best_contender_is_bold(report_input: Build) -> None:
    table = tables.accuracy_table(report_input().accuracy)
    assert [r.name for r in table.rows] == ["Full model, 16 tokens", "Oracle", "DivPrune", "VisPruner", "Random"]
    assert [list(group.columns) for group in table.groups] == [["8", "4"]]
    assert row(table, "VisPruner").cells == [
        tables.Cell("80.0", "78.0–82.0", bold=True, value=0.8),
        tables.Cell("70.0", "68.0–72.0", value=0.7),
    ]
    assert [cell.bold for cell in row(table, "DivPrune").cells] == [False, True]
    assert not any(cell.bold for name in ("Oracle", "Random") for cell in row(table, name).cells)


def test_ties_are_all_bold(report_input: Build) -> None:
    frame = report_input().accuracy
    frame.loc[frame["pruner"] == "DivPrune", "estimate"] = frame.loc[
        frame["pruner"] == "VisPruner", "estimate"
    ].to_numpy()
    table = tables.accuracy_table(frame)
    assert [[c.bold for c in row(table, name).cells] for name in ("VisPruner", "DivPrune")] == [[True, True]] * 2


def test_a_missing_budget_is_a_dash(report_input: Build) -> None:
    frame = report_input().accuracy
    table = tables.accuracy_table(frame[(frame["pruner"] != "VisPruner") | (frame["keep"] != 4)])
    assert [cell.text for cell in row(table, "VisPruner").cells] == ["80.0", "–"]


def test_tasks_end_with_the_mean(report_input: Build) -> None:
    table = tables.task_table(report_input().accuracy, 4)
    assert list(table.groups[0].columns) == ["text", "count", "mean"]
    assert [cell.text for cell in row(table, "VisPruner").cells] == ["60.0", "80.0", "70.0"]


def test_selection_without_a_bound_a_run_or_support_says_so(report_input: Build) -> None:
    table = tables.selection_table(report_input().selection, 4)
    assert [group.title for group in table.groups] == ["Facility location", "Max-min distance"]
    assert [cell.text for cell in row(table, "Exact").cells] == ["1.000", "0", "0.50 s", "not run", "–", "–"]
    greedy = row(table, "Greedy").cells
    assert [cell.text for cell in greedy] == ["0.9900", "1.0", "2 ms", "0.2500", "no bound", "1 ms"]
    assert [cell.text for cell in row(table, "VisPruner").cells][3:] == ["not supported", "–", "–"]
    assert [r.cells[1].bold for r in table.rows] == [True, False, False]


def test_attention_ends_with_the_even_reference(report_input: Build) -> None:
    table = tables.attention_table(report_input().attention)
    assert [(r.name, r.cells[0].text) for r in table.rows] == [
        ("Vision CLS, layer 3", "4.00"),
        ("Text, last token, layer 2", "9.00"),
        ("Perfectly even attention", "16.0"),
    ]


def test_what_has_no_number_has_nothing_to_be_sorted_by(report_input: Build) -> None:
    table = tables.selection_table(report_input().selection, 4)
    assert [cell.value for cell in row(table, "Greedy").cells] == [0.99, 0.0101, 0.002, 0.25, None, 0.001]
    assert [cell.value for cell in row(table, "VisPruner").cells][3:] == [None, None, None]


def test_differences_are_points_with_a_sign_and_bold_where_they_are_real(report_input: Build) -> None:
    content = report_input()
    (full, first), (chance, second) = tables.difference_tables(content.differences, content.accuracy)
    assert (full, chance) == ("the full model", "Random")
    assert [r.name for r in first.rows] == ["DivPrune", "VisPruner"]
    assert [list(group.columns) for group in first.groups] == [["8", "4"]]
    assert row(first, "VisPruner").cells == [
        tables.Cell("−10.0", "−15.0 to −5.0", bold=True, value=-0.1),
        tables.Cell("0.0", "−10.0 to +10.0", value=0.0),
    ]
    assert [cell.text for cell in row(first, "DivPrune").cells] == ["–", "+2.0"]
    assert row(second, "VisPruner").cells[0].bold
    assert tables.difference_tables(None, content.accuracy) == []


def test_cost_has_a_column_per_budget_and_kind(report_input: Build) -> None:
    table = tables.cost_table(report_input().cost)
    assert [cell.text for cell in table.rows[0].cells] == ["60.0", "40.0", "50.0", "25.0"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (numbers.percent(-0.051), "−5.1"),
        (numbers.percent(math.nan), "–"),
        (numbers.points(0.0123), "+1.2"),
        (numbers.points(-0.0001), "0.0"),
        (numbers.points(math.nan), "–"),
        (numbers.gap(0.00004), "< 0.01"),
        (numbers.gap(0.0019), "0.19"),
        (numbers.gap(12.5), "1,250"),
        (numbers.gap_interval(0.1, math.nan), ""),
        (numbers.significant(1234.5), "1,234"),
        (numbers.significant(0.01234), "0.0123"),
        (numbers.significant(-2.5), "−2.50"),
        (numbers.duration(125.2), "2 min 05 s"),
        (numbers.duration(0.0421), "42 ms"),
        (numbers.duration(3e-5), "30 µs"),
        (numbers.duration(59.97), "1 min 00 s"),
    ],
)
def test_numbers_read_well(text: str, expected: str) -> None:
    assert text == expected
