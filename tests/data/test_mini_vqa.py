"""The shipped benchmark: what the generator makes today, complete, and as its card says."""

import hashlib
import io
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from analysis.evaluation.tasks.mini_vqa import KNOBS
from data.make.benchmark import FOLDER, SPLITS, make_split
from data.make.vocabulary import TASKS

CARD = (FOLDER / "README.md").read_text()


@pytest.fixture(scope="module", params=sorted(SPLITS))
def split(request):
    return request.param, pd.read_parquet(FOLDER / f"{request.param}.parquet")


def test_the_generator_makes_the_shipped_questions(split):
    name, shipped = split
    made = make_split(3, SPLITS[name][1])
    first = shipped.iloc[: len(made)]
    for column in ("image_id", "question_id", "question", "answer", "task", *KNOBS):
        assert first[column].tolist() == made[column].tolist()
    assert [list(needed) for needed in first["needed"]] == made["needed"].tolist()
    for stored, rendered in zip(first["image"], made["image"], strict=True):
        pixels = (np.asarray(Image.open(io.BytesIO(png))) for png in (stored, rendered))
        np.testing.assert_array_equal(*pixels)


def test_every_image_is_192_pixels_and_every_task_occurs(split):
    _, frame = split
    assert set(frame["task"]) == set(TASKS)
    assert frame["question_id"].is_unique
    assert not frame.duplicated(["image_id", "task", "question"]).any()
    for png in frame.drop_duplicates("image_id")["image"].iloc[:20]:
        assert Image.open(io.BytesIO(png)).size == (192, 192)


def test_needed_tokens_are_ascending_raster_indices(split):
    _, frame = split
    for needed in frame["needed"]:
        assert np.all(np.diff(needed) > 0)
        assert len(needed) == 0 or (needed[0] >= 0 and needed[-1] < 576)
    absent = frame[frame["task"].str.startswith("exist") & (frame["answer"] == "no")]
    assert absent["needed"].map(len).eq(0).all()


def test_splits_share_no_picture():
    pictures = [set(pd.read_parquet(FOLDER / f"{name}.parquet")["image"]) for name in SPLITS]
    assert not set.intersection(*pictures)


def test_test_split_is_large_enough():
    frame = pd.read_parquet(FOLDER / "test.parquet")
    assert frame["image_id"].nunique() >= 1000
    assert len(frame) >= 12000


def test_card_states_priors_and_checksums_of_the_files():
    frame = pd.read_parquet(FOLDER / "test.parquet")
    for task, rows in frame.groupby("task"):
        prior = rows["answer"].value_counts(normalize=True).iloc[0]
        assert re.search(rf"^\| {task} \| {len(rows)} \| {prior:.3f} \|", CARD, flags=re.MULTILINE)
    for name in SPLITS:
        assert hashlib.sha256((FOLDER / f"{name}.parquet").read_bytes()).hexdigest() in CARD
