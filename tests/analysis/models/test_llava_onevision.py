"""The LLaVA-OneVision adapter against the stock model, with and without shrinking.

The tower here makes 4 x 4 tokens of a picture, so that under a limit of one picture the 6 x 8 tokens which are left of
an image of 90 x 110 come on a grid of 3 x 4: 48 tokens instead of 16, hence a ratio of 1.73 to a side.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate
from transformers import LlavaOnevisionForConditionalGeneration, PreTrainedModel

from analysis.capture import ClsRow, MeanReceived, record
from analysis.models import LlavaOnevisionAdapter, Vlm, adapter_for, load
from analysis.pruning import AbstractPruner, encode_images, prune
from analysis.pruning.encode import Encoded
from analysis.pruning.pruners import FasterVLM, FoPruRank, Pooling, UniformGrid

from ..pruning.families import FAMILIES, IMAGE, VIDEO, crops, llava_onevision, noise

ONEVISION = next(family for family in FAMILIES if family.name == "llava_onevision")
ADAPTER = LlavaOnevisionAdapter()


def vlm_of(model: PreTrainedModel) -> Vlm:
    return Vlm(model, None, adapter_for(model), "tiny", None, "")


@pytest.fixture
def vlm() -> Vlm:
    return vlm_of(ONEVISION.model())


@pytest.fixture(scope="module")
def shrinking() -> Vlm:
    """The same weights, and a limit that every image exceeds."""
    model = copy.deepcopy(ONEVISION.model())
    model.config.vision_aspect_ratio = "anyres_max_1"
    return vlm_of(model)


@pytest.fixture
def batch(shrinking: Vlm) -> dict[str, Any]:
    """A prompt about image 2, with as many placeholders as are left."""
    ids = torch.tensor([[1, 9, *[IMAGE] * (16 + 3 * 5), 12, 31, 7]])
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), **crops([[2]])}


def encoded_images(vlm: Vlm, needs: set[str], images: dict[str, Any]) -> Encoded:
    images = dict(images)
    return encode_images(vlm, images.pop("pixel_values"), needs, **images)


def stitched(values: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Values of 2 x 2 crops [crop, 16, dim] side by side, the first and the last row cut away, interpolated."""
    parts = values.reshape(2, 2, 4, 4, -1)
    whole = torch.cat([torch.cat([parts[row, column] for column in (0, 1)], 1) for row in (0, 1)], 0)[1:7]
    small = interpolate(whole.permute(2, 0, 1)[None], (height, width), mode="bilinear")
    return small[0].permute(1, 2, 0).reshape(height * width, -1)


def test_parts(vlm: Vlm) -> None:
    assert isinstance(vlm.adapter, LlavaOnevisionAdapter)
    assert not vlm.adapter.has_cls
    assert vlm.adapter.feature_layer(vlm.model) == 3
    assert len(vlm.adapter.vision_layers(vlm.model)) == 4
    with pytest.raises(ValueError, match="the grid of 'llava_onevision' depends on the picture"):
        vlm.adapter.grid(vlm.model)


@torch.no_grad()
@pytest.mark.parametrize("size", [(100, 60), (56, 112), (90, 110), (50, 120), (300, 20)])
def test_layout_places_the_tokens_of_the_stock_model(vlm: Vlm, size: tuple[int, int]) -> None:
    base: Any = vlm.model.base_model
    inputs = {"pixel_values": noise(0, 1, 5, 3, 56, 56), "image_sizes": torch.tensor([size])}
    stock = base.get_image_features(**inputs, return_dict=True).pooler_output[0]
    pictures = torch.stack(ADAPTER.pictures(vlm.model, inputs))
    states = base.vision_tower(pictures, output_hidden_states=True).hidden_states[-1]
    tokens = base.multi_modal_projector(states)
    layout = ADAPTER.layouts(vlm.model, inputs)[0]
    assert len(stock) == layout.tokens
    for tile in layout.tiles:
        assert torch.equal(stock[tile.places], tokens[tile.view][tile.sources])
        assert not tile.resampled
    assert all(torch.equal(stock[place], base.image_newline) for place in layout.separators)


