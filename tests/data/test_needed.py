"""The checks of the required tokens and of FastV, against dropping tokens by hand."""

from itertools import islice

import numpy as np
import pytest
import torch

from analysis import evaluate, load
from analysis.evaluation import MiniVqa
from analysis.pruning.tokens import VisualTokens
from data.make import fastv
from data.make.gate import EMBEDDED
from data.make.needed import NeededAlone, WithoutNeeded, measure_needed
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
    table = measure_needed(vlm, task, 4).set_index("task")
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
    sample = next(iter(MiniVqa("validation")))
    for keep in (32, 8):
        batched = fastv.all_right(vlm, sample, keep)
        vlm.model.model.language_model.set_attn_implementation("eager")
        cut = [drop_by_hand(vlm, sample, question, keep) for question in sample.questions]
        vlm.model.model.language_model.set_attn_implementation("sdpa")
        assert batched == cut


def test_fastv_without_dropping_answers_as_the_model_does(vlm):
    table = fastv.measure_fastv(vlm, MiniVqa("validation"), 3).query("keep == 64").set_index("task")
    rows = evaluate(vlm, MiniVqa("validation"), [], images=3, progress=False)
    for task, correct in rows.groupby("task")["correct"]:
        assert table.loc[task, "full"] == pytest.approx(correct.mean())
        assert table.loc[task, "questions"] == len(correct)
        assert table.loc[task, "lost"] == pytest.approx(table.loc[task, "full"] - table.loc[task, "estimate"])
