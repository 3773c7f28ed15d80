"""LaTeX tables: what is marked, what is escaped, and that every line has as many cells as the head says."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from solvers.latex import escaped, tabular


def table(columns: dict[str, list[float]]) -> pd.DataFrame:
    return pd.DataFrame(columns, index=[f"row_{at}" for at in range(len(next(iter(columns.values()))))])


def body(text: str) -> list[list[str]]:
    """Cells between the rules."""
    lines = text.split("\\midrule\n")[1].split("\\bottomrule")[0].strip().splitlines()
    return [line.removesuffix(r" \\").split(" & ") for line in lines]


def column(text: str, at: int) -> list[str]:
    return [row[at] for row in body(text)]


def test_best_is_bold_and_second_underlined() -> None:
    numbers = table({"a": [1.0, 3.0, 2.0], "b": [5.0, 4.0, 6.0]})
    text = tabular(numbers, corner="", decimals=0, lowest_is_best=False, marks=2)
    assert column(text, 1) == ["1", r"\textbf{3}", r"\underline{2}"]
    lowest = tabular(numbers, corner="", decimals=0, lowest_is_best=True, marks=2)
    assert column(lowest, 2) == [r"\underline{5}", r"\textbf{4}", "6"]


def test_only_the_best_is_marked_unless_asked_for() -> None:
    numbers = table({"a": [1.0, 3.0, 2.0]})
    assert column(tabular(numbers, corner="", decimals=0, lowest_is_best=False), 1) == ["1", r"\textbf{3}", "2"]
    assert column(tabular(numbers, corner="", decimals=0, lowest_is_best=False, marks=0), 1) == ["1", "3", "2"]


def test_numbers_that_print_alike_share_a_place() -> None:
    numbers = table({"a": [0.9004, 0.8996, 0.85, 0.7]})
    text = tabular(numbers, corner="", decimals=2, lowest_is_best=False, marks=2)
    assert column(text, 1) == [r"\textbf{0.90}", r"\textbf{0.90}", r"\underline{0.85}", "0.70"]


def test_rows_that_do_not_compete_have_no_place() -> None:
    numbers = table({"a": [9.0, 3.0, 2.0]})
    text = tabular(numbers, corner="", decimals=0, lowest_is_best=False, marks=2, competing={"row_1", "row_2"})
    assert column(text, 1) == ["9", r"\textbf{3}", r"\underline{2}"]


def test_a_number_that_equals_a_place_but_does_not_compete_is_not_marked() -> None:
    numbers = table({"a": [3.0, 3.0]})
    text = tabular(numbers, corner="", decimals=0, lowest_is_best=False, competing={"row_1"})
    assert column(text, 1) == ["3", r"\textbf{3}"]


def test_what_is_not_finite_is_printed_and_has_no_place() -> None:
    numbers = table({"a": [np.nan, np.inf, 0.5, -np.inf]})
    for lowest in (True, False):
        text = tabular(numbers, corner="", decimals=1, lowest_is_best=lowest, marks=2)
        assert column(text, 1) == ["--", r"$\infty$", r"\textbf{0.5}", r"$-$$\infty$"]


def test_minus_is_a_minus_and_nothing_is_minus_zero() -> None:
    numbers = table({"a": [-1.25, -0.001]})
    assert column(tabular(numbers, corner="", decimals=1, lowest_is_best=True, marks=0), 1) == ["$-$1.2", "0.0"]


def test_intervals_stand_in_brackets_where_both_ends_are_finite() -> None:
    numbers = table({"a": [0.5, 0.25]})
    low, high = numbers - 0.125, numbers.assign(a=[0.625, np.inf])
    text = tabular(numbers, corner="", decimals=3, lowest_is_best=False, interval=(low, high))
    assert column(text, 1) == [r"\textbf{0.500} {\scriptsize [0.375, 0.625]}", "0.250"]


def test_two_levels_of_columns_get_groups() -> None:
    numbers = pd.DataFrame(
        [[1.0, 2.0, 3.0]], index=["x"], columns=pd.MultiIndex.from_tuples([("A_1", 64), ("A_1", 32), ("B", 64)])
    )
    lines = tabular(numbers, corner="who", decimals=0, lowest_is_best=False, marks=0).splitlines()
    assert lines[:5] == [
        r"\begin{tabular}{lrrr}",
        r"\toprule",
        r" & \multicolumn{2}{c}{A\_1} & \multicolumn{1}{c}{B} \\",
        r"\cmidrule(lr){2-3}\cmidrule(lr){4-4}",
        r"who & 64 & 32 & 64 \\",
    ]


def test_every_row_has_a_cell_per_column_whatever_the_names() -> None:
    numbers = pd.DataFrame(np.eye(2), index=["a & b", r"c\\d"], columns=["50 %", "x_y"])
    text = tabular(numbers, corner="#1", decimals=1, lowest_is_best=False, marks=2)
    unescaped = [len(re.findall(r"(?<!\\)&", line)) for line in text.splitlines() if line.endswith(r"\\")]
    assert unescaped == [2, 2, 2]
    assert escaped("a & b") in text
    assert r"c\textbackslash{}\textbackslash{}d" in text


@pytest.mark.parametrize(("marks", "shown"), [(3, "3"), (-1, "-1")])
def test_marks_out_of_range_are_refused(marks: int, shown: str) -> None:
    with pytest.raises(ValueError, match=f"`marks` must be 0, 1 or 2, got {shown}"):
        tabular(table({"a": [1.0]}), corner="", decimals=0, lowest_is_best=True, marks=marks)


def test_intervals_of_another_table_are_refused() -> None:
    numbers = table({"a": [1.0, 2.0]})
    with pytest.raises(ValueError, match="`interval` must have the rows and columns of `table`"):
        tabular(numbers, corner="", decimals=0, lowest_is_best=True, interval=(numbers[::-1], numbers))


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no TeX here")
def test_tex_accepts_it(tmp_path: Path) -> None:
    numbers = pd.DataFrame([[np.nan, np.inf, -1.5]], index=["a_b & #$%^~{}\\<>|"], columns=["x", "y", "z_"])
    content = tabular(numbers, corner="^", decimals=1, lowest_is_best=True, marks=2, interval=(numbers, numbers))
    source = tmp_path / "table.tex"
    source.write_text(
        f"\\documentclass{{article}}\\usepackage{{booktabs}}\\begin{{document}}{content}\\end{{document}}"
    )
    subprocess.run(["pdflatex", "-halt-on-error", source.name], cwd=tmp_path, check=True, capture_output=True)
