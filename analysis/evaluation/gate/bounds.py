"""The bounds of the gate, and the comparison with what was measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from ..reproducibility import reproducibility
from ..settings import STOCK
from .evidence import judge_needed
from .measured import Trainings

BUDGET = 64
MEAN = 0.92
FLOORS: Mapping[str, float] = {
    "exist_random": 0.85,
    "exist_popular": 0.85,
    "exist_adversarial": 0.85,
    "attribute": 0.85,
    "count": 0.85,
    "spatial": 0.80,
    "text": 0.85,
    "tiny": 0.85,
}
"""Least accuracy of every task of the benchmark, with all tokens: a task that was not asked misses it."""
ABOVE_PRIOR = 0.25
ORACLE_WITHIN = 0.03  # of all tokens, on every task: what the oracle loses, training lost
RANDOM_BELOW = {"text": 0.20, "tiny": 0.20}
CORRELATION = 0.90
LEVEL = 0.95  # at which two pruners are apart under one training
REPRODUCED = 0.02  # what the seed of a training may change on the mean of all tasks
IMAGES, QUESTIONS = 1000, 12000
CELLS, MINUTES, CORES = 100, 15.0, 2  # pruners times budgets on all questions, on so many cores
MEGABYTES = 16.0


@dataclass(frozen=True)
class Check:
    """One bound: what is measured, which value it has (NaN where there is none), and which it may have."""

    what: str
    value: float
    least: float | None = None
    most: float | None = None
    binding: bool = True  # else it is told and never fails
    note: str = ""
    """Why there is no value, or what the value does not say."""

    @property
    def holds(self) -> bool:
        return (
            not math.isnan(self.value)
            and (self.least is None or self.value >= self.least)
            and (self.most is None or self.value <= self.most)
        )

    @property
    def verdict(self) -> str:
        """ "passed", "FAILED" or, where nothing is bound, "told"."""
        return ("passed" if self.holds else "FAILED") if self.binding else "told"


def judge(
    accuracy: pd.DataFrame,
    priors: Mapping[str, float],
    *,
    reliability: pd.DataFrame,
    needed: pd.DataFrame,
    fastv: pd.DataFrame,
    compact: pd.DataFrame,
    packed: pd.DataFrame,
    megabytes: float,
    trainings: Trainings | None = None,
    time: pd.DataFrame | None = None,
    left_out: int = 0,
    unranked: str = "",
) -> list[Check]:
    """Every bound with its value.

    Parameters
    ----------
    accuracy
        What `accuracy_table` returned for the whole test split.
    priors
        The majority prior by task.
    reliability
        What `split_half` returned, without rows where it could not.
    needed, fastv, compact, packed
        What `measure_needed`, `measure_fastv`, `measure_compact` and `measure_packed` returned.
    megabytes
        Size of the model folder.
    trainings
        How the model compares with others that were trained alike, where somebody trained them.
    time
        How long all pruners took, where somebody let them answer.
    left_out
        Images of the split that were not asked: such a quick look never passes.
    unranked
        Why `reliability` has no rows.
    """
    at = {(r["pruner"], r["keep"], r["task"]): float(r["estimate"]) for r in accuracy.to_dict("records")}
    full = {task: value for (pruner, _, task), value in at.items() if pruner == "none"}

    def lost(task: str, pruner: str) -> float:
        return full.get(task, math.nan) - at.get((pruner, BUDGET, task), math.nan)

    checks = [Check("images left out by a quick look", left_out, most=0)] if left_out else []
    checks.append(Check("mean of all tasks, all tokens", full["mean"], least=MEAN))
    for task, floor in FLOORS.items():
        bound = max(floor, priors.get(task, 0.0) + ABOVE_PRIOR)
        checks.append(Check(f"{task}, all tokens", full.get(task, math.nan), least=bound))
    checks += [
        Check(f"{task}, lost by the oracle at {BUDGET}", lost(task, "oracle"), most=ORACLE_WITHIN) for task in FLOORS
    ]
    checks += [
        Check(f"{task}, lost by random at {BUDGET}", lost(task, "random"), least=least)
        for task, least in RANDOM_BELOW.items()
    ]
    renumbered = compact[compact["keep"] == BUDGET].set_index("task")["lost"].to_dict()
    checks += [
        Check(
            f"{task}, lost by the oracle at {BUDGET}, compact ids", renumbered.get(task, math.nan), most=ORACLE_WITHIN
        )
        for task in FLOORS
    ]
    checks += _ranking(reliability, unranked)
    checks += [] if trainings is None else _trainings(trainings)
    short = [f"{task} has no question with evidence" for task in FLOORS if task not in set(needed["task"])]
    short += judge_needed(needed)
    checks += [
        Check("test images", accuracy["images"].max(), least=IMAGES),
        Check("test questions", accuracy["questions"].max(), least=QUESTIONS),
        Check("model folder, megabytes", megabytes, most=MEGABYTES),
        Check("tasks whose required tokens do not hold", len(short), most=0, note="; ".join(short)),
    ]
    checks += _packing(packed) + ([] if time is None else _timing(time))
    loss = fastv.query("keep == @BUDGET and task == 'mean'")["lost"].iloc[0]
    checks.append(Check(f"mean, lost by FastV after layer 2 at {BUDGET}", float(loss), binding=False))
    return checks


def _ranking(reliability: pd.DataFrame, unranked: str) -> list[Check]:
    found = {} if unranked else dict(zip(reliability["keep"], reliability["correlation"], strict=True))
    what = "split-half correlation of the pruners at"
    binding = Check(f"{what} {BUDGET}", found.pop(BUDGET, math.nan), least=CORRELATION, note=unranked)
    return [binding, *(Check(f"{what} {keep}", value, binding=False) for keep, value in found.items())]


def _packing(packed: pd.DataFrame) -> list[Check]:
    if packed.empty:
        return []
    what = f"packed answers unlike those of `generate`, of {packed['questions'].sum()}"
    return [Check(what, packed["differ"].sum(), most=0)]


def _timing(time: pd.DataFrame) -> list[Check]:
    row = time.iloc[0]
    cells, processes = int(row["pruners"] * row["budgets"]), int(row["processes"])
    note = "" if processes <= CORES else f"on {processes} cores"
    return [
        Check("pruners times budgets in the whole table", cells, least=CELLS),
        Check(f"minutes for it on {CORES} cores", math.nan if note else float(row["minutes"]), most=MINUTES, note=note),
    ]


def _trainings(trainings: Trainings) -> list[Check]:
    both = trainings.agreement[trainings.agreement["keep"] == BUDGET]
    at, corrected = both[both["level"] == LEVEL], both[both["level"] > LEVEL]
    full = trainings.accuracy[trainings.accuracy["pruner"] == STOCK].groupby("task", sort=False)["estimate"]
    apart = full.max() - full.min()
    number = f"{len({*at['model'], *at['other']})} trainings"
    worst = str(apart.idxmax())
    opposite = f"pairs of pruners that {number} rank oppositely at {BUDGET}"
    pairs, certain = _contradicted(at), _contradicted(corrected)
    limits = {row["keep"]: row for row in reproducibility(trainings.accuracy).to_dict("records")}
    limit = limits[BUDGET]
    return [
        Check(f"mean of all tasks, how far {number} are apart", float(apart["mean"]), most=REPRODUCED),
        Check(f"{worst}, how far {number} are apart (most of all tasks)", float(apart[worst]), binding=False),
        Check(opposite, len(pairs), most=0, note="; ".join(pairs)),
        Check(f"{opposite}, corrected", len(certain), binding=False, note="; ".join(certain)),
        Check(f"least Kendall tau between {number} at {BUDGET}", at["tau"].min(), binding=False),
        Check(f"difference at {BUDGET} below which {number} may disagree", float(limit["limit"]), binding=False),
        Check(
            f"pairs beyond it that they rank oppositely, of {limit['beyond']}",
            float(limit["reversed"]),
            binding=False,
            note=limit["which"],
        ),
    ]


def _contradicted(agreement: pd.DataFrame) -> list[str]:
    """The pairs of pruners that some two trainings order oppositely, each once."""
    named = [pair for row in agreement["which"].fillna("") for pair in row.split("; ") if pair]
    return list({tuple(sorted(pair.split(" > "))): pair for pair in named}.values())


def passed(checks: Sequence[Check]) -> bool:
    """Whether every bound holds."""
    return all(check.holds for check in checks if check.binding)


def printed(checks: Sequence[Check]) -> str:
    """A line per check: what, value, bound, whether it holds, and the note; the last line is the verdict."""
    width = max(len(check.what) for check in checks)
    lines = []
    for check in checks:
        bounds = ((">=", check.least), ("<=", check.most))
        bound = " ".join(f"{sign} {value:g}" for sign, value in bounds if value is not None)
        note = f" ({check.note})" if check.note else ""
        lines.append(f"{check.what:{width}}  {check.value:10.3f}  {bound:>9}  {check.verdict}{note}")
    return "\n".join([*lines, "gate: " + ("passed" if passed(checks) else "failed")])
