"""The trainee that sees crops: what it packs is what the stock model packs, before and after pruning."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers import AutoProcessor

from data.make.batches import make_batch
from data.make.export import largest_difference, save_folder
from data.make.model import Size, Weights
from data.make.pruned import Pruning
from data.make.scene import GRID
from data.make.tiled import Packing, TiledTrainee
from data.make.trainees import new_trainee

SMALL = Size(32, 3, 2, 32, 3, 2, tiles=3)
SIDE = 8


@pytest.fixture
def trainee():
    torch.manual_seed(0)
    made = new_trainee(SMALL)
    made.grounding_layer = 2
    return made.eval()


@pytest.fixture
def batch():
    return make_batch(np.random.default_rng(3), 2, GRID, questions=6)


def stock_features(trainee, batch):
    """What the stock model puts at the placeholders of each image [image, placeholder, width]."""
    sizes = torch.tensor([[192, 192]] * len(batch.images))
    made = trainee.model.model.get_image_features(trainee.pictures(batch.images), sizes)
    return torch.stack(list(made.pooler_output))


def test_each_token_of_the_grid_is_where_its_crop_says():
    packing = Packing(3)
    crops = torch.arange(9 * 64).reshape(1, 9, 64, 1)
    rows = packing.raster(crops)[0, :, 0].reshape(GRID, GRID)
    for crop in range(9):
        top, left = SIDE * (crop // 3), SIDE * (crop % 3)
        assert torch.equal(rows[top : top + SIDE, left : left + SIDE].ravel(), crops[0, crop, :, 0])


def test_a_token_of_the_whole_picture_shows_a_square_of_the_grid():
    squares = Packing(3).squares(torch.arange(GRID**2)[None])[0].reshape(SIDE, SIDE, 9)
    grid = torch.arange(GRID**2).reshape(GRID, GRID)
    for row, col in ((0, 0), (3, 7), (7, 2)):
        assert torch.equal(squares[row, col], grid[3 * row : 3 * row + 3, 3 * col : 3 * col + 3].ravel())


@torch.no_grad()
def test_what_is_packed_is_what_the_stock_model_packs(trainee, batch):
    visual, places, placeholders = trainee._visual(trainee.see(batch)[0], batch)
    expected = stock_features(trainee, batch)
    assert placeholders == expected.shape[1] == 664
    assert torch.equal(places, torch.arange(664).expand(2, -1))
    torch.testing.assert_close(visual, expected, atol=1e-5, rtol=0)


@torch.no_grad()
def test_pruned_tokens_are_those_of_the_stock_model_at_their_places(trainee):
    batch = make_batch(np.random.default_rng(4), 2, GRID, questions=6, pruning=Pruning(90))
    visual, places, _ = trainee._visual(trainee.see(batch)[0], batch)
    assert visual.shape[1] == places.shape[1] == 10 + 90
    assert (places.diff() > 0).all()
    expected = stock_features(trainee, batch).gather(1, places[..., None].expand_as(visual))
    torch.testing.assert_close(visual, expected, atol=1e-5, rtol=0)
    index = places[:, 10:] - 64
    assert torch.equal(index // 25 * 24 + index % 25, batch.kept)
    held = torch.zeros(2, GRID**2).scatter(1, batch.kept, 1.0).reshape(2, 1, GRID, GRID)
    worth = F.avg_pool2d(held, 3).flatten(1)
    for image in range(2):
        kept, left = worth[image, places[image, :10]], np.setdiff1d(np.arange(64), places[image, :10])
        assert kept.min() >= worth[image, left].max()


def test_exported_folder_answers_as_it_was_trained(trainee, batch, tmp_path):
    save_folder(trainee, tmp_path)
    assert largest_difference(tmp_path, trainee, batch) < 1e-4


@torch.no_grad()
def test_pictures_are_those_of_the_stock_processor(trainee, batch, tmp_path):
    save_folder(trainee, tmp_path)
    made = AutoProcessor.from_pretrained(tmp_path).image_processor(list(batch.images.numpy()), return_tensors="pt")
    assert made["image_sizes"].tolist() == [[192, 192]] * 2
    torch.testing.assert_close(trainee.pictures(batch.images), made["pixel_values"], atol=1e-6, rtol=0)


def test_every_loss_has_a_gradient(trainee, batch):
    losses, right = trainee.train()(batch, Weights())
    losses["loss"].backward()
    assert right.shape == batch.task.shape
    assert [n for n, p in trainee.named_parameters() if p.grad is None or not p.grad.abs().sum()] == []


def test_dense_labels_of_the_whole_picture_are_the_majority_of_what_is_shown(trainee):
    """Heads that say the label itself: the loss is 0 exactly where the features hold the right one."""
    kind = torch.zeros(1, GRID, GRID, dtype=torch.int64)
    kind[0, :3, :3] = torch.tensor([[0, 0, 0], [0, 5, 0], [2, 2, 0]])  # two patches of kind 2, one of kind 5
    blank = torch.zeros(1, GRID**2, dtype=torch.int64)
    labels = SimpleNamespace(
        kind=kind.flatten(1), color=blank, digit=blank, anchor=torch.zeros(1, GRID**2), images=torch.zeros(1)
    )
    width = trainee.kind.in_features
    with torch.no_grad():
        for head in (trainee.color, trainee.digit, trainee.anchor):
            head.weight.zero_()
            head.bias.fill_(-50.0)
            head.bias[0] = -50.0 if head is trainee.anchor else 50.0
        trainee.kind.weight.copy_(50.0 * torch.eye(trainee.kind.out_features, width))
        trainee.kind.bias.zero_()
    whole = torch.zeros(64, dtype=torch.int64)
    whole[0] = 2
    features = F.one_hot(torch.cat([labels.kind[0], whole]), width).float()[None]
    assert trainee._dense_loss(features, labels) < 1e-6
    features[0, GRID**2] = F.one_hot(torch.tensor(5), width).float()
    assert trainee._dense_loss(features, labels) > 1.0


def test_other_windows_are_refused(trainee):
    with pytest.raises(ValueError, match="crops need pictures of 24 x 24 patches, got 8 x 8"):
        trainee.see(make_batch(np.random.default_rng(2), 1, 8, questions=0))


def test_crops_must_fit_the_grid():
    with pytest.raises(ValueError, match="`tiles` must divide 24, got 5"):
        Packing(5)


def test_a_size_says_which_trainee():
    assert isinstance(new_trainee(SMALL), TiledTrainee)
    assert type(new_trainee(replace(SMALL, tiles=1))).__name__ == "Trainee"
