"""The shipped sibling without CLS: it loads, it answers, and pruners get what each token receives on average."""

import copy
from itertools import islice

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoProcessor, LlavaForConditionalGeneration

from analysis import load
from analysis.evaluation import MiniVqa
from analysis.models import SiglipLlavaAdapter
from analysis.pruning import encode_images, pruners
from data.make.sibling import needed_recall
from data.make.siblings.siglip import SIGLIP

FOLDER, SIBLING = SIGLIP.folder, SIGLIP.model
MEASURED, EVIDENCE = pd.read_csv(SIGLIP.table()), pd.read_csv(SIGLIP.table("evidence"))


@pytest.fixture(scope="module")
def vlm():
    return load(str(FOLDER))


@pytest.fixture(scope="module")
def pixels(vlm):
    samples = islice(MiniVqa("validation"), 3)
    return torch.cat([vlm.prepare(sample.image, sample.questions[0].question)["pixel_values"] for sample in samples])


def test_it_is_a_stock_llava_without_cls(vlm):
    model = LlavaForConditionalGeneration.from_pretrained(FOLDER, local_files_only=True)
    processor = AutoProcessor.from_pretrained(FOLDER, local_files_only=True)
    vision = model.config.vision_config
    assert vision.model_type == "siglip_vision_model"
    assert not vision.vision_use_head
    assert (vision.image_size // vision.patch_size) ** 2 == model.config.image_seq_length == 576
    assert model.config.vision_feature_select_strategy == processor.vision_feature_select_strategy == "full"
    assert processor.num_additional_image_tokens == 0
    assert isinstance(vlm.adapter, SiglipLlavaAdapter)
    assert vlm.adapter.has_cls is False


@torch.no_grad()
def test_pruners_get_the_column_mean_of_the_feature_block(vlm, pixels):
    eager = copy.deepcopy(vlm.model)
    eager.set_attn_implementation("eager")
    maps = eager.model.vision_tower(pixels, output_attentions=True).attentions[-2].mean(1)
    for tokens, received in zip(encode_images(vlm, pixels), maps.mean(1).numpy(), strict=True):
        np.testing.assert_allclose(tokens.evidence("cls"), received, atol=2e-6)
        first = np.argsort(-tokens.evidence("cls"), kind="stable")[:64]
        for follower in (pruners.VisPruner(important_ratio=1.0), pruners.FasterVLM()):
            np.testing.assert_array_equal(follower.select(tokens, 64), np.sort(first))


def test_recall_counts_needed_tokens_among_the_first(vlm):
    task = MiniVqa("validation", images=2)
    found = needed_recall(vlm, task, (64, 576)).set_index("keep")["estimate"]
    shares = []
    for sample in task:
        tokens = encode_images(vlm, vlm.prepare(sample.image, "where ?")["pixel_values"])[0]
        rank = np.empty(576, dtype=int)
        rank[np.argsort(-tokens.evidence("cls"), kind="stable")] = np.arange(576)
        shares += [(rank[q.needed] < 64).mean() for q in sample.questions if len(q.needed)]
    assert found[64] == pytest.approx(np.mean(shares))
    assert found[576] == 1.0


def test_the_column_mean_finds_what_answers_need():
    """The reason for this model: without CLS the evidence must still be far better than chance, 64 of 576."""
    at = EVIDENCE[EVIDENCE["model"] == SIBLING].set_index("keep")
    assert at.at[64, "low"] > 3 * 64 / 576
    mean = MEASURED[MEASURED["task"] == "mean"].set_index(["model", "pruner", "keep"])
    assert mean.at[(SIBLING, "vispruner", 64), "low"] > mean.at[(SIBLING, "random", 64), "high"]
