"""Accuracy by how hard a question is: the knobs of the benchmark, level by level."""

from __future__ import annotations

import pandas as pd

from .backgrounds import NATURAL

SHOWN = ("none", "oracle", "vispruner", "divprune", "random")


def slice_accuracy(rows: pd.DataFrame, knobs: pd.DataFrame, *, keep: int = 64) -> pd.DataFrame:
    """Mean accuracy over tasks with equal weight, for each level of each knob, with all tokens and `keep` of them.

    Parameters
    ----------
    rows
        Rows of `evaluate` on the benchmark.
    knobs
        `MiniVqa.knobs` of the same benchmark.
    keep
        The budget of the pruners.

    Returns
    -------
    pandas.DataFrame
        Columns knob, level, pruner, estimate, questions. Backgrounds are told as "flat" and "natural"; for text_length
        and answer, the digits of a text and a count, only those questions count.
    """
    at = rows[(rows["keep"] == keep) | (rows["pruner"] == "none")].merge(knobs, on="question_id")
    natural = at["background"].isin(NATURAL)
    at = at.assign(background=natural.map({True: "natural", False: "flat"}))
    parts = [(knob, at) for knob in ("background", "clutter", "object_size", "objects")]
    parts += [("text_length", at[at["task"] == "text"]), ("answer", at[at["task"] == "count"])]
    found = []
    for knob, cell in parts:
        accuracy = cell.groupby([knob, "pruner", "task"])["correct"].mean().groupby([knob, "pruner"]).mean()
        sizes = cell.groupby([knob, "pruner"])["question_id"].nunique()
        table = pd.DataFrame({"estimate": accuracy, "questions": sizes}).reset_index(names=["level", "pruner"])
        found.append(table.assign(knob=knob, level=table["level"].astype(str)))
    return pd.concat(found, ignore_index=True)[["knob", "level", "pruner", "estimate", "questions"]]


def slice_table(slices: pd.DataFrame) -> str:
    """Markdown: a row per level, a column per pruner of `SHOWN`."""
    lines = ["| knob | level | questions | all tokens | " + " | ".join(f"{name} 64" for name in SHOWN[1:]) + " |"]
    lines.append("|" + "---|" * (3 + len(SHOWN)))
    for (knob, level), cell in slices.groupby(["knob", "level"], sort=False):
        value = cell.set_index("pruner")["estimate"]
        cells = " | ".join(f"{value[name]:.3f}" for name in SHOWN)
        lines.append(f"| {knob} | {level} | {cell['questions'].iloc[0]:,} | {cells} |")
    return "\n".join(lines)
