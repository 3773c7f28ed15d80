"""The shipped instances: made by the shipped model from the shipped benchmark, again today."""

import json
from itertools import islice

import numpy as np
import pytest
from safetensors import safe_open

from analysis import load
from analysis.evaluation import MiniVqa
from data.make import instances as make
from solvers import instances


@pytest.fixture(scope="module")
def vlm():
    return load(str(make.MODEL))


@pytest.fixture(scope="module")
def samples():
    return list(islice(iter(MiniVqa()), make.IMAGES + make.MOSAIC))


def assert_same(made, shipped):
    """Equal up to what another processor may do to the last bits of a float32 before it becomes a float16."""
    np.testing.assert_allclose(made.features, shipped.features, rtol=2e-3, atol=0.02)
    np.testing.assert_array_equal(made.queries, shipped.queries)
    assert set(made.signals) == set(shipped.signals)
    for name, values in shipped.signals.items():
        np.testing.assert_allclose(made.signals[name], values, rtol=2e-3, atol=1e-4)
    assert (made.grid, made.id) == (shipped.grid, shipped.id)


def test_the_model_gives_the_shipped_tokens_again(vlm, samples):
    assert_same(make.picture_problem(vlm, samples[0], with_map=True), instances.load("mini_vqa_000"))
    assert_same(make.picture_problem(vlm, samples[7], with_map=False), instances.load("mini_vqa_007"))


def test_the_mosaic_is_an_overview_and_four_pictures(vlm, samples):
    shipped = instances.load("mosaic_000")
    assert_same(make.mosaic_problem(vlm, samples[make.IMAGES :]), shipped)
    third = make.picture_problem(vlm, samples[make.IMAGES + 2], with_map=False)
    np.testing.assert_allclose(shipped.features[3 * 576 : 4 * 576], third.features, rtol=2e-3, atol=0.02)
    assert shipped.groups.tolist() == np.repeat(range(5), 576).tolist()


def test_headers_name_the_shipped_model_and_benchmark(vlm, samples):
    for number, name in enumerate(instances.names()):
        with safe_open(make.FOLDER / f"{name}.safetensors", framework="numpy") as file:
            about = json.loads(file.metadata()["instance"])["about"]
        assert (about["model"], about["benchmark"]) == (vlm.config_hash, MiniVqa().checksum)
        assert about["question"] == samples[number].questions[0].question


def test_the_map_that_most_files_leave_out_can_be_added(vlm, samples):
    bare = instances.load("mini_vqa_007")
    full = make.with_attention_map(vlm, bare, samples[7])
    assert full.signals["attention_map"].shape == (576, 576)
    np.testing.assert_array_equal(full.features, bare.features)
    assert full.id == bare.id
