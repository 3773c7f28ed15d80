"""The trainer: packed questions equal single prompts, a resumed run equals an uninterrupted one."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from data.make.alone import alone
from data.make.batches import IGNORE, make_batch
from data.make.export import largest_difference, save_folder
from data.make.history import phase_table
from data.make.model import PREFIX, Size, Trainee, Weights, build_model
from data.make.train import (
    Optimiser,
    Phase,
    Progress,
    Recipe,
    Trainer,
    draw,
    load_checkpoint,
    save_checkpoint,
)
from data.make.vocabulary import IMAGE, TOKEN

SMALL = Size(32, 3, 2, 32, 3, 2)


@pytest.fixture(params=["clip", "siglip"])
def trainee(request):
    torch.manual_seed(0)
    return Trainee(build_model(replace(SMALL, tower=request.param)), grounding_layer=2).eval()


@torch.no_grad()
def test_packed_forward_equals_a_prompt_per_question(trainee):
    batch = make_batch(np.random.default_rng(3), 2, 24, questions=6)
    features, _ = trainee.see(batch)
    packed = trainee.model.lm_head(trainee.read(features, batch, renumber=False)[0])
    pixels = (batch.images.permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.25
    for image, number in torch.nonzero(batch.task >= 0).tolist():
        last = int((batch.targets[image, number] != IGNORE).nonzero()[0])
        question = batch.tokens[image, number, : last + 1]
        ids = torch.cat([torch.tensor(PREFIX), torch.full((576,), TOKEN[IMAGE]), question])[None]
        alone = trainee.model(input_ids=ids, pixel_values=pixels[image : image + 1]).logits[0, -1]
        torch.testing.assert_close(packed[image, number, last], alone, atol=2e-5, rtol=0)


@torch.no_grad()
def test_renumbered_ids_change_a_window_but_not_the_full_grid(trainee):
    for window, same in ((24, True), (8, False)):
        batch = make_batch(np.random.default_rng(1), 1, window, questions=2)
        features, _ = trainee.see(batch)
        kept, renumbered = (trainee.read(features, batch, renumber=flag)[0] for flag in (False, True))
        assert torch.equal(kept, renumbered) is same


def test_window_features_use_the_positions_of_the_full_grid(trainee):
    batch = make_batch(np.random.default_rng(2), 3, 8, questions=0)
    rows, cols = batch.index // 24, batch.index % 24
    assert (rows[:, -1] - rows[:, 0] == 7).all()
    assert (cols[:, 7] - cols[:, 0] == 7).all()
    assert len({tuple(row) for row in batch.index.tolist()}) > 1, "offsets are drawn per image"


def test_every_loss_has_a_gradient(trainee):
    batch = make_batch(np.random.default_rng(0), 4, 8, questions=4)
    losses, right = trainee(batch, Weights())
    losses["loss"].backward()
    assert set(losses) == {"dense", "position", "totals", "answer", "named", "loss"}
    assert right.shape == batch.task.shape
    idle = [n for n, p in trainee.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    assert idle == []


RECIPE = Recipe(
    size=SMALL,
    phases=(
        Phase("vision", 1.0, (8,), 400, (3e-3, 3e-3), questions=0, weights=Weights(answer=0, named=0)),
        Phase("questions", 1.0, (8,), 400, (3e-3, 1e-3), questions=4, renumber=0.5),
    ),
    bfloat16=False,
)


def run_steps(trainer, count):
    phase = trainer.recipe.phases[1]
    for _ in range(count):
        trainer._step(phase, draw(trainer.recipe, phase, 1, trainer.progress.step))


def test_resumed_training_equals_uninterrupted(tmp_path):
    whole = Trainer(RECIPE, tmp_path / "whole")
    run_steps(whole, 4)
    first = Trainer(RECIPE, tmp_path / "halves")
    run_steps(first, 2)
    save_checkpoint(first.path, first.trainee, first.optimiser, first.progress)
    second = Trainer(RECIPE, tmp_path / "halves")
    assert second.progress.step == 2
    run_steps(second, 2)
    for (name, one), (_, other) in zip(
        whole.trainee.state_dict().items(), second.trainee.state_dict().items(), strict=True
    ):
        torch.testing.assert_close(one, other, msg=name)


def test_a_run_finishes_its_phases_and_logs(tmp_path):
    quick = replace(RECIPE, phases=tuple(replace(p, minutes=0.01) for p in RECIPE.phases))
    trainer = Trainer(quick, tmp_path)
    trainer.run()
    assert trainer.progress.phase == 2
    kinds = [json.loads(line)["kind"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert kinds.count("score") == 2
    table = phase_table(tmp_path / "log.jsonl")
    assert table["phase"].tolist() == ["vision", "questions"]
    assert table["step"].is_monotonic_increasing
    assert table[["mean", "mean needed@64", "mean random@64"]].stack().between(0, 1).all()


def test_a_second_run_in_the_folder_is_refused_and_leaves_it_alone(tmp_path):
    trainer = Trainer(RECIPE, tmp_path)
    with alone(tmp_path), pytest.raises(RuntimeError, match="one training at a time"):
        trainer.run()
    assert trainer.progress.step == 0
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_steps_end_a_phase_whatever_the_clock_says(tmp_path):
    phases = tuple(replace(phase, minutes=0.0, steps=steps) for phase, steps in zip(RECIPE.phases, (2, 3), strict=True))
    trainer = Trainer(replace(RECIPE, phases=phases), tmp_path)
    trainer.run()
    assert (trainer.progress.step, trainer.progress.begun) == (5, 5)
    assert Progress(step=4, begun=2).share(phases[1]) == pytest.approx(2 / 3)
    assert Progress(spent=30.0).share(replace(phases[0], minutes=2.0, steps=None)) == pytest.approx(0.25)


def test_pruned_steps_keep_log_uniform_numbers_of_tokens():
    phase = replace(RECIPE.phases[1], windows=(12,), pruned=0.5, least_kept=9)
    recipe = replace(RECIPE, phases=(phase,))
    kept = [draw(recipe, phase, 0, step).kept.shape[1] for step in range(60)]
    assert 0.3 < np.mean([number == 144 for number in kept]) < 0.7
    dropped = [number for number in kept if number < 144]
    assert min(dropped) >= 9
    assert 20 < np.exp(np.mean(np.log(dropped))) < 65  # the middle of 9 and 144 on a log scale is 36


def test_checkpoint_keeps_progress_and_optimiser(tmp_path, trainee):
    optimiser = Optimiser(trainee)
    trainee(make_batch(np.random.default_rng(0), 2, 8, questions=2), Weights())[0]["loss"].backward()
    optimiser.step(1e-3)
    save_checkpoint(
        tmp_path / "c.safetensors", trainee, optimiser, Progress(phase=1, spent=2.5, step=7, means={"a": 1.0})
    )
    fresh = Trainee(build_model(SMALL if trainee.has_cls else replace(SMALL, tower="siglip")), grounding_layer=2)
    again = Optimiser(fresh)
    assert vars(load_checkpoint(tmp_path / "c.safetensors", fresh, again)) == vars(
        Progress(phase=1, spent=2.5, step=7, means={"a": 1.0})
    )
    for name, tensor in optimiser.tensors().items():
        torch.testing.assert_close(again.tensors()[name], tensor, msg=name)


def test_unknown_recipe_names_the_known_ones():
    with pytest.raises(FileNotFoundError, match="`recipe` must be one of cpu, gpu, next, siglip, got 'tpu'"):
        Recipe.read("tpu")


@pytest.mark.parametrize(
    ("name", "tower", "start"), [("cpu", "clip", None), ("gpu", "clip", None), ("siglip", "siglip", "mini_llava")]
)
def test_shipped_recipes_read(name, tower, start):
    recipe = Recipe.read(name)
    assert sum(phase.minutes for phase in recipe.phases) <= 180
    assert recipe.size == Size(tower=tower)
    assert recipe.start == start
    assert all((phase.steps is None) == (name != "cpu") for phase in recipe.phases)
    for phase in recipe.phases:
        assert draw(recipe, replace(phase, tokens=1200), 0, 0).images.dtype == torch.uint8


def test_exported_folder_answers_as_the_trained_model(tmp_path, trainee):
    save_folder(trainee, tmp_path)
    batch = make_batch(np.random.default_rng(7), 1, 24, questions=4)
    assert largest_difference(tmp_path, trainee, batch) < 1e-4
