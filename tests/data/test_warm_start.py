"""The warm start of siblings: what is copied, what is folded, what starts from nothing."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from data.make.batches import make_batch
from data.make.model import PREFIX, Size, Trainee, build_model, pixel_values
from data.make.train import Phase, Recipe, Trainer, save_checkpoint
from data.make.trainees import new_trainee
from data.make.warm_start import warm_start

SMALL = Size(32, 3, 2, 32, 3, 2)
SIGLIP = replace(SMALL, tower="siglip")


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """A model with CLS whose first normalisation is no identity, and the folder that holds it."""
    torch.manual_seed(0)
    trainee = Trainee(build_model(SMALL), grounding_layer=2)
    norm = trainee.model.model.vision_tower.pre_layrnorm
    torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
    torch.nn.init.normal_(norm.bias)
    folder = tmp_path_factory.mktemp("origin")
    trainee.model.save_pretrained(folder)
    return trainee.eval(), folder


def started(folder, seed=1):
    torch.manual_seed(seed)
    trainee = Trainee(build_model(SIGLIP), grounding_layer=2)
    warm_start(trainee, folder)
    return trainee.eval()


@torch.no_grad()
def test_a_patch_of_mean_deviation_is_embedded_as_by_the_origin(origin):
    one, folder = origin
    tower, batch = one.model.model.vision_tower, make_batch(np.random.default_rng(5), 2, 24, questions=0)
    raw = tower.embeddings(pixel_values(batch.images))[:, 1:]
    deviation = raw.var(-1, correction=0, keepdim=True).sqrt()
    bias = tower.pre_layrnorm.bias
    folded = started(folder)._embed(batch) - bias
    exact = tower.pre_layrnorm(raw) - bias
    # equal but for one factor per patch, its deviation over the common one
    common = (exact * deviation).norm(dim=-1) / folded.norm(dim=-1)
    assert common.std() < 1e-3 * common.mean()
    torch.testing.assert_close(folded * common.mean(), exact * deviation, atol=1e-3, rtol=1e-3)
    assert deviation.min() < common.mean() < deviation.max()


def test_what_both_have_is_copied(origin):
    one, folder = origin
    given, copied = one.model.state_dict(), started(folder).model.state_dict()
    new = {name for name in copied if name not in given}
    changed = {name for name in copied if name in given and not torch.equal(given[name], copied[name])}
    embeddings = "model.vision_tower.embeddings"
    assert new == {f"{embeddings}.patch_embedding.bias"}
    assert changed == {f"{embeddings}.patch_embedding.weight", f"{embeddings}.position_embedding.weight"}


def test_the_start_draws_nothing_and_its_heads_answer_nothing(origin):
    _, folder = origin
    one, other = (started(folder, seed).state_dict() for seed in (1, 2))
    for name, value in one.items():
        assert torch.equal(value, other[name]), name
        assert name.startswith("model.") or not value.any(), name


def test_a_run_starts_warm_and_resumes_what_it_trained(origin, tmp_path):
    _, folder = origin
    recipe = Recipe(SIGLIP, (Phase("windows", 1.0, (8,), 400, (1e-3, 1e-3)),), start=str(folder))
    first = Trainer(recipe, tmp_path)
    for name, value in started(folder).model.state_dict().items():
        assert torch.equal(first.trainee.model.state_dict()[name], value), name
    with torch.no_grad():
        first.trainee.kind.weight.fill_(1.0)
    save_checkpoint(first.path, first.trainee, first.optimiser, first.progress)
    assert (Trainer(recipe, tmp_path).trainee.kind.weight == 1.0).all()


@torch.no_grad()
def test_the_whole_picture_keeps_its_positions_when_crops_are_seen(origin):
    one, folder = origin
    trainee = new_trainee(replace(SMALL, tiles=3))
    warm_start(trainee, folder)
    given, copied = one.model.state_dict(), trainee.model.state_dict()
    positions = "model.vision_tower.embeddings.position_embedding.weight"
    changed = {name for name in copied if name not in given or not torch.equal(given[name], copied[name])}
    assert changed == {positions, "model.image_newline"}
    table = given[positions][1:].reshape(24, 24, -1)
    assert torch.equal(copied[positions][0], given[positions][0])
    torch.testing.assert_close(copied[positions][1 + 8 * 2 + 5], table[6:9, 15:18].mean((0, 1)))
    before = given["model.language_model.embed_tokens.weight"][PREFIX[-1]]
    assert torch.equal(copied["model.image_newline"], before)
    assert not any(value.any() for name, value in trainee.state_dict().items() if not name.startswith("model."))


def test_a_trainee_like_the_folder_is_refused(origin):
    with pytest.raises(ValueError, match="`trainee` must have a tower without CLS or see crops"):
        warm_start(Trainee(build_model(SMALL), grounding_layer=2), origin[1])


@pytest.mark.parametrize("size", [replace(SIGLIP, vision_layers=2), replace(SIGLIP, text_width=64)])
def test_another_size_is_refused(origin, size):
    with pytest.raises(ValueError, match="`folder` must hold a model of the trainee's widths and depths, model"):
        warm_start(Trainee(build_model(size), grounding_layer=2), origin[1])
