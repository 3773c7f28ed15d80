"""What a training run did, phase by phase, from its log."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from .vocabulary import TASKS


def phase_table(log: Path) -> pd.DataFrame:
    """A row per finished phase of `log.jsonl`: minutes of wall time in it, steps and images up to its end, and the
    accuracy on fresh scenes with all tokens at its end, per task and on the mean."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    scores = [line for line in lines if line["kind"] == "score"]
    phases = list(dict.fromkeys(line["phase"] for line in lines if line["kind"] == "step"))
    rows = []
    for phase, score in zip(phases, scores, strict=False):  # a run that is under way has one score fewer
        last = [line for line in lines if line["kind"] == "step" and line["phase"] == phase][-1]
        row = {"phase": phase, "minutes": last["minutes"], "step": score["step"], "images": score["images"]}
        rows.append(row | {name: score[name] for name in (*TASKS, "mean")})
    return pd.DataFrame(rows)
