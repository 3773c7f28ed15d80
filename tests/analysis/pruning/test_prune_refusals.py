"""What `prune` refuses, in a sentence each, instead of computing something wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import BatchFeature

from analysis.models import Vlm
from analysis.pruning import prune
from analysis.pruning.pruners import Oracle, VisPruner

GREEDY: dict[str, Any] = {"max_new_tokens": 6, "do_sample": False}


@pytest.mark.parametrize("keep", [0, -3, 37, 700, 4.0, True])
def test_wrong_budget(tiny_vlm: Vlm, keep: Any) -> None:
    with (
        pytest.raises(ValueError, match=r"`keep` must be (an integer )?in \[1, 36\], got"),
        prune(tiny_vlm, "random", keep),
    ):
        pass


def test_unknown_names(tiny_vlm: Vlm) -> None:
    with pytest.raises(KeyError, match=r"did you mean 'fastervlm'\?"), prune(tiny_vlm, "fasterVLM", 3):
        pass
    with (
        pytest.raises(KeyError, match=r"did you mean 'compact'\?"),
        prune(tiny_vlm, "random", 3, position_ids="compac"),
    ):
        pass


def test_a_class_is_no_pruner(tiny_vlm: Vlm) -> None:
    with (
        pytest.raises(TypeError, match=r"`pruner` must be a pruner or its name, got .*: write VisPruner\(\)"),
        prune(tiny_vlm, VisPruner, 3),  # type: ignore[arg-type]
    ):
        pass


def test_nested_contexts(tiny_vlm: Vlm) -> None:
    with prune(tiny_vlm, "random", 3):
        with pytest.raises(RuntimeError, match="must not be nested"), prune(tiny_vlm.model, "random", 3):
            pass
        with pytest.raises(RuntimeError, match="must not be nested"), prune(tiny_vlm, "random", 3):
            pass
    with prune(tiny_vlm, "random", 3):
        pass


@pytest.mark.parametrize("needed", [None, [], np.zeros((0, 3), dtype=int)])
def test_oracle_without_ground_truth(tiny_vlm: Vlm, needed: Any) -> None:
    with pytest.raises(ValueError, match="pruner 'oracle' needs `needed`"), prune(tiny_vlm, Oracle(), 3, needed=needed):
        pass


@pytest.mark.parametrize("needed", [[1, 2], [[1.5]], [[[1], [2]]]])
def test_malformed_ground_truth(tiny_vlm: Vlm, needed: Any) -> None:
    with (
        pytest.raises(ValueError, match=r"`needed` must hold a list of token indices \(integers\), got"),
        prune(tiny_vlm, Oracle(), 3, needed=needed),
    ):
        pass


def test_ground_truth_as_an_array(tiny_vlm: Vlm, left_padded: BatchFeature) -> None:
    with prune(tiny_vlm, Oracle(), 3, needed=np.array([[1], [2], [3]])):
        pass


def test_ground_truth_for_another_number_of_prompts(any_vlm: Vlm, left_padded: BatchFeature) -> None:
    with (
        prune(any_vlm, Oracle(), 3, needed=[[1], [2]]),
        pytest.raises(ValueError, match="`needed` must hold one entry per prompt, got 2 for 3"),
    ):
        any_vlm.model(**left_padded)


def test_an_image_split_between_prompts(any_vlm: Vlm, left_padded: BatchFeature) -> None:
    ids = left_padded["input_ids"].clone()
    n = any_vlm.adapter.tokens(any_vlm.model)
    ids[0, (ids[0] == 3).nonzero()[0, 0]], ids[1, -1] = 9, 3
    text = rf"prompt 0 holds {n - 1} image placeholders, which is no whole number of the images that follow, of {n}"
    with prune(any_vlm, VisPruner(), 5), pytest.raises(ValueError, match=text):
        any_vlm.model(input_ids=ids, pixel_values=left_padded["pixel_values"])


def test_labels(any_vlm: Vlm, left_padded: BatchFeature) -> None:
    with prune(any_vlm, VisPruner(), 5), pytest.raises(ValueError, match="`labels` cannot be aligned"):
        any_vlm.model(**left_padded, labels=left_padded["input_ids"])


def test_embeddings_instead_of_ids(any_vlm: Vlm, left_padded: BatchFeature) -> None:
    embeds = any_vlm.model.get_input_embeddings()(left_padded["input_ids"])
    with (
        prune(any_vlm, VisPruner(), 5),
        pytest.raises(ValueError, match="got `inputs_embeds`: nothing marks the image"),
    ):
        any_vlm.model(inputs_embeds=embeds)


def test_placeholders_without_an_image(any_vlm: Vlm, left_padded: BatchFeature) -> None:
    with prune(any_vlm, VisPruner(), 5), pytest.raises(ValueError, match="neither `pixel_values` nor encoded images"):
        any_vlm.model(input_ids=left_padded["input_ids"])


def test_images_encoded_elsewhere(any_vlm: Vlm, left_padded: BatchFeature) -> None:
    outside = any_vlm.model.get_image_features(pixel_values=left_padded["pixel_values"])
    with (
        prune(any_vlm, VisPruner(), 5),
        pytest.raises(ValueError, match="must have been encoded inside the pruning context"),
    ):
        any_vlm.model(input_ids=left_padded["input_ids"], mm_encoder_outputs={"image": outside})


def test_static_cache(any_vlm: Vlm, left_padded: BatchFeature, single_prompts: list[BatchFeature]) -> None:
    for batch in (left_padded, single_prompts[0]):  # without padding `generate` makes no mask before the second step
        with prune(any_vlm, VisPruner(), 5), pytest.raises(ValueError, match="static caches are not supported"):
            any_vlm.model.generate(**batch, **GREEDY, cache_implementation="static", disable_compile=True)


def test_own_mask(any_vlm: Vlm, single_prompts: list[BatchFeature]) -> None:
    length = single_prompts[0]["input_ids"].shape[1]
    with prune(any_vlm, VisPruner(), 5), pytest.raises(ValueError, match="own masks are not supported"):
        any_vlm.model(**{**single_prompts[0], "attention_mask": torch.zeros(1, 1, length, length)})


@pytest.mark.parametrize("padded", [True, False])
def test_a_cache_of_an_earlier_generate_is_not_continued(
    any_vlm: Vlm, left_padded: BatchFeature, single_prompts: list[BatchFeature], padded: bool
) -> None:
    batch = left_padded if padded else single_prompts[0]
    with prune(any_vlm, VisPruner(), 5):
        first = any_vlm.model.generate(**batch, **GREEDY, return_dict_in_generate=True)
        ids = torch.cat([first.sequences, batch["input_ids"][:, -3:]], 1)
        mask = torch.cat([batch["attention_mask"], torch.ones_like(ids[:, batch["input_ids"].shape[1] :])], 1)
        with pytest.raises(ValueError, match="cannot be continued by counting them, as another `generate` does"):
            any_vlm.model.generate(input_ids=ids, attention_mask=mask, past_key_values=first.past_key_values, **GREEDY)


@torch.no_grad()
def test_image_after_a_filled_cache(any_vlm: Vlm, left_padded: BatchFeature) -> None:
    with prune(any_vlm, VisPruner(), 5):
        cache = any_vlm.model(**left_padded, use_cache=True).past_key_values
        with pytest.raises(ValueError, match="images must come with the first tokens"):
            any_vlm.model(**left_padded, past_key_values=cache)
