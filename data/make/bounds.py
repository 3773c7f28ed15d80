"""What the embedded model and its benchmark must reach, and the comparison with what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from .needed import judge_needed
from .vocabulary import TASKS

BUDGET = 64
MEAN, EVERY_TASK, SPATIAL = 0.92, 0.85, 0.80
ABOVE_PRIOR = 0.25
ORACLE_WITHIN = 0.03  # of all tokens, on every task: what the oracle loses, training lost
RANDOM_BELOW = {"text": 0.20, "tiny": 0.20}
CORRELATION = 0.90
IMAGES, QUESTIONS = 1000, 12000
MEGABYTES = 16.0


@dataclass(frozen=True)
class Check:
    """One bound: what is measured, which value it has, and which it may have."""

    what: str
    value: float
    least: float | None = None
    most: float | None = None
    binding: bool = True  # else it is told and never fails

    @property
    def holds(self) -> bool:
        return (self.least is None or self.value >= self.least) and (self.most is None or self.value <= self.most)


def judge(
    accuracy: pd.DataFrame,
    priors: Mapping[str, float],
    *,
    reliability: pd.DataFrame,
    needed: pd.DataFrame,
    fastv: pd.DataFrame,
    megabytes: float,
) -> list[Check]:
    """Every bound with its value.

    Parameters
    ----------
    accuracy
        What `accuracy_table` returned for the whole test split.
    priors
        The majority prior by task.
    reliability
        What `split_half` returned.
    needed, fastv
        What `measure_needed` and `measure_fastv` returned.
    megabytes
        Size of the model folder.
    """
    at = {(r["pruner"], r["keep"], r["task"]): r["estimate"] for r in accuracy.to_dict("records")}
    full = {task: value for (pruner, _, task), value in at.items() if pruner == "none"}
    checks = [Check("mean of all tasks, all tokens", full["mean"], least=MEAN)]
    for task in TASKS:
        bound = max(SPATIAL if task == "spatial" else EVERY_TASK, priors[task] + ABOVE_PRIOR)
        checks.append(Check(f"{task}, all tokens", full[task], least=bound))
    checks += [
        Check(f"{task}, lost by the oracle at {BUDGET}", full[task] - at["oracle", BUDGET, task], most=ORACLE_WITHIN)
        for task in TASKS
    ]
    checks += [
        Check(f"{task}, lost by random at {BUDGET}", full[task] - at["random", BUDGET, task], least=least)
        for task, least in RANDOM_BELOW.items()
    ]
    ranked = reliability.set_index("keep")["correlation"]
    checks.append(Check(f"split-half correlation of the pruners at {BUDGET}", ranked[BUDGET], least=CORRELATION))
    checks += [
        Check(f"split-half correlation of the pruners at {keep}", value, binding=False)
        for keep, value in ranked.items()
        if keep != BUDGET
    ]
    checks += [
        Check("test images", accuracy["images"].max(), least=IMAGES),
        Check("test questions", accuracy["questions"].max(), least=QUESTIONS),
        Check("model folder, megabytes", megabytes, most=MEGABYTES),
        Check("tasks whose required tokens do not hold", len(judge_needed(needed)), most=0),
    ]
    lost = fastv.query("keep == @BUDGET and task == 'mean'")["lost"].iloc[0]
    checks.append(Check(f"mean, lost by FastV after layer 2 at {BUDGET}", lost, binding=False))
    return checks


def passed(checks: list[Check]) -> bool:
    return all(check.holds for check in checks if check.binding)


def printed(checks: list[Check]) -> str:
    """A line per check: what, value, bound, and whether it holds."""
    width = max(len(check.what) for check in checks)
    lines = []
    for check in checks:
        bounds = ((">=", check.least), ("<=", check.most))
        bound = " ".join(f"{sign} {value:g}" for sign, value in bounds if value is not None)
        verdict = ("passed" if check.holds else "FAILED") if check.binding else "told"
        lines.append(f"{check.what:{width}}  {check.value:10.3f}  {bound:>9}  {verdict}")
    return "\n".join([*lines, "gate: " + ("passed" if passed(checks) else "failed")])
