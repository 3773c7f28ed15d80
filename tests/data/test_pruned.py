"""Pruned training batches: promised evidence stays, what is gone is not asked, the model sees what is kept."""

import numpy as np
import pytest
import torch

from data.make.batches import anchors, make_batch
from data.make.model import PREFIX, Size, Trainee, build_model
from data.make.pruned import Pruning, keep_some
from data.make.questions import ask
from data.make.scene import PATCH, render


@pytest.fixture(scope="module")
def asked():
    rng = np.random.default_rng(21)
    scenes = [render(rng) for _ in range(30)]
    return [(scene, ask(scene, rng)) for scene in scenes]


def needed(scene, question):
    return {int(p) for item in question.evidence for p in scene.patches_of(item)}


def test_promised_evidence_stays_whole_as_long_as_it_fits(asked):
    rng = np.random.default_rng(0)
    for scene, questions in asked:
        kept, left = keep_some(scene, questions, Pruning(64, promised=1.0, foreground=0.0), rng)
        assert len(kept) == 64
        first = next(q for q in questions if len(needed(scene, q)) <= 64)
        assert needed(scene, first) <= set(kept.tolist())
        assert first in left


def test_no_question_is_asked_whose_evidence_is_gone(asked):
    rng = np.random.default_rng(1)
    dropped = 0
    for scene, questions in asked:
        kept, left = keep_some(scene, questions, Pruning(48, promised=0.0), rng)
        seen = set(kept.tolist())
        for question in left:
            for item in question.evidence:
                patches = scene.patches_of(item)
                assert scene.anchor_of(item) in seen
                share = len(seen & set(patches.tolist())) / len(patches)
                assert share == 1 if item.kind == "sign" else share >= 0.5
        dropped += len(questions) - len(left)
        assert all(question in left for question in questions if not question.evidence)
    assert dropped > 100


def test_undecided_questions_are_asked_on_demand(asked):
    rng = np.random.default_rng(2)
    for scene, questions in asked[:5]:
        assert keep_some(scene, questions, Pruning(8, undecided=True), rng)[1] == questions


def test_foreground_comes_first_when_it_is_fully_preferred(asked):
    scene, questions = asked[0]
    shown = {int(p) for item in scene.items for p in scene.patches_of(item)}
    share = [
        len(shown & set(keep_some(scene, questions, Pruning(64, 0.0, preference), rng)[0].tolist())) / 64
        for rng in map(np.random.default_rng, range(20))
        for preference in (0.0, 50.0)
    ]
    assert np.mean(share[1::2]) > np.mean(share[0::2]) + 0.3


def test_more_tokens_than_there_are_keep_all(asked):
    scene, questions = asked[1]
    kept, left = keep_some(scene, questions, Pruning(1000), np.random.default_rng(0))
    assert kept.tolist() == list(range(576))
    assert left == questions


def test_an_anchor_shows_its_item_and_is_the_nearest_to_its_centre(asked):
    for scene, _ in asked:
        for item in scene.items:
            anchor, patches = scene.anchor_of(item), scene.patches_of(item)
            assert anchor in patches
            row, col = int(item.y // PATCH), int(item.x // PATCH)
            centre_patch = row * 24 + col
            if item.y % PATCH and item.x % PATCH and centre_patch in patches:
                assert anchor == centre_patch


def test_the_masses_of_objects_sum_to_their_number_and_lie_on_their_patches(asked):
    for scene, _ in asked:
        masses = anchors(scene)
        assert masses.sum() == pytest.approx(len(scene.of("object")), abs=0.02)
        for item in scene.of("object"):
            patches = scene.patches_of(item)
            assert masses[patches].sum() == pytest.approx(1, abs=0.02)
            centre = np.average(patches // 24 + 0.5, weights=masses[patches]) * PATCH
            assert abs(centre - item.y) < 9


@torch.no_grad()
def test_a_pruned_batch_equals_the_full_one_with_the_rest_hidden():
    """Against attention masks: hiding the dropped tokens from a model that is given all of them, at the same ids."""
    torch.manual_seed(0)
    trainee = Trainee(build_model(Size(32, 3, 2, 32, 3, 2)), grounding_layer=2).eval()
    batch = make_batch(np.random.default_rng(3), 1, 24, questions=1, pruning=Pruning(40, 1.0))
    features, _ = trainee.see(batch)
    pruned = trainee.read(features, batch, renumber=False)[0][0, 0]
    language = trainee.model.model.language_model
    prefix = language.embed_tokens(torch.tensor(PREFIX))[None]
    words = language.embed_tokens(batch.tokens[:, 0])
    inputs = torch.cat([prefix, trainee.model.model.multi_modal_projector(features), words], 1)
    hidden = torch.ones(inputs.shape[1], dtype=torch.bool)
    hidden[batch.kept[0] + len(PREFIX)] = False
    hidden[: len(PREFIX)] = hidden[len(PREFIX) + 576 :] = False
    mask = torch.full((inputs.shape[1],) * 2, -1e9).triu(1).masked_fill(hidden, -1e9)[None, None]
    whole = language(inputs_embeds=inputs, attention_mask=mask, use_cache=False).last_hidden_state
    torch.testing.assert_close(pruned, whole[0, -len(pruned) :], atol=2e-5, rtol=0)


@torch.no_grad()
def test_renumbered_ids_are_those_of_compact_pruning():
    """Against a plain forward pass over the kept tokens, which numbers them without gaps."""
    torch.manual_seed(0)
    trainee = Trainee(build_model(Size(32, 3, 2, 32, 3, 2)), grounding_layer=2).eval()
    batch = make_batch(np.random.default_rng(3), 1, 24, questions=1, pruning=Pruning(40, 1.0))
    features, _ = trainee.see(batch)
    read = trainee.read(features, batch, renumber=True)[0][0, 0]
    language = trainee.model.model.language_model
    kept = trainee.model.model.multi_modal_projector(features[:, batch.kept[0]])
    parts = [torch.tensor(PREFIX), batch.tokens[0, 0]]
    inputs = torch.cat([language.embed_tokens(parts[0])[None], kept, language.embed_tokens(parts[1])[None]], 1)
    plain = language(inputs_embeds=inputs, use_cache=False).last_hidden_state
    torch.testing.assert_close(read, plain[0, -len(read) :], atol=2e-5, rtol=0)
