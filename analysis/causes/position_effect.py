"""How much of where attention goes is owed to position: every arrangement of ids, replayed and in full passes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from analysis.metrics import jaccard_at_k, metric, spearman
from solvers.arrays import Float64Array, IntArray

from .exam import Exam
from .positions import ARRANGEMENTS, visual_positions
from .tables import accuracy_by, means

METRICS = (
    *(f"quartile_{number}" for number in range(1, 5)),
    "mean_index",
    "slope",
    "spearman_index",
    "top_mass",
    "effective_tokens",
)
TOP = 64


def position_rows(exam: Exam, arrangements: tuple[str, ...] = ARRANGEMENTS, *, seed: int = 0) -> pd.DataFrame:
    """Attention of the last prompt token, head mean, and answers under every arrangement of the visual position ids.

    Parameters
    ----------
    exam
        Images and questions, whose ground truth counts in the model's grid.
    arrangements, seed
        See `analysis.causes.arranged`.

    Returns
    -------
    pandas.DataFrame
        Three kinds of rows. "replay" (each layer recomputed alone at other ids) and "forward" (the whole pass at other
        ids) have a row per image, arrangement, layer (from 1) and metric with the mean over questions in `value`:
        `METRICS`, by token index whatever the id, and the agreement with the row at true ids, "spearman_true" and
        "jaccard_true" (the 64 most attended), and "needed_recall", the share of the tokens that the answer needs among
        these 64 (of questions that need any). "answers" have a row per question: task, prediction, correct.
    """
    frames = []
    for image, sample in enumerate(exam.samples):
        asked = exam.asked(image)
        true = exam.attention(asked).mean(2).double().cpu().numpy()
        for arrangement in arrangements:
            replayed = exam.attention(asked, arrangement, seed=seed).mean(2).double().cpu().numpy()
            with visual_positions(exam.vlm, arrangement, seed=seed, start=exam.start):
                other = exam.asked(image)
            passed = exam.attention(other).mean(2).double().cpu().numpy()
            for kind, rows in (("replay", replayed), ("forward", passed)):
                frame = _measured(rows, true, [q.needed for q in sample.questions], exam.encoded[image].grid)
                frames.append(frame.assign(kind=kind, arrangement=arrangement, image_id=sample.image_id))
    for arrangement in arrangements:
        with visual_positions(exam.vlm, arrangement, seed=seed, start=exam.start):
            frames.append(exam.answered(kind="answers", arrangement=arrangement))
    return pd.concat(frames, ignore_index=True)


def position_summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over images with intervals: kind, arrangement, layer (empty for answers), metric, estimate, low, high,
    images. Answers have metrics "accuracy <task>", the last of them "accuracy mean"."""
    attention = rows[rows["kind"] != "answers"].rename(columns={"metric": "name"})
    table = means(attention, ["kind", "arrangement", "layer", "name"], ["value"])
    table = table.drop(columns="metric").rename(columns={"name": "metric"})
    answers = accuracy_by(rows[rows["kind"] == "answers"], ["kind", "arrangement"])
    answers = answers.assign(metric="accuracy " + answers["task"]).drop(columns=["task", "questions"])
    return pd.concat([table, answers], ignore_index=True).astype({"layer": "Int64"})


def _measured(rows: Float64Array, true: Float64Array, needed: list[IntArray], grid: tuple[int, int]) -> pd.DataFrame:
    """Mean over questions of every metric by layer, from rows [question, layer, token]."""
    weights = xr.DataArray(rows, dims=("question", "layer", "token"))
    found: dict[str, Any] = {name: np.asarray(metric(name)(weights, grid)) for name in METRICS}
    found["spearman_true"] = spearman(rows, true)
    found["jaccard_true"] = jaccard_at_k(rows, true, min(TOP, rows.shape[-1]))
    table = pd.DataFrame({name: np.asarray(values).mean(0) for name, values in found.items()})
    table["needed_recall"] = _recall(rows, needed)
    table.insert(0, "layer", np.arange(1, len(table) + 1))
    return table.melt(id_vars="layer", var_name="metric")


def _recall(rows: Float64Array, needed: list[IntArray]) -> Float64Array:
    """Share of the needed tokens among the most attended [layer], mean over the questions that need any."""
    order = np.argsort(-rows, axis=-1, kind="stable")[..., :TOP]
    shares = [
        [np.isin(tokens, row).mean() for row in ranked]
        for tokens, ranked in zip(needed, order, strict=True)
        if len(tokens)
    ]
    return np.asarray(shares).mean(0) if shares else np.full(rows.shape[1], np.nan)
