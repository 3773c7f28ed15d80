"""The checks of the required tokens and of FastV, against dropping tokens by hand."""

from itertools import islice

import numpy as np
import pytest
import torch

from analysis import evaluate, load
from analysis.evaluation import MiniVqa
from analysis.evaluation.gate import NeededAlone, WithoutNeeded, measure_fastv, measure_needed
from analysis.pruning.pruners import FastV
from analysis.pruning.tokens import VisualTokens
from analysis.study.run import EMBEDDED
from data.make.vocabulary import EOS, TASKS, TOKEN


@pytest.fixture(scope="module")
def vlm():
    return load(str(EMBEDDED))


def visual_tokens(needed):
    features = np.eye(6, dtype=np.float32)
    cls = np.ones(6, np.float32)
    return VisualTokens(features, features, (2, 3), cls, needed=np.array(needed, dtype=np.int64))


def test_the_two_choices_are_complements():
    tokens = visual_tokens([1, 4])
    assert NeededAlone().select(tokens, 3).tolist() == [1, 4]
    assert WithoutNeeded().select(tokens, 3).tolist() == [0, 2, 3, 5]
    absent = visual_tokens([])
    assert NeededAlone().select(absent, 3).tolist() == WithoutNeeded().select(absent, 3).tolist() == list(range(6))


def test_only_questions_with_evidence_are_counted(vlm):
    task = MiniVqa("validation")
    table = measure_needed(vlm, task, 4, progress=False).set_index("task")
    assert set(table.index) == set(TASKS)
    asked = [q for sample in islice(task, 4) for q in sample.questions if q.needed.size]
    for name in TASKS:
        assert table.loc[name, "questions"] == sum(q.task == name for q in asked)
    assert table.loc["exist_random", "prior"] == 1


def drop_by_hand(vlm, sample, question, keep):
    """Whether a question is answered when the least attended tokens are cut out of the sequence behind layer 2."""
    language, end = vlm.model.model.language_model, [TOKEN[EOS]]
    inputs = vlm.prepare([sample.image], [question.question])
    answer = [TOKEN[word] for word in question.answer.split()] + end
    tokens = torch.cat([inputs["input_ids"][0], torch.tensor(answer)])
    visual = (tokens == TOKEN["<image>"]).nonzero().flatten()
    embeds = language.embed_tokens(tokens)
    embeds[visual] = vlm.model.model.get_image_features(pixel_values=inputs["pixel_values"]).pooler_output[0]
    state, ids = embeds[None], torch.arange(len(tokens))[None]
    last, weights = len(tokens) - len(answer) - 1, torch.empty(0)
    for number, layer in enumerate(language.layers):
        if number == 2:
            score = weights[0].mean(0)[last, visual]
            cut = visual[score.argsort(descending=True, stable=True)[keep:]]
            stays = torch.ones(len(tokens), dtype=torch.bool)
            stays[cut] = False
            state, ids = state[:, stays], ids[:, stays]
        mask = torch.full((state.shape[1],) * 2, -1e9).triu(1)[None, None]
        positions = language.rotary_emb(state, ids)
        normed = layer.input_layernorm(state)
        mixed, weights = layer.self_attn(normed, position_embeddings=positions, attention_mask=mask)
        state = state + mixed
        state = state + layer.mlp(layer.post_attention_layernorm(state))
    found = vlm.model.lm_head(language.norm(state))[0, -len(answer) - 1 : -1].argmax(-1)
    return found.tolist() == answer


@torch.no_grad()
def test_fastv_equals_cutting_tokens_out(vlm):
    task = MiniVqa("validation")
    sample = next(iter(task))
    rows = evaluate(vlm, task, FastV(layer=2), keeps=(32, 8), images=1, position_ids="keep", progress=False)
    language = vlm.model.model.language_model
    for keep in (32, 8):
        answered = rows[(rows["pruner"] == "fastv") & (rows["keep"] == keep)].set_index("question_id")["correct"]
        language.set_attn_implementation("eager")
        cut = [drop_by_hand(vlm, sample, question, keep) for question in sample.questions]
        language.set_attn_implementation("sdpa")
        assert answered[[question.question_id for question in sample.questions]].tolist() == cut


def test_fastv_table_is_that_of_its_answers(vlm):
    task = MiniVqa("validation")
    table = measure_fastv(vlm, task, 2, (8,), progress=False).set_index("task")
    rows = evaluate(vlm, task, FastV(layer=2), (8,), images=2, position_ids="keep", progress=False)
    shares = rows.groupby(["pruner", "task"])["correct"].mean()
    for name in rows["task"].unique():
        assert table.loc[name, "full"] == pytest.approx(shares["none", name])
        assert table.loc[name, "lost"] == pytest.approx(shares["none", name] - shares["fastv", name])
        assert table.loc[name, "questions"] == ((rows["pruner"] == "none") & (rows["task"] == name)).sum()
    assert table.loc["mean", "estimate"] == pytest.approx(shares["fastv"].mean())
    assert table.loc["mean", "lost"] > 0