@torch.no_grad()
def test_images_that_share_a_prompt_are_not_cropped(vlm: Vlm) -> None:
    base: Any = vlm.model.base_model
    images = {**crops([(0, 1, 2)]), "batch_num_images": torch.tensor([2, 1])}
    stock = base.get_image_features(**images, return_dict=True).pooler_output
    layouts = ADAPTER.layouts(vlm.model, images)
    assert [len(layout.tiles) for layout in layouts] == [1, 1, 5]
    assert [layout.tokens for layout in layouts] == [17, 17, 70] == [len(part) for part in stock]
    assert [layout.separators.tolist() for layout in layouts[:2]] == [[16], [16]]
    assert [tile.view for layout in layouts for tile in layout.tiles] == list(range(7))
    assert len(encoded_images(vlm, {"cls"}, images)) == 7


def test_prompts_with_cropped_and_whole_images(vlm: Vlm) -> None:
    several, one = [1, 9, *[IMAGE] * 17, 5, *[IMAGE] * 17, 12], [1, 7, *[IMAGE] * 70, 12]
    ids = torch.tensor([[0] * (len(one) - len(several)) + several, one])
    images = {**crops([(0, 1), (2,)]), "batch_num_images": torch.tensor([2, 1])}
    options: dict[str, Any] = {"max_new_tokens": 3, "do_sample": False, "output_logits": True}
    options["return_dict_in_generate"] = True
    batch = {"input_ids": ids, "attention_mask": (ids != 0).long(), **images, **options}
    stock = vlm.model.generate(**batch)
    with prune(vlm, UniformGrid(), 0.9999):
        whole = vlm.model.generate(**batch)
    assert torch.equal(whole.sequences, stock.sequences)
    assert all(torch.equal(a, b) for a, b in zip(whole.logits, stock.logits, strict=True))
    with prune(vlm, UniformGrid(), 5) as log:
        pruned = vlm.model.generate(**batch)
    assert [len(kept) for kept in log.kept] == [10, 5]
    alone = {"input_ids": ids[1:], "attention_mask": torch.ones_like(ids[1:]), **crops([[2]])}
    with prune(vlm, UniformGrid(), 5):
        single = vlm.model.generate(**alone, **options)
    for a, b in zip(pruned.logits, single.logits, strict=True):
        torch.testing.assert_close(a[1], b[0], atol=1e-4, rtol=1e-4)


# many crops, shrunk together ------------------------------------------------------------


def test_crops_that_are_shrunk_are_one_tile(shrinking: Vlm) -> None:
    images = crops([(0, 1, 2)])
    layouts = ADAPTER.layouts(shrinking.model, images)
    grids = [[(tile.view, tile.grid, tile.resampled, tile.at) for tile in layout.tiles] for layout in layouts]
    whole, part = ((4, 4), False, None), (3, 4)
    assert grids[2] == [(grids[2][0][0], *whole), (grids[2][0][0] + 1, part, True, (0, 0))]
    assert [layout.tiles[-1].resampled for layout in layouts] == [True, True, True]
    assert {layout.tiles[-1].crops for layout in layouts} == {(1, 1)}
    assert layouts[2].tokens == 16 + 3 * 5
    assert layouts[2].separators.tolist() == [20, 25, 30]
    assert layouts[2].tiles[1].places.tolist() == [16, 17, 18, 19, 21, 22, 23, 24, 26, 27, 28, 29]


@torch.no_grad()
def test_what_is_seen_of_them_is_interpolated(shrinking: Vlm) -> None:
    images = crops([[2]])
    base: Any = shrinking.model.base_model
    encoded = encoded_images(shrinking, {"features", "cls", "keys", "last_keys"}, images)
    stock = base.get_image_features(**images, return_dict=True).pooler_output[0]
    pictures = images["pixel_values"][0]
    eager: Any = ONEVISION.model("eager").base_model.vision_tower
    seen = eager(pictures, output_hidden_states=True, output_attentions=True)
    states, received = seen.hidden_states[-1], seen.attentions[-1].mean((1, 2))
    tokens = base.multi_modal_projector(states)
    torch.testing.assert_close(
        stock[encoded.layouts[0].tiles[1].places], stitched(tokens[1:], 3, 4), atol=1e-3, rtol=1e-3
    )
    np.testing.assert_allclose(encoded[1].features, stitched(states[1:], 3, 4), atol=1e-3, rtol=1e-3)
    np.testing.assert_allclose(encoded[1].evidence("cls"), stitched(received[1:], 3, 4)[:, 0], atol=1e-5)
    np.testing.assert_allclose(encoded[0].evidence("cls"), received[0], atol=1e-5)
    assert encoded[1].evidence("keys").shape == (12, 8)
    assert encoded[1].evidence("last_keys").shape == (12, 32)
    assert encoded[0].key != encoded[1].key


