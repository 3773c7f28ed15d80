"""What a training run did and cost, phase by phase, from its log."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from .vocabulary import TASKS

PRUNED = ("mean needed@64", "mean random@64")


def core_minutes(log: Path) -> float:
    """Processor time of a run, over all its starts: each counts from nothing."""
    spent = [json.loads(line)["cpu_minutes"] for line in log.read_text().splitlines()]
    ends = [before for before, after in zip(spent, [*spent[1:], 0.0], strict=True) if after < before]
    result: float = sum(ends)
    return result


def phase_table(log: Path) -> pd.DataFrame:
    """A row per finished phase of `log.jsonl`: minutes of wall time in it, steps and images up to its end, and the
    accuracy on fresh scenes with all tokens at its end, per task and on the mean; since the log has it, also the mean
    with the needed tokens among the 64 kept, and with a random 64."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    scores = [line for line in lines if line["kind"] == "score"]
    phases = list(dict.fromkeys(line["phase"] for line in lines if line["kind"] == "step"))
    rows = []
    for phase, score in zip(phases, scores, strict=False):  # a run that is under way has one score fewer
        last = [line for line in lines if line["kind"] == "step" and line["phase"] == phase][-1]
        row = {"phase": phase, "minutes": last["minutes"], "step": score["step"], "images": score["images"]}
        rows.append(row | {name: score[name] for name in (*TASKS, "mean", *PRUNED) if name in score})
    return pd.DataFrame(rows)
