"""Tables as LaTeX source for the booktabs package."""

from __future__ import annotations

import itertools
from collections.abc import Hashable

import numpy as np
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


def tabular(table: pd.DataFrame, *, corner: str, decimals: int, lowest_is_best: bool) -> str:
    r"""A `tabular` with the best entry of each column in bold and NaN as a dash; needs ``\usepackage{booktabs}``.

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
    """
    best = (table.min() if lowest_is_best else table.max()).to_dict()

    def cell(value: float, column: Hashable) -> str:
        if np.isnan(value):
            return "--"
        text = r"$\infty$" if np.isposinf(value) else f"{value:.{decimals}f}"
        return rf"\textbf{{{text}}}" if value == best[column] else text

    lines = [r"\begin{tabular}{l" + "r" * len(table.columns) + "}", r"\toprule", *_head(table, corner), r"\midrule"]
    for name, row in table.iterrows():
        lines.append(" & ".join([escaped(str(name)), *(cell(value, at) for at, value in row.items())]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


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
