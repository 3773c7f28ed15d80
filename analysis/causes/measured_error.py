"""The error that dropping tokens makes in the layers of a running model, beside what theory says of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from analysis.pruning import AbstractPruner, pruner
from solvers.arrays import Float64Array, IntArray

from .exam import Asked, Exam
from .output_error import output_error
from .quartiles import keep_from_layer
from .tables import correlation, means

PRUNERS = ("fastervlm", "vispruner", "divprune", "random")
KEEPS = (192, 64)
MEASURES = (
    "dropped_mass",
    "error",
    "measured",
    "deviation",
    "relative_error",
    "norm_bound",
    "centred_bound",
    "norm_tightness",
    "centred_tightness",
    "violations",
    "carried_error",
)


def measured_errors(
    exam: Exam, pruners: Sequence[str | AbstractPruner] = PRUNERS, keeps: Sequence[int] = KEEPS, *, seed: int = 0
) -> pd.DataFrame:
    """Errors at the last prompt token of every question, in every layer, under selections that ignore the question.

    Theory (`output_error`) takes the softmax weights and values of the untouched layer. Measured is the difference of
    the outputs that the layer itself computes with the dropped keys hidden in that layer alone.

    Parameters
    ----------
    exam
        Images and questions.
    pruners, keeps
        Selections: names or pruners that do not need the question, and budgets.
    seed
        For pruners that draw.

    Returns
    -------
    pandas.DataFrame
        A row per question, layer (from 1), pruner and keep. Means over heads: dropped_mass, error (theory), measured,
        relative_error (measured over the norm of the head's full output), norm_bound, centred_bound, norm_tightness and
        centred_tightness (measured over bound, in [0, 1]), carried_error (relative change of the output where the
        tokens are hidden from the first layer on, so that errors are carried on through the layers). Over heads also
        deviation (largest difference of theory and measured) and violations (share of heads whose measured error is
        above a bound by more than float32 rounding).

    Raises
    ------
    ValueError
        For a pruner that needs the question, or a budget out of range.
    """
    chosen = [pruner(entry) if isinstance(entry, str) else entry for entry in pruners]
    for entry in chosen:
        if entry.question_aware:
            raise ValueError(f"`pruners` must ignore the question, got {entry.name!r}")
    frames = []
    for image, sample in enumerate(exam.samples):
        asked = exam.asked(image)
        layers = [_Layer(exam, asked, number) for number in range(len(asked.replay.layers))]
        questions = [question.question_id for question in sample.questions]
        for entry in chosen:
            for keep in keeps:
                kept = entry.select(replace(exam.encoded[image], seed=seed), keep)
                with keep_from_layer(exam.vlm, kept, 0, start=exam.start):
                    carried = exam.asked(image)
                    drifted = [carried.replay.outputs(layer.number) for layer in layers]
                for layer, outputs in zip(layers, drifted, strict=True):
                    frame = pd.DataFrame(layer.errors(kept, outputs))
                    frame.insert(0, "question_id", questions)
                    frames.append(
                        frame.assign(image_id=sample.image_id, pruner=entry.name, keep=keep, layer=layer.number + 1)
                    )
    return pd.concat(frames, ignore_index=True)


def error_summary(rows: pd.DataFrame, *, resamples: int = 200) -> pd.DataFrame:
    """Means over questions of each measure per pruner, keep and layer, with intervals; and, as metrics
    "spearman_dropped_mass", "spearman_norm_bound" and "spearman_centred_bound", how well each predicts the measured
    error over questions. `resamples` is for the intervals of the latter."""
    by = ["pruner", "keep", "layer"]
    table = means(rows, by, MEASURES)
    ranks = []
    for key, part in rows.groupby(by, sort=False):
        for name in ("dropped_mass", "norm_bound", "centred_bound"):
            found = correlation(part[name], part["measured"], part["image_id"], resamples=resamples)
            label = dict(zip(by, key, strict=True)) | {"metric": f"spearman_{name}"}
            ranks.append(label | found | {"images": part["image_id"].nunique()})
    return pd.concat([table, pd.DataFrame(ranks)], ignore_index=True)


class _Layer:
    """Weights, values and outputs of one layer for the last token of each question of an image."""

    def __init__(self, exam: Exam, asked: Asked, number: int) -> None:
        self.exam, self.replay, self.number = exam, asked.replay, number
        self.ends = torch.stack([words[-1] for words in asked.words])
        self.weights = (
            asked.replay.call(number).rows(self.ends[None])[0].double().cpu().numpy()
        )  # [head, question, key]
        self.values = asked.replay.values(number)[0].double().cpu().numpy()[:, None]  # [head, 1, key, dim]
        self.full = self._at_ends(asked.replay.outputs(number))

    def errors(self, kept: IntArray, carried: torch.Tensor) -> dict[str, Float64Array]:
        """Measures by question, for the selection and the outputs where it was hidden from the first layer on."""
        visual = np.arange(self.exam.start, self.exam.start + self.exam.tokens)
        stays = np.ones(self.weights.shape[-1], dtype=bool)
        stays[np.setdiff1d(visual, visual[kept])] = False
        theory = output_error(self.weights, self.values, stays)
        hidden = torch.from_numpy(~stays)[None].to(self.ends.device)
        reduced = self._at_ends(self.replay.outputs(self.number, hidden))
        measured = np.linalg.norm(reduced - self.full, axis=-1)
        size = np.linalg.norm(self.full, axis=-1)
        slack = 1e-5 * np.linalg.norm(self.values, axis=-1).max(-1)
        above = (measured > theory.norm_bound + slack) | (measured > theory.centred_bound + slack)
        means_of_heads = {
            "dropped_mass": theory.dropped_mass,
            "error": theory.error,
            "measured": measured,
            "relative_error": measured / size,
            "norm_bound": theory.norm_bound,
            "centred_bound": theory.centred_bound,
            "norm_tightness": _share(measured, theory.norm_bound),
            "centred_tightness": _share(measured, theory.centred_bound),
            "violations": above,
            "carried_error": np.linalg.norm(self._at_ends(carried) - self.full, axis=-1) / size,
        }
        found = {name: np.asarray(by_head, dtype=np.float64).mean(0) for name, by_head in means_of_heads.items()}
        return found | {"deviation": np.abs(measured - theory.error).max(0)}

    def _at_ends(self, outputs: torch.Tensor) -> Float64Array:
        """[head, question, dim] of outputs [prompt, query, head, dim]."""
        return np.asarray(outputs[0, self.ends].transpose(0, 1).double().cpu().numpy())


def _share(error: Float64Array, bound: Float64Array) -> Float64Array:
    """error / bound; 0 where nothing can change: rounding is no error."""
    return np.divide(error, bound, out=np.zeros_like(error), where=bound > 0)
