"""From rows to the small tables that figures and report show: estimates with 95 % intervals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from analysis.evaluation.comparison import paired_comparison
from analysis.figures import frames
from analysis.metrics import (
    BEHAVIOUR,
    bootstrap_interval,
    cluster_heads,
    layer_agreement,
    mass_curves,
    measure,
    profile,
    score_histogram,
    selection_frequency,
)
from analysis.pruning.pruners import Random
from solvers import RULES, Status

EXACT = {"Exact", "BruteForce"}
BASELINES = {"Random", "UniformGrid", "TopK", "KDpp"}
FREQUENT = 64
"""Tokens that count as most attended in the table of frequencies."""


def attention_tables(dump: xr.Dataset) -> dict[str, pd.DataFrame]:
    """What figures draw of a dump beside its metrics, each table by the name of the function that makes it."""
    return {
        "mass_curves": mass_curves(dump),
        "profile": profile(dump),
        "score_histogram": score_histogram(dump),
        "selection_frequency": selection_frequency(dump, FREQUENT),
        "layer_agreement": layer_agreement(dump),
        "cluster_heads": cluster_heads(measure(dump, BEHAVIOUR, heads=True)),
    }


def selection_summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Columns of `frames.SELECTION`: means over problems, with a bootstrap interval of the certified gap.

    The gap is (upper bound - value) / |upper bound|: unlike a share of the value it stays finite and at most 1 for
    a worthless selection under an objective that is not negative.
    """
    rows = rows.rename(columns={"budget": "keep"})
    scale = rows["upper_bound"].abs()
    rows["relative"] = (rows["upper_bound"] - rows["value"]) / scale.where(scale > 0)
    table = []
    for (objective, keep, solver), part in rows.groupby(["objective", "keep", "solver"], sort=False):
        known = part["relative"].dropna()
        gap = bootstrap_interval(known) if len(known) == len(part) else None
        table.append(
            {
                "solver": solver,
                "kind": kind_of(str(solver)),
                "objective": objective,
                "keep": keep,
                "value": part["value"].mean(),
                "upper_bound": part["upper_bound"].mean(),
                "gap": gap.estimate if gap else np.nan,
                "low": gap.low if gap else np.nan,
                "high": gap.high if gap else np.nan,
                "seconds": part["seconds"].mean(),
                "problems": part["problem"].nunique(),
                "proven": int((part["status"] == Status.OPTIMAL.label).sum()),
                "status": ", ".join(sorted(part["status"].unique())),
                "reason": part["reason"].iloc[0],
            }
        )
    return pd.DataFrame(table)


def kind_of(solver: str) -> str:
    """ "rule", "exact", "baseline" or "solver"."""
    name = solver.split("(")[0]
    if name in {rule.name for rule in RULES}:
        return "rule"
    return "exact" if name in EXACT else "baseline" if name in BASELINES else "solver"


def cost_summary(accuracy: pd.DataFrame) -> pd.DataFrame:
    """Columns of `frames.COST`: FLOPs of the whole prefill and bytes of its cache, as shares of the full model's."""
    means = accuracy[accuracy["task"] == frames.MEAN]
    full = means[means["pruner"] == frames.FULL].iloc[0]
    return pd.DataFrame(
        {
            "pruner": means["pruner"],
            "keep": means["keep"],
            "flops_ratio": means["flops"] / full["flops"],
            "kv_ratio": means["kv_bytes"] / full["kv_bytes"],
        }
    ).reset_index(drop=True)


def differences(rows: pd.DataFrame, *, resamples: int = 1000) -> pd.DataFrame:
    """Columns of `report.content.DIFFERENCES` and more: each pruner against the full model, and against random tokens.

    Rows of task "mean" of `paired_comparison`.
    """
    tables = [paired_comparison(rows, against, resamples=resamples) for against in (frames.FULL, Random().name)]
    table = pd.concat(tables, ignore_index=True)
    return table[table["task"] == frames.MEAN].reset_index(drop=True)
