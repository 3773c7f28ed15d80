"""The shipped sibling that sees crops: a stock LLaVA-NeXT, pruned tile by tile, whose tiles show what is in them."""

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoProcessor, LlavaNextForConditionalGeneration

from analysis import load, prune
from analysis.evaluation import MiniVqa
from analysis.models import LlavaNextAdapter
from analysis.pruning import encode_images
from data.make.sibling import evidence_map
from data.make.siblings.next import NEXT
from data.make.siblings.sibling import ORIGIN

MEASURED, EVIDENCE = pd.read_csv(NEXT.table()), pd.read_csv(NEXT.table("evidence"))


@pytest.fixture(scope="module")
def vlm():
    return load(str(NEXT.folder))


@pytest.fixture(scope="module")
def sample():
    return next(iter(MiniVqa("validation")))


@pytest.fixture(scope="module")
def inputs(vlm, sample):
    return vlm.prepare(sample.image, sample.questions[0].question)


def test_it_is_a_stock_llava_next_of_three_by_three_crops(vlm, inputs):
    model = LlavaNextForConditionalGeneration.from_pretrained(NEXT.folder, local_files_only=True)
    processor = AutoProcessor.from_pretrained(NEXT.folder, local_files_only=True)
    assert model.config.image_grid_pinpoints == processor.image_processor.image_grid_pinpoints == [[192, 192]]
    assert isinstance(vlm.adapter, LlavaNextAdapter)
    assert vlm.adapter.has_cls
    (layout,) = vlm.adapter.layouts(vlm.model, inputs)
    assert [tile.grid for tile in layout.tiles] == [(8, 8)] * 10
    assert [tile.at for tile in layout.tiles] == [None, *((row, col) for row in range(3) for col in range(3))]
    assert (layout.tokens, layout.patches, len(layout.separators)) == (664, 640, 24)
    assert (inputs["input_ids"] == model.config.image_token_index).sum() == 664


@torch.no_grad()
def test_the_map_of_evidence_is_that_of_the_crops_put_together(vlm, inputs):
    found = evidence_map(vlm, inputs).reshape(24, 24)
    tiles = encode_images(vlm, inputs["pixel_values"], ("cls",), image_sizes=inputs["image_sizes"])
    for crop in range(9):
        row, col = divmod(crop, 3)
        own = tiles[1 + crop].evidence("cls").reshape(8, 8)
        np.testing.assert_array_equal(found[8 * row : 8 * row + 8, 8 * col : 8 * col + 8], own)


@pytest.mark.parametrize("name", ["hired", "vispruner"])
def test_every_tile_gets_its_share(vlm, inputs, name):
    with prune(vlm, name, 160) as log:
        vlm.model(**inputs)
    (kept,) = log.kept
    whole = kept < 64
    rows, columns = np.divmod(kept[~whole] - 64, 25)
    assert len(kept) == 160
    assert (columns < 24).all(), "newlines are no tokens of a tile"
    crops = np.bincount(rows // 8 * 3 + columns // 8, minlength=9)
    if name == "vispruner":
        assert whole.sum() == 16
        assert (crops == 16).all()
    else:
        assert whole.sum() > 0
        assert len(set(crops.tolist())) > 1


def test_crops_find_what_answers_need_and_rules_beat_chance():
    at = EVIDENCE[EVIDENCE["model"] == NEXT.model].set_index("keep")
    assert at.at[64, "low"] > 3 * 64 / 576
    mean = MEASURED[MEASURED["task"] == "mean"].set_index(["model", "pruner", "keep"])
    for name in ("fastervlm", "hired", "divprune"):
        assert mean.at[(NEXT.model, name, 64), "low"] > mean.at[(NEXT.model, "random", 64), "high"]
    assert set(MEASURED["model"]) == {NEXT.model, ORIGIN}
