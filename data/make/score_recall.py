"""Which of the tokens that an answer needs the scores of pruners rank first, for the comparison of trainings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import torch

from analysis.causes import usefulness
from analysis.causes.tables import means
from analysis.evaluation import MiniVqa
from analysis.evaluation.prompts import tokenise
from analysis.models import Vlm
from analysis.pruning import VisualTokens, encode_images
from analysis.pruning.pruners.features import relevance
from solvers.arrays import Float64Array
from solvers.rules.fopru import significance

KEEPS = (64, 32)
IMAGES = 100


def score_recall(vlm: Vlm, task: MiniVqa, keeps: Sequence[int] = KEEPS, images: int = IMAGES) -> pd.DataFrame:
    """How many of the tokens an answer needs each score ranks among the first `keep`, over the first `images`.

    Scores, of the feature block: "cls", the CLS row (FasterVLM, VisPruner); "significance", mean attention received or,
    where that varies more, given (FoPru); "words", mean cosine of a projected token with the question's words in the
    embedding space of the language model (CDPruner; GreedyPrune takes the mean of the words).

    Returns
    -------
    pandas.DataFrame
        A row per score and budget: model, score, keep, metric, estimate, low, high, images. The mean is over
        questions; those that need no token are left out.
    """
    rows = []
    for sample, _ in zip(task, range(images), strict=False):
        inputs = vlm.prepare(sample.image, sample.questions[0].question)
        (tokens,) = encode_images(vlm, inputs["pixel_values"], ("cls", "projected", "attention_map"))
        words = _words(vlm, [question.question for question in sample.questions])
        for question, embedded in zip(sample.questions, words, strict=True):
            if len(question.needed):
                for score, values in _scores(tokens.asked(embedded)).items():
                    for keep in keeps:
                        found = np.isin(question.needed, usefulness.top(values, keep)).mean()
                        row = {"score": score, "keep": keep, "image_id": sample.image_id, "needed_recall": found}
                        rows.append(row)
    return means(pd.DataFrame(rows).assign(model=vlm.id), ["model", "score", "keep"], ["needed_recall"])


def _words(vlm: Vlm, questions: Sequence[str]) -> Iterator[np.ndarray]:
    embedding = vlm.adapter.embedding(vlm.model)
    for prompt in tokenise(vlm, questions):
        with torch.no_grad():
            yield embedding(torch.tensor(prompt.after, device=vlm.device)).float().cpu().numpy()


def _scores(tokens: VisualTokens) -> dict[str, Float64Array]:
    return {
        "cls": tokens.evidence("cls").astype(np.float64),
        "significance": significance(tokens.evidence("attention_map")),
        "words": relevance(tokens.unit, tokens.evidence("text")),
    }
