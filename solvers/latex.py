"""Tables as LaTeX source for the booktabs package."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

_ESCAPES = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "\n": " ",
        **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    }
)


def escaped(text: str) -> str:
    """`text` as LaTeX that prints it: every character with a meaning of its own is replaced.

    Examples
    --------
    >>> escaped("TopK(signal=cls_token) & 5%")
    'TopK(signal=cls\\\\_token) \\\\& 5\\\\%'
    """
    return text.translate(_ESCAPES)


def tabular(
    table: pd.DataFrame,
    *,
    corner: str,
    decimals: int,
    lowest_is_best: bool,
    marks: int = 1,
    competing: Collection[str] | None = None,
    interval: tuple[pd.DataFrame, pd.DataFrame] | None = None,
) -> str:
    r"""A `tabular` with the best entries of each column marked and NaN as a dash; needs ``\usepackage{booktabs}``.

    Parameters
    ----------
    table
        Numbers; rows become lines under their index. Columns of two levels get a line of group names above.
    corner
        Head of the column of row names.
    decimals
        Digits after the point.
    lowest_is_best
        Whether small numbers are good.
    marks
        How many places are marked: 0 none, 1 the best in bold, 2 also the second underlined. Numbers that print alike
        share a place.
    competing
        Row names that can have a place; by default all.
    interval
        Lower and upper ends, labelled as `table`: printed in brackets behind each number where both are finite.

    Raises
    ------
    ValueError
        If `marks` is not 0, 1 or 2, or an end of `interval` is labelled otherwise.
    """
    if marks not in range(3):
        raise ValueError(f"`marks` must be 0, 1 or 2, got {marks}")
    bounds = () if interval is None else interval
    if not all(end.index.equals(table.index) and end.columns.equals(table.columns) for end in bounds):
        raise ValueError("`interval` must have the rows and columns of `table`")
    ends = [end.to_numpy(dtype=np.float64) for end in bounds]
    lines = [r"\begin{tabular}{l" + "r" * len(table.columns) + "}", r"\toprule", *_head(table, corner), r"\midrule"]
    rows = [[_number(value, decimals) for value in row] for row in table.to_numpy(dtype=np.float64)]
    can_win = [competing is None or name in competing for name in table.index]
    places = [
        _places(column, [row[at] for row in rows], can_win, lowest_is_best)
        for at, column in enumerate(table.to_numpy(dtype=np.float64).T)
    ]
    for at, name in enumerate(table.index):
        cells = [
            _marked(text, places[column].get(text) if can_win[at] else None, marks)
            + _bracket([float(end[at, column]) for end in ends], decimals)
            for column, text in enumerate(rows[at])
        ]
        lines.append(" & ".join([escaped(str(name)), *cells]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _number(value: float, decimals: int) -> str:
    if np.isnan(value):
        return "--"
    text = r"$\infty$" if np.isinf(value) else f"{abs(value):.{decimals}f}"
    return f"$-${text}" if value < 0 and float(f"{abs(value):.{decimals}f}") != 0 else text


def _places(
    column: npt.NDArray[np.float64], texts: Sequence[str], can_win: Sequence[bool], lowest_is_best: bool
) -> dict[str, int]:
    """Printed number to its place, 0 the best, of those that can win and are finite."""
    known = {text: value for value, text, can in zip(column, texts, can_win, strict=True) if can and np.isfinite(value)}
    return {text: place for place, text in enumerate(sorted(known, key=known.__getitem__, reverse=not lowest_is_best))}


def _marked(text: str, place: int | None, marks: int) -> str:
    if place is None or place >= marks:
        return text
    return rf"\textbf{{{text}}}" if place == 0 else rf"\underline{{{text}}}"


def _bracket(ends: Sequence[float], decimals: int) -> str:
    if not ends or not np.isfinite(ends).all():
        return ""
    return rf" {{\scriptsize [{', '.join(_number(end, decimals) for end in ends)}]}}"


def _head(table: pd.DataFrame, corner: str) -> list[str]:
    if table.columns.nlevels == 1:
        return [" & ".join([escaped(corner), *(escaped(str(name)) for name in table.columns)]) + r" \\"]
    groups, rules, column = [], [], 2
    for name, members in itertools.groupby(table.columns, key=lambda label: label[0]):
        width = len(list(members))
        groups.append(rf"\multicolumn{{{width}}}{{c}}{{{escaped(str(name))}}}")
        rules.append(rf"\cmidrule(lr){{{column}-{column + width - 1}}}")
        column += width
    names = [escaped(corner), *(escaped(str(label[-1])) for label in table.columns)]
    return [" & ".join(["", *groups]) + r" \\", "".join(rules), " & ".join(names) + r" \\"]
