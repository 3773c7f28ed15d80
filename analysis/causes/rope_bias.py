"""The position bias of a running model's scores, beside what rotary position embedding predicts of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from analysis.models import Vlm
from solvers.arrays import Float64Array

from .exam import Asked, Exam
from .rope import rope_decay, rope_response
from .tables import means, resampled

CURVES = ("score", "response", "isotropic")


def rope_rows(exam: Exam) -> pd.DataFrame:
    """Score of the last prompt token with the visual tokens against distance, averaged over each grid row's tokens.

    Scores are those that the softmax is taken of. Each curve is centred over the visual tokens, as a constant changes
    no weight.

    Returns
    -------
    pandas.DataFrame
        A row per image, layer and head (from 1) and grid row (from 0), means over questions: distance (positions from
        the tokens to the asking token); score, measured; response, what the *mean* query and key of that head and image
        predict (`rope_response`): exact if what a token shows were independent of where it stands; isotropic, the same
        from `rope_decay`, which is handed nothing but the mean score at distance 0.

    Raises
    ------
    ValueError
        If the rotary embedding is not the plain one of RoFormer over whole heads.
    """
    base = rope_base(exam.vlm)
    frames = []
    for image, sample in enumerate(exam.samples):
        asked = exam.asked(image)
        for layer in range(len(asked.replay.layers)):
            frame = _layer_rows(exam, asked, layer, base)
            frames.append(frame.assign(layer=layer + 1, image_id=sample.image_id))
    return pd.concat(frames, ignore_index=True)


def rope_summary(rows: pd.DataFrame, *, resamples: int = 500) -> pd.DataFrame:
    """The curves with intervals, and numbers about them.

    Columns layer, head, grid_row, distance, metric, estimate, low, high, images. Rows with a grid row hold the three
    curves. Rows without: "slope <curve>", change of the curve per 100 positions of distance, least squares;
    "explained <curve>", share of the variance of the mean measured curve that the prediction leaves none of, 1 - sum of
    squared errors over sum of squares, at most 1 and negative where predicting nothing is better; "correlation
    <curve>", Pearson, with the measured one. `resamples` is for the intervals of these numbers.
    """
    curves = means(rows, ["layer", "head", "grid_row"], CURVES)
    distance = rows.groupby("grid_row")["distance"].mean()
    curves.insert(3, "distance", curves["grid_row"].map(distance))
    numbers = [
        {"layer": layer, "head": head} | entry
        for (layer, head), part in rows.groupby(["layer", "head"], sort=False)
        for entry in _numbers(part, distance.to_numpy(), resamples)
    ]
    return pd.concat([curves, pd.DataFrame(numbers)], ignore_index=True).astype({"grid_row": "Int64"})


def rope_base(vlm: Vlm) -> float:
    """Base of the language model's rotary embedding.

    Raises
    ------
    ValueError
        If it is scaled, or rotates a part of each head only.
    """
    config: Any = vlm.model.config.get_text_config()
    settings = config.rope_parameters
    if settings.get("rope_type", "default") != "default" or settings.get("partial_rotary_factor", 1.0) != 1.0:
        raise ValueError(f"the theory holds for the plain rotary embedding of whole heads, the model has {settings}")
    return float(settings["rope_theta"])


def _layer_rows(exam: Exam, asked: Asked, layer: int, base: float) -> pd.DataFrame:
    replay, visual = asked.replay, slice(exam.start, exam.start + exam.tokens)
    ends = torch.stack([words[-1] for words in asked.words])
    scores = replay.call(layer).scores(ends[None])[0, ..., visual].double().cpu().numpy()  # [head, question, token]
    ids = replay.position_ids[0]
    apart = (ids[ends][:, None] - ids[visual][None]).double().cpu().numpy()  # [question, token]
    plain = replay.call(layer, torch.zeros_like(replay.position_ids))
    groups = plain.query.shape[1] // plain.key.shape[1]
    queries = plain.query[0][:, ends].double().cpu().numpy()  # [head, question, dim]
    keys = plain.key[0].repeat_interleave(groups, 0)[:, visual].mean(1).double().cpu().numpy()  # [head, dim]
    product = plain.scaling * _complex(queries) * _complex(keys)[:, None].conj()
    found = {
        "score": scores,
        "response": rope_response(product, apart, base),
        "isotropic": product.real.sum(-1)[..., None] * rope_decay(apart, queries.shape[-1], base),
    }
    rows, columns = exam.vlm.adapter.grid(exam.vlm.model)
    heads = scores.shape[0]
    table = {"head": np.repeat(np.arange(1, heads + 1), rows), "grid_row": np.tile(np.arange(rows), heads)}
    table["distance"] = np.tile(apart.mean(0).reshape(rows, columns).mean(1), heads)
    for name, curve in found.items():
        centred = (curve - curve.mean(-1, keepdims=True)).mean(1)  # [head, token]
        table[name] = centred.reshape(heads, rows, columns).mean(-1).ravel()
    return pd.DataFrame(table)


def _complex(vectors: Float64Array) -> npt.NDArray[np.complex128]:
    """Vectors [..., dim] as the d/2 complex numbers that the embedding turns: halves paired, as in the library."""
    half = vectors.shape[-1] // 2
    return np.asarray(vectors[..., :half] + 1j * vectors[..., half:])


def _numbers(part: pd.DataFrame, distance: Float64Array, resamples: int) -> list[dict[str, Any]]:
    """Slopes, explained shares and correlations of one head's curves, with intervals over images."""
    wide = {name: part.pivot(index="image_id", columns="grid_row", values=name).to_numpy() for name in CURVES}
    images = np.arange(len(wide["score"]))
    centred = distance - distance.mean()
    found = []

    def add(name: str, statistic: Any) -> None:
        ends = resampled(statistic, images, resamples=resamples)
        found.append({"metric": name} | ends | {"images": len(images)})

    for name, curve in wide.items():
        add(f"slope {name}", lambda units, c=curve: 100 * c[units].mean(0) @ centred / (centred @ centred))
    for name in CURVES[1:]:
        add(f"explained {name}", lambda units, c=wide[name]: _explained(c[units].mean(0), wide["score"][units].mean(0)))
        add(f"correlation {name}", lambda units, c=wide[name]: _pearson(c[units].mean(0), wide["score"][units].mean(0)))
    return found


def _explained(predicted: Float64Array, measured: Float64Array) -> float:
    total = float(np.square(measured).sum())
    return 1 - float(np.square(measured - predicted).sum()) / total if total > 0 else 0.0


def _pearson(first: Float64Array, second: Float64Array) -> float:
    one, other = first - first.mean(), second - second.mean()
    scale = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / scale if scale > 0 else 0.0
