"""A batch picks what single images pick, on threads, on tensors and on the device; bad batches say what is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import solvers
from solvers import DppMap, FacilityLocation, Greedy, LogDet, MaxMin, Problem, Saliency, select_batch
from solvers.batch_on_device import select

SINGLE = {FacilityLocation: Greedy(), LogDet: DppMap(), MaxMin: Greedy()}
OBJECTIVES = [FacilityLocation(), LogDet(), LogDet(ridge=0.1), MaxMin(), MaxMin("chord")]
each_objective = pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda objective: objective.name)


def gram(seed, n, dim, kind="normal"):
    """Cosines [token, token] in float64."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, dim)) + 0.3
    if kind == "duplicates":
        rows[n // 2 :] = rows[: n - n // 2]
    elif kind == "identical":
        rows[:] = rows[0]
    return Problem.from_features(rows, 1).similarity


def batches():
    yield "normal", np.stack([gram(seed, 24, 40) for seed in range(32)]), 9
    yield "wide", np.stack([gram(seed, 24, 40) for seed in range(4)]).astype(np.float32), 24
    yield "duplicates", np.stack([gram(seed, 21, 40, "duplicates") for seed in range(5)]), 15
    yield "identical", np.stack([gram(seed, 7, 3, "identical") for seed in range(3)]), 7
    yield "orthogonal", np.stack([np.eye(6), 2.0 * np.eye(6)]), 4
    yield "one token", np.ones((3, 1, 1)), 1
    yield "integers", np.stack([3 * np.eye(4, dtype=np.int64) + 1] * 2), 3


each_batch = pytest.mark.parametrize(("batch", "keep"), [pytest.param(b, k, id=name) for name, b, k in batches()])


def one_by_one(batch, keep, objective):
    solver = SINGLE[type(objective)]
    return [solver.solve(Problem.from_similarity(image, keep), objective).selected.tolist() for image in batch]


@each_objective
@each_batch
def test_picks_are_those_of_each_image_alone(objective, batch, keep):
    expected = one_by_one(batch, keep, objective)
    for threads in (1, 2, 3):
        for _ in range(2):
            picks = select_batch(batch, keep, objective, threads=threads)
            assert picks.dtype == np.int64
            assert picks.tolist() == expected
    assert [select_batch(image[None], keep, objective)[0].tolist() for image in batch] == expected
    assert select_batch(batch, keep, objective, check=False).tolist() == expected


@each_objective
@each_batch
def test_the_device_picks_the_same(objective, batch, keep):
    tensor = torch.from_numpy(batch)
    picks = select(tensor, keep, objective, check=True)
    assert picks.dtype == torch.int64
    assert picks.tolist() == select_batch(batch, keep, objective).tolist()
    assert select(tensor, keep, objective, check=False).tolist() == picks.tolist()


def test_slices_of_a_batch_on_the_device_change_nothing(monkeypatch):
    batch = torch.from_numpy(np.stack([gram(seed, 16, 20) for seed in range(7)]))
    for objective in OBJECTIVES:
        whole = select(batch, 5, objective, check=True)
        with monkeypatch.context() as patch:
            patch.setattr("solvers.batch_on_device.CHUNK_BYTES", 3 * 8 * 16 * 16)
            assert select(batch, 5, objective, check=True).tolist() == whole.tolist()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@each_objective
@each_batch
def test_a_cuda_tensor_stays_where_it_is(objective, batch, keep):
    picks = select_batch(torch.from_numpy(batch).cuda(), keep, objective)
    assert picks.device.type == "cuda"
    assert picks.tolist() == select_batch(batch, keep, objective).tolist()


class CountedReads(torch.overrides.TorchFunctionMode):
    """Counts how often a value or a shape that depends on one is read from a tensor, where a GPU would have to wait."""

    READS = ("item", "tolist", "cpu", "__bool__", "__int__", "__float__", "numpy", "nonzero", "__index__", "unique")

    def __init__(self):
        super().__init__()
        self.reads = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.reads += getattr(func, "__name__", "") in self.READS
        return func(*args, **(kwargs or {}))


@each_objective
def test_the_device_is_not_waited_for_between_picks(objective):
    batch = torch.from_numpy(np.stack([gram(seed, 16, 20) for seed in range(3)]))
    reads = []
    for keep in (1, 12):
        with CountedReads() as counted:
            select(batch, keep, objective, check=True)
        reads.append(counted.reads)
    assert reads[0] == reads[1] <= 3
    with CountedReads() as counted:
        bool(batch.any())
    assert counted.reads == 1


@each_objective
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_lower_precision_is_read_exactly(objective, dtype):
    batch = np.stack([0.5 * np.eye(12) + 0.5 * gram(seed, 12, 30) for seed in range(3)]).astype(dtype)
    expected = one_by_one(batch, 5, objective)
    assert select_batch(batch, 5, objective).tolist() == expected
    tensor = torch.from_numpy(batch)
    chosen = select_batch(tensor, 5, objective)
    assert isinstance(chosen, torch.Tensor)
    assert chosen.dtype == torch.int64
    assert chosen.tolist() == select(tensor, 5, objective, check=True).tolist() == expected
    brain = tensor.to(torch.bfloat16)
    assert select_batch(brain, 5, objective).tolist() == one_by_one(brain.double().numpy(), 5, objective)


def test_any_layout_is_read_and_none_is_written():
    batch = np.stack([gram(seed, 12, 30) for seed in range(4)])
    kept = batch.copy()
    expected = select_batch(batch, 5).tolist()
    assert select_batch(np.asfortranarray(batch), 5).tolist() == expected
    assert select_batch(np.repeat(batch, 2, axis=0)[::2], 5).tolist() == expected
    assert select_batch(torch.from_numpy(batch).requires_grad_(), 5).tolist() == expected
    assert (batch == kept).all()


@each_objective
def test_small_asymmetry_is_averaged_out(objective):
    batch = np.stack([gram(seed, 12, 30) for seed in range(3)])
    batch += 1e-8 * np.random.default_rng(0).normal(size=batch.shape)
    expected = one_by_one(batch, 5, objective)
    assert select_batch(batch, 5, objective).tolist() == expected
    assert select(torch.from_numpy(batch), 5, objective, check=True).tolist() == expected


def test_negative_similarity_covers_nothing():
    batch = np.stack([gram(seed, 12, 3) for seed in range(3)])
    assert (batch < -0.5).any()
    assert select_batch(batch, 5).tolist() == select_batch(np.maximum(batch, 0.0), 5).tolist()
    assert select_batch(-np.ones((2, 4, 4)), 3).tolist() == [[0, 1, 2]] * 2
    assert select(-torch.ones((2, 4, 4)), 3, FacilityLocation(), check=True).tolist() == [[0, 1, 2]] * 2


def test_an_empty_batch_has_no_picks():
    for objective in OBJECTIVES:
        assert select_batch(np.empty((0, 5, 5)), 2, objective, threads=2).shape == (0, 2)
        assert select(torch.empty((0, 5, 5)), 2, objective, check=True).shape == (0, 2)


def spoiled(image, row, column, value, symmetric=True):
    batch = np.stack([gram(seed, 6, 12) for seed in range(4)])
    batch[image, row, column] = value
    if symmetric:
        batch[image, column, row] = value
    return batch


BAD = [
    (spoiled(2, 1, 3, np.nan), LogDet(), "image 2: `similarity` must be finite, got 2 NaN or infinite of 36 values"),
    (spoiled(1, 2, 2, -np.inf), MaxMin(), "image 1: `similarity` must be finite, got 1 NaN or infinite of 36 values"),
    (
        spoiled(3, 0, 5, 5.0, symmetric=False),
        FacilityLocation(),
        r"image 3: `similarity` must be symmetric, got a largest asymmetry of \d",
    ),
    (
        spoiled(1, 0, 5, 3.0),
        LogDet(),
        r"image 1: the similarity must be positive semidefinite \(up to ridge 1e-06\) for a log-determinant",
    ),
    (
        np.full((2, 3, 3), 1e-40),
        FacilityLocation(),
        r"image 0: the largest similarity must lie in \[1e-30, 1e\+30\], got 1e-40",
    ),
]


@pytest.mark.parametrize(("batch", "objective", "text"), BAD, ids=lambda part: part if isinstance(part, str) else "")
def test_a_bad_image_is_named(batch, objective, text):
    for threads in (1, 2):
        with pytest.raises(ValueError, match=f"^{text}"):
            select_batch(batch, 3, objective, threads=threads)
    with pytest.raises(ValueError, match=f"^{text}"):
        select(torch.from_numpy(batch), 3, objective, check=True)


def test_arguments_are_checked():
    batch = np.stack([np.eye(4)] * 2)
    for keep in (0, 5, True, 2.0):
        with pytest.raises(ValueError, match=rf"`keep` must be in \[1, 4\], got {keep}"):
            select_batch(batch, keep)
    for shape in ((4, 4), (2, 4, 3), (2, 0, 0)):
        with pytest.raises(ValueError, match=r"`similarity` must have shape \[image, token, token\], got \("):
            select_batch(np.ones(shape), 1)
    for wrong in (batch.astype(complex), torch.from_numpy(batch).to(torch.complex64)):
        with pytest.raises(ValueError, match=r"`similarity` must be an array of real numbers, got dtype .*complex"):
            select_batch(wrong, 1)
    for threads in (0, 1.5, True):
        with pytest.raises(ValueError, match=f"`threads` must be an integer of at least 1, got {threads}"):
            select_batch(batch, 1, threads=threads)
    known = r"`objective` must be FacilityLocation\(\), LogDet\(\) without a signal, or MaxMin\(\), got "
    for objective, name in ((Saliency(), "'Saliency'"), (LogDet("cls"), r"'LogDet\(signal="), ("dpp", "'dpp'")):
        with pytest.raises(ValueError, match=known + name):
            select_batch(batch, 1, objective)


def test_threads_leave_forked_processes_usable():
    code = (
        "import multiprocessing, numpy as np, solvers\n"
        "batch = np.stack([np.eye(5)] * 4)\n"
        "here = solvers.select_batch(batch, 3, threads=2)\n"
        "with multiprocessing.get_context('fork').Pool(1) as pool:\n"
        "    there = pool.apply(solvers.select_batch, (batch, 3), {'threads': 2})\n"
        "print((here == there).all())\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(solvers.__file__).parents[1])}
    if not hasattr(os, "fork"):
        pytest.skip("there is no fork here")
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert (done.stdout.strip(), done.returncode) == ("True", 0), done.stderr
