"""Where a language model looks back to: over the tokens of a picture, and over as many tokens of plain text."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
import xarray as xr
from numpy.typing import NDArray
from transformers import LlavaForConditionalGeneration

from analysis.causes import position_rows
from analysis.causes.tables import accuracy_by, means
from analysis.evaluation import MiniVqa
from analysis.metrics import metric
from analysis.models import Vlm
from solvers.arrays import Float64Array

from .causes import Experiment, run
from .plain_text import windows
from .scene import GRID

SPAN = GRID**2  # tokens of text looked back over: as many as a picture has
GAP = 10  # tokens between them and the one that asks, as many as a question's
ASKING = 16  # tokens per window that ask, one behind the other
INDEX_METRICS = (*(f"quartile_{number}" for number in range(1, 5)), "mean_index", "slope", "spearman_index")
ARRANGEMENTS = ("true", "equi", "reversed")
SHUFFLED = "text shuffled"


def picture_rows(vlm: Vlm, task: MiniVqa, images: int, work: Path, *, progress: bool = True) -> pd.DataFrame:
    """What `analysis.causes.position_rows` says of the first images of a task about where attention lies, each layer
    recomputed alone, and the answers; resumable in `work`."""
    experiment = Experiment(
        "positions",
        partial(position_rows, arrangements=ARRANGEMENTS),
        lambda rows: rows,
        f"{', '.join(ARRANGEMENTS)}, seed 0",
    )
    rows = run(vlm, task, images, work, experiments=(experiment,), progress=progress)["positions"]
    replayed = (rows["kind"] == "replay") & rows["metric"].isin(INDEX_METRICS)
    return rows[replayed | (rows["kind"] == "answers")]


@torch.no_grad()
def text_rows(folder: Path, tokens: NDArray[np.int32], length: int, count: int, *, seed: int = 0) -> pd.DataFrame:
    """Attention of plain text over the `SPAN` tokens that lie `GAP` tokens back, head mean, and how well it is read.

    Parameters
    ----------
    folder
        The model.
    tokens
        A stream of text, see `plain_text.stream`.
    length
        Tokens of a window, of which as many as are needed are read.
    count
        Windows, spread over the stream.
    seed
        Of the shuffled tokens.

    Returns
    -------
    pandas.DataFrame
        A row per window (`image_id`), arrangement, layer (from 1) and metric, means over the `ASKING` last tokens, kind
        "text": "true" is the text as it is; in "text shuffled" all tokens of the window are in a random order, so that
        what is near says no more than what is far. Rows without a layer: "nats", mean negative log-likelihood of a
        token of the text as it is.

    Raises
    ------
    ValueError
        If a window is too short, or the stream has fewer windows.
    """
    least = 1 + SPAN + GAP + ASKING
    if length < least:
        raise ValueError(f"`length` must be at least {least}, got {length}")
    if not 1 <= count <= len(tokens) // length:
        raise ValueError(f"`count` must be in [1, {len(tokens) // length}], got {count}")
    model = LlavaForConditionalGeneration.from_pretrained(
        folder, dtype=torch.float32, local_files_only=True, attn_implementation="eager"
    ).eval()
    rng = np.random.default_rng(seed)
    frames = []
    for number in np.linspace(0, len(tokens) // length - 1, count).round().astype(np.int64):
        inputs, targets = (pair[:, :least] for pair in windows(tokens, np.array([number]), length))
        states, true = _read(model, inputs)
        order = np.append(0, 1 + rng.permutation(least - 1))  # `<s>` stays in front
        _, shuffled = _read(model, inputs[:, order])
        nats = F.cross_entropy(model.lm_head(states)[0], targets[0]).item()
        parts = [_measured(true).assign(arrangement="true"), _measured(shuffled).assign(arrangement=SHUFFLED)]
        parts.append(pd.DataFrame({"metric": ["nats"], "value": [nats], "arrangement": ["true"]}))
        frames.append(pd.concat(parts).assign(image_id=str(number)))
    return pd.concat(frames, ignore_index=True).assign(kind="text")


def _read(model: LlavaForConditionalGeneration, inputs: torch.Tensor) -> tuple[torch.Tensor, Float64Array]:
    """Last states [window, token, width], and attention rows of the last tokens [asking, layer, back]."""
    out = model.model.language_model(input_ids=inputs, use_cache=False, output_attentions=True)
    last = inputs.shape[1]
    rows = [
        torch.stack([layer[0, :, at, at - GAP - SPAN : at - GAP].mean(0) for layer in out.attentions])
        for at in range(last - ASKING, last)
    ]
    return out.last_hidden_state, torch.stack(rows).double().numpy()


def _measured(rows: Float64Array) -> pd.DataFrame:
    weights = xr.DataArray(rows, dims=("asking", "layer", "token"))
    found = {name: np.asarray(metric(name)(weights, (GRID, GRID))).mean(0) for name in INDEX_METRICS}
    table = pd.DataFrame(found)
    table.insert(0, "layer", np.arange(1, len(table) + 1))
    return table.melt(id_vars="layer", var_name="metric")


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over pictures, or windows of text, with 95 % bootstrap intervals.

    Columns stage, kind, arrangement, layer (empty where there is none), metric, estimate, low, high, images.
    """
    answers = rows["kind"] == "answers"
    layered = rows[~answers & rows["layer"].notna()].rename(columns={"metric": "name"})
    parts = [means(layered, ["stage", "kind", "arrangement", "layer", "name"], ["value"])]
    read = rows[~answers & rows["layer"].isna()].rename(columns={"metric": "name"})
    if len(read):
        parts.append(means(read, ["stage", "kind", "arrangement", "name"], ["value"]))
    parts = [part.drop(columns="metric").rename(columns={"name": "metric"}) for part in parts]
    if answers.any():
        table = accuracy_by(rows[answers], ["stage", "kind", "arrangement"])
        parts.append(table.assign(metric="accuracy " + table["task"]).drop(columns=["task", "questions"]))
    return pd.concat(parts, ignore_index=True).astype({"layer": "Int64"})


def differences(rows: pd.DataFrame, pairs: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """Rows of one stage minus another's on the same pictures and text, as stage "first - second"; answers are left out.

    Raises
    ------
    ValueError
        If a stage of a pair has no rows.
    """
    key = ["kind", "arrangement", "layer", "metric", "image_id"]
    values = rows[rows["kind"] != "answers"]
    frames = []
    for first, second in pairs:
        one, other = (values[values["stage"] == stage].set_index(key)["value"] for stage in (first, second))
        if one.empty or other.empty:
            raise ValueError(f"`pairs` must name stages with rows, got {first!r} and {second!r}")
        frames.append((one - other).reset_index().assign(stage=f"{first} - {second}"))
    return pd.concat(frames, ignore_index=True)
