"""What a score is good for: accuracy when the tokens it ranks first are kept, and what predicts that accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from analysis.metrics import gini
from analysis.metrics.weights import grid_positions
from analysis.pruning import pruner
from solvers.arrays import Float64Array, IntArray

from .exam import Asked, Exam
from .tables import accuracy_by, correlation, means

KEEPS = (192, 128, 64, 32)
LAYERS = (1, 3)
PREDICTORS = ("needed_recall", "cls_mass", "last_mass", "coverage", "mean_index", "spread", "gini")


def usefulness_rows(
    exam: Exam, keeps: Sequence[int] = KEEPS, layers: Sequence[int] = LAYERS, *, seed: int = 0
) -> pd.DataFrame:
    """Answers with the k tokens that each score ranks first, pruned before the language model at their own ids.

    Scores: "cls" (CLS attention of the feature block), and of the language model's layers (named from 1, head mean,
    from an unpruned pass) "last", "text" and "equi" attention; "random"; "oracle" (the tokens that the answer needs,
    then farthest first). Ties go to the lowest index. All are compared at one place, before the language model, which
    is where CLS attention prunes; FastV prunes by "last" inside the language model instead.

    Parameters
    ----------
    exam
        Images and questions, whose ground truth counts in the model's grid.
    keeps
        Budgets.
    layers
        Layers whose attention ranks, from 0: 1 is the layer before FastV's K = 2.
    seed
        Of "random".

    Returns
    -------
    pandas.DataFrame
        A row per question, score and keep: image_id, question_id, task, prediction, correct, and of the kept set
        `PREDICTORS`: needed_recall (share of the needed tokens; NaN where none is), cls_mass and last_mass (shares of
        CLS attention, and of last-token attention averaged over all layers), coverage (mean over tokens of the largest
        cosine with a kept one), mean_index (0 first, 1 last), spread (root mean square distance from their centroid, in
        image sides), gini (of the score; NaN without one).
    """
    ranked = [exam_scores(exam, image, layers) for image in range(len(exam.samples))]
    frames = []
    for score in (*ranked[0].scores, "random", "oracle"):
        for keep in keeps:
            chosen = {
                (image, number): _kept(exam, ranked[image], score, image, number, keep, seed)
                for image, asked in enumerate(exam.prompts)
                for number in range(len(asked))
            }
            answers = exam.answered(chosen, score=score, keep=keep)
            described = pd.DataFrame(
                [
                    {"question_id": exam.question(image, number).question_id}
                    | _described(exam, ranked[image], score, image, number, kept)
                    for (image, number), kept in chosen.items()
                ]
            )
            frames.append(answers.merge(described, on="question_id", validate="one_to_one"))
    return pd.concat(frames, ignore_index=True)


def usefulness_summary(rows: pd.DataFrame, *, resamples: int = 300) -> pd.DataFrame:
    """Accuracies, means of the predictors, and how predictors and accuracy go together.

    Columns score, keep, quantity, task, metric, estimate, low, high, images. quantity "accuracy" has a row per task and
    one for "mean"; "mean" is the mean of the predictor `metric`; "spearman" is the rank correlation over images of
    `metric` with the share of right answers, both averaged over an image's questions. Score "all" pools the scores:
    there a unit is an image under a score. `resamples` is for the intervals of correlations.
    """
    accuracy = accuracy_by(rows, ["score", "keep"]).assign(quantity="accuracy").drop(columns="questions")
    described = means(rows, ["score", "keep"], PREDICTORS).assign(quantity="mean")
    numbers = ["correct", *PREDICTORS]
    by_image = rows.astype({"correct": float}).groupby(["score", "keep", "image_id"], sort=False)[numbers].mean()
    units = by_image.reset_index()
    pools = [(key, part) for key, part in units.groupby(["score", "keep"], sort=False)]
    pools += [(("all", keep), part) for keep, part in units.groupby("keep", sort=False)]
    ranks = []
    for (score, keep), part in pools:
        for name in PREDICTORS:
            known = part[part[name].notna()]
            if known["image_id"].nunique() > 1:
                found = correlation(known[name], known["correct"], known["image_id"], resamples=resamples)
                label = {"score": score, "keep": keep, "quantity": "spearman", "metric": name}
                ranks.append(label | found | {"images": known["image_id"].nunique()})
    table = pd.concat([accuracy, described, pd.DataFrame(ranks)], ignore_index=True)
    return table[["score", "keep", "quantity", "task", "metric", "estimate", "low", "high", "images"]]


class ImageScores:
    """Scores of one image's visual tokens by name, each float64 [question, token], and last-token attention averaged
    over layers and heads."""

    def __init__(self, scores: dict[str, Float64Array], last: Float64Array) -> None:
        self.scores, self.last = scores, last


def exam_scores(exam: Exam, image: int, layers: Sequence[int] = LAYERS) -> ImageScores:
    """CLS, last, text and equi attention of an image's questions; layers from 0, in the names from 1."""
    asked: Asked = exam.asked(image)
    cls = np.repeat(exam.encoded[image].evidence("cls")[None].astype(np.float64), len(asked.words), axis=0)
    rows = {
        "last": exam.attention(asked),
        "text": exam.attention(asked, asking="text"),
        "equi": exam.attention(asked, "equi"),
    }
    by_layer = {name: found.mean(2).double().cpu().numpy() for name, found in rows.items()}
    named = {f"{name}_{layer + 1}": found[:, layer] for layer in layers for name, found in by_layer.items()}
    return ImageScores({"cls": cls} | named, by_layer["last"].mean(1))


def top(score: Float64Array, keep: int) -> IntArray:
    """The `keep` tokens with the largest score, ascending; ties to the lowest index."""
    return np.sort(np.argsort(-score, kind="stable")[:keep])


def _kept(exam: Exam, ranked: ImageScores, score: str, image: int, number: int, keep: int, seed: int) -> IntArray:
    if score in ranked.scores:
        return top(ranked.scores[score][number], keep)
    tokens = replace(exam.encoded[image], seed=seed)
    return pruner(score).select(tokens.with_needed(exam.question(image, number).needed), keep)


def _described(
    exam: Exam, ranked: ImageScores, score: str, image: int, number: int, kept: IntArray
) -> dict[str, float]:
    tokens, needed = exam.encoded[image], exam.question(image, number).needed
    cls, last = tokens.evidence("cls").astype(np.float64), ranked.last[number]
    places = grid_positions(tokens.grid, len(tokens))[kept]
    own = ranked.scores.get(score)
    return {
        "needed_recall": float(np.isin(needed, kept).mean()) if len(needed) else np.nan,
        "cls_mass": float(cls[kept].sum() / cls.sum()),
        "last_mass": float(last[kept].sum() / last.sum()),
        "coverage": float(tokens.similarity[:, kept].max(1).mean()),
        "mean_index": float(kept.mean() / max(len(tokens) - 1, 1)),
        "spread": float(np.sqrt(np.square(places - places.mean(0)).sum(1).mean())),
        "gini": np.nan if own is None else float(gini(own[number])),
    }
