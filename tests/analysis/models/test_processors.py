"""Questions about pictures, from processor to answer, and checkpoints on disk, for several kinds of families."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from analysis.models import Vlm, load, wrap
from analysis.pruning import prune

from ..pruning import beside
from ..pruning.families import FAMILIES
from .processors import PROCESSORS

QUESTIONS = ["w5 w6", "w8"]
MODELS = {family.name: family.model for family in FAMILIES} | {"mllama": beside.model}

# The library's own processor of PaliGemma makes an array of a tensor.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
every_family = pytest.mark.parametrize("name", PROCESSORS)


def vlm_of(name: str) -> Vlm:
    return wrap(MODELS[name](), PROCESSORS[name]())


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 255, (height, 90, 3), dtype=np.uint8)) for height in (60, 80)]


@every_family
def test_prompts_of_several_images_are_answered_like_one_by_one(name: str, pictures: list[Image.Image]) -> None:
    vlm = vlm_of(name)
    shown = "any number of" if name == "mllama" else "{} x {}".format(*vlm.adapter.grid(vlm.model))
    assert f"{name}, {shown} visual tokens" in repr(vlm)
    inputs = vlm.prepare(pictures, QUESTIONS)
    assert "labels" not in inputs
    assert (inputs["attention_mask"][:, -1] == 1).all()
    with prune(vlm, "cdpruner", 3) as log:
        vlm.model(**inputs)
        assert all(len(kept) % 3 == 0 for kept in log.kept)
        together = vlm.answer(pictures, QUESTIONS, 3)
        alone = [vlm.answer(picture, question, 3) for picture, question in zip(pictures, QUESTIONS, strict=True)]
    assert together == alone


@every_family
def test_round_trip(name: str, pictures: list[Image.Image], tmp_path: Path) -> None:
    vlm = vlm_of(name)
    vlm.model.save_pretrained(tmp_path)
    vlm.processor.save_pretrained(tmp_path)
    again = load(tmp_path)
    assert type(again.adapter) is type(vlm.adapter)
    assert again.answer(pictures, QUESTIONS, 3) == vlm.answer(pictures, QUESTIONS, 3)
