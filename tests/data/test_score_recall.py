"""Recall of needed tokens by the scores of pruners, against those pruners themselves."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from analysis import load
from analysis.evaluation import MiniVqa
from analysis.pruning import encode_images
from analysis.study.run import EMBEDDED
from data.make.score_recall import score_recall
from solvers import rules


def test_recall_is_that_of_the_rules_that_follow_the_score():
    vlm, task = load(str(EMBEDDED)), MiniVqa("validation", images=3)
    table = score_recall(vlm, task, keeps=(64,), images=2)
    assert set(table["score"]) == {"cls", "significance", "words"}
    assert set(table["images"]) == {2}
    assert set(table["keep"]) == {64}
    found = {"cls": [], "significance": []}
    for sample in list(task)[:2]:
        inputs = vlm.prepare(sample.image, sample.questions[0].question)
        (tokens,) = encode_images(vlm, inputs["pixel_values"], ("cls", "attention_map"))
        kept = {"cls": rules.fastervlm(tokens.cls, 64), "significance": rules.fopru_rank(tokens.attention_map, 64)}
        for score, chosen in kept.items():
            needs = [question.needed for question in sample.questions if len(question.needed)]
            found[score] += [np.isin(needed, chosen).mean() for needed in needs]
    by_score = table.set_index("score")["estimate"]
    for score, shares in found.items():
        assert by_score[score] == pytest.approx(np.mean(shares), abs=1e-12)


def test_words_are_those_of_the_question_in_the_embedding_space():
    """The mean cosine with the words of each question, computed anew from the embedding table of the model."""
    vlm, task = load(str(EMBEDDED)), MiniVqa("validation", images=1)
    (row,) = score_recall(vlm, task, keeps=(32,), images=1).query("score == 'words'").to_dict("records")
    (sample,) = task
    table = vlm.model.get_input_embeddings().weight.detach()
    shares = []
    for question in sample.questions:
        if len(question.needed):
            inputs = vlm.prepare(sample.image, question.question)
            ids = inputs["input_ids"][0]
            last = int((ids == vlm.model.config.image_token_id).nonzero().max())
            (tokens,) = encode_images(vlm, inputs["pixel_values"], ("projected",))
            rows, words = torch.tensor(tokens.projected).double(), table[ids[last + 1 :]].double()
            cosines = torch.nn.functional.cosine_similarity(rows[:, None], words[None], dim=-1).mean(1)
            chosen = cosines.argsort(descending=True, stable=True)[:32].numpy()
            shares.append(np.isin(question.needed, chosen).mean())
    assert row["estimate"] == pytest.approx(np.mean(shares), abs=1e-6)