@torch.no_grad()
@pytest.mark.parametrize("entry", [FasterVLM(), UniformGrid(), Pooling()], ids=lambda entry: entry.name)
def test_pruning_what_was_shrunk(shrinking: Vlm, batch: dict[str, Any], entry: AbstractPruner) -> None:
    with prune(shrinking, entry, 8, position_ids="compact") as log:
        logits = shrinking.model(**batch).logits
        generated = shrinking.model.generate(**batch, max_new_tokens=3, do_sample=False)
    assert len(log.kept[0]) == 8
    assert not {20, 25, 30} & set(log.kept[0].tolist())
    assert logits.shape[1] == batch["input_ids"].shape[1] - 31 + 8
    assert generated.shape[1] == batch["input_ids"].shape[1] + 3


@torch.no_grad()
def test_merging_what_was_shrunk_takes_what_the_model_made(shrinking: Vlm, batch: dict[str, Any]) -> None:
    seen: dict[str, Any] = {}
    language_model = ADAPTER.language_model(shrinking.model)
    with prune(shrinking, Pooling(), 8, position_ids="keep"):
        hook = language_model.register_forward_pre_hook(lambda _, args, options: seen.update(options), with_kwargs=True)
        shrinking.model(**batch)
        hook.remove()
    encoded = encoded_images(shrinking, {"features"}, crops([[2]]))
    features = encoded.features[0].reshape(4, 4, -1)
    shrunk = encoded.projected[0][encoded.layouts[0].tiles[1].places].reshape(3, 4, -1)
    cells = [features[row : row + 2, column : column + 2].mean((0, 1)) for row in (0, 2) for column in (0, 2)]
    whole = ADAPTER.project(shrinking.model, torch.stack(cells))
    parts = torch.stack(
        [shrunk[row : row + 2, column : column + 2].mean((0, 1)) for row in (0, 1) for column in (0, 2)]
    )
    expected = torch.cat([whole, parts])
    torch.testing.assert_close(seen["inputs_embeds"][0, 2:10], expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_there_is_no_attention_among_them(shrinking: Vlm, batch: dict[str, Any]) -> None:
    refused = pytest.raises(
        ValueError, match="shrinks the 4 crops of image 0 to a coarser grid: there is no `attention_map`"
    )
    with prune(shrinking, FoPruRank(), 8), refused:
        shrinking.model(**batch)


# recording, loading, refusals ------------------------------------------------------------


@torch.no_grad()
def test_recorded_attention_is_that_of_each_crop(vlm: Vlm) -> None:
    batch = ONEVISION.batch(2)
    with record(vlm, received=MeanReceived(heads=True)) as log:
        vlm.model(**batch)
    tower: Any = ONEVISION.model("eager").base_model.vision_tower
    maps = torch.stack(tower(batch["pixel_values"][0], output_attentions=True).attentions, 1)
    torch.testing.assert_close(log.received, maps.mean(3), atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match="needs a vision encoder with a CLS token"), record(vlm, cls=ClsRow()):
        pass


def test_videos(vlm: Vlm) -> None:
    ids = torch.tensor([[1, 9, *[IMAGE] * 70, *[VIDEO] * 5, 12]])
    with prune(vlm, UniformGrid(), 8), pytest.raises(ValueError, match="videos are not supported while pruning"):
        vlm.model(input_ids=ids, **crops([[2]]), pixel_values_videos=noise(0, 1, 1, 3, 56, 56))


def test_a_saved_configuration_leaves_out_defaults(tmp_path: Path) -> None:
    LlavaOnevisionForConditionalGeneration(llava_onevision()).save_pretrained(tmp_path)
    with pytest.raises(OSError, match=r"the processor of .* cannot be read"):  # the model itself was
        load(tmp_path)
    assert ADAPTER.refusal({}) is None
    assert ADAPTER.refusal({"vision_feature_select_strategy": "default"}) == (
        "`vision_feature_select_strategy` must be 'full' (there is no CLS to drop), got 'default'"
    )
    assert ADAPTER.refusal({"vision_config": {"model_type": "clip_vision_model"}}) == (
        "its vision tower must be 'siglip_vision_model', got 'clip_vision_model'"
    )
