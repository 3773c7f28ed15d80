"""The LLaVA-NeXT adapter against the stock model and against crops put together by hand.

The tower here makes 4 x 4 tokens of a picture. An image of 90 x 110 is cut into 2 x 2 crops; of its 8 x 8 tokens the
first and the last row are padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import LlavaNextForConditionalGeneration, LlavaNextImageProcessorPil, LlavaNextProcessor

from analysis.capture import ClsRow, LastRow, record
from analysis.models import LlavaNextAdapter, Vlm, adapter_for, load, wrap
from analysis.pruning import encode_images, prune
from analysis.pruning.pruners import FasterVLM, HiRED, UniformGrid, VisPruner
from solvers import rules

from ..pruning.families import FAMILIES, PINPOINTS, SIZES, crops, llava_next

NEXT = next(family for family in FAMILIES if family.name == "llava_next")
ATTENTION = ("cls", "first_cls", "attention_map")


@pytest.fixture
def vlm() -> Vlm:
    return Vlm(NEXT.model(), None, adapter_for(NEXT.model()), "tiny", None, "")


def layout_of(size: tuple[int, int], pinpoints: Sequence[list[int]] = PINPOINTS) -> Any:
    config = llava_next()
    config.image_grid_pinpoints = [*pinpoints]
    with torch.device("meta"):
        model = LlavaNextForConditionalGeneration(config)
    return LlavaNextAdapter().layouts(model, {"image_sizes": torch.tensor([size])})[0]


def test_parts(vlm: Vlm) -> None:
    adapter, model = vlm.adapter, vlm.model
    assert isinstance(adapter, LlavaNextAdapter)
    assert adapter.has_cls
    assert adapter.feature_layer(model) == 2
    assert (len(adapter.vision_layers(model)), len(adapter.text_layers(model))) == (4, 4)
    assert adapter.side(model) == 4
    for wanted in (adapter.grid, adapter.tokens):
        with pytest.raises(ValueError, match="the grid of 'llava_next' depends on the picture: how it is cut"):
            wanted(model)
    assert adapter.language_model(model.base_model) is adapter.language_model(model)
    assert repr(vlm) == "Vlm('tiny', llava_next, any number of visual tokens, )"


def test_layout_by_hand() -> None:
    layout = layout_of((90, 110))
    places = 16 + np.arange(6 * 9).reshape(6, 9)  # nine to a row: eight tokens and a newline
    assert layout.tokens == 70
    assert [(tile.view, tile.grid, tile.at) for tile in layout.tiles] == [
        (0, (4, 4), None),
        (1, (3, 4), (0, 0)),
        (2, (3, 4), (0, 1)),
        (3, (3, 4), (1, 0)),
        (4, (3, 4), (1, 1)),
    ]
    assert [tile.crops for tile in layout.tiles] == [None, *4 * [(2, 2)]]
    assert layout.separators.tolist() == places[:, 8].tolist()
    expected = [(np.arange(16), np.arange(16))]
    expected += [(np.arange(4, 16), places[:3, :4]), (np.arange(4, 16), places[:3, 4:8])]
    expected += [(np.arange(12), places[3:, :4]), (np.arange(12), places[3:, 4:8])]
    for tile, (sources, at) in zip(layout.tiles, expected, strict=True):
        np.testing.assert_array_equal(tile.sources, sources)
        np.testing.assert_array_equal(tile.places, at.ravel())


def test_crops_of_nothing_but_padding_are_no_tiles() -> None:
    middle = layout_of((100, 50), [[56, 168]])  # the image is two tokens wide and stands in the middle of three crops
    assert [(tile.view, tile.grid, tile.at) for tile in middle.tiles] == [(0, (4, 4), None), (2, (4, 2), (0, 1))]
    assert middle.tiles[1].crops == (1, 3)
    assert middle.tiles[1].sources.tolist() == [1, 2, 5, 6, 9, 10, 13, 14]
    thin = layout_of((300, 20))  # thinner than a token: newlines alone are left of its crops
    assert [tile.view for tile in thin.tiles] == [0]
    assert thin.separators.tolist() == [*range(16, 24)]


@torch.no_grad()
@pytest.mark.parametrize("size", [(100, 60), (56, 112), (90, 110), (50, 120), (300, 20), (112, 112), (40, 400)])
def test_layout_places_the_tokens_of_the_stock_model(vlm: Vlm, size: tuple[int, int]) -> None:
    base: Any = vlm.model.base_model
    pixels = torch.randn(1, 5, 3, 56, 56, generator=torch.Generator().manual_seed(0))
    inputs = {"pixel_values": pixels, "image_sizes": torch.tensor([size])}
    stock = base.get_image_features(**inputs, return_dict=True).pooler_output[0]
    layout, pictures = vlm.adapter.layouts(vlm.model, inputs)[0], vlm.adapter.pictures(vlm.model, inputs)
    states = base.vision_tower(torch.stack(pictures), output_hidden_states=True).hidden_states[-2][:, 1:]
    tokens = base.multi_modal_projector(states)
    assert len(stock) == layout.tokens
    for tile in layout.tiles:
        assert torch.equal(stock[tile.places], tokens[tile.view][tile.sources])
    assert all(torch.equal(stock[place], base.image_newline) for place in layout.separators)


@torch.no_grad()
def test_evidence_is_that_of_each_crop(vlm: Vlm) -> None:
    images = crops([(0, 1, 2)])
    encoded = encode_images(vlm, images["pixel_values"], ATTENTION, image_sizes=images["image_sizes"])
    pictures = torch.stack(vlm.adapter.pictures(vlm.model, images))
    assert len(pictures) == 5 + 3 + 5
    tower: Any = NEXT.model("eager").base_model.vision_tower
    maps = [layer.mean(1) for layer in tower(pictures, output_attentions=True).attentions]
    assert [layout.tiles[0].view for layout in encoded.layouts] == [0, 5, 8]
    tiles = [tile for layout in encoded.layouts for tile in layout.tiles]
    for tile, tokens in zip(tiles, encoded, strict=True):
        for name, layer in (("cls", 2), ("first_cls", 0)):
            row = maps[layer][tile.view, 0, 1:][tile.sources]
            np.testing.assert_allclose(tokens.evidence(name), row, atol=1e-5)
        among = maps[2][tile.view, 1:, 1:][tile.sources][:, tile.sources]
        np.testing.assert_allclose(tokens.attention_map, among, atol=1e-5)
        assert (tokens.at, tokens.crops) == (tile.at, tile.crops)


def test_pixels_crop_by_crop_encode_the_same(vlm: Vlm) -> None:
    images = crops([(0, 2)])
    flat = torch.stack(vlm.adapter.pictures(vlm.model, images))
    one, other = (
        encode_images(vlm, pixels, image_sizes=images["image_sizes"]) for pixels in (images["pixel_values"], flat)
    )
    assert [tokens.key for tokens in one] == [tokens.key for tokens in other]
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a.features, b.features)


# budgets of tiles, and newlines ------------------------------------------------------------


@torch.no_grad()
def test_tiles_share_the_budget_and_newlines_go(vlm: Vlm) -> None:
    batch = NEXT.batch(2)
    encoded = encode_images(vlm, batch["pixel_values"], {"cls"}, image_sizes=batch["image_sizes"])
    tiles = encoded.layouts[0].tiles
    shares = [3, 3, 2, 2, 2]
    each = [
        tile.places[FasterVLM().select(tokens, share)]
        for tile, tokens, share in zip(tiles, encoded, shares, strict=True)
    ]
    with prune(vlm, FasterVLM(), 12) as log:
        vlm.model(**batch)
    assert log.kept[0].tolist() == np.sort(np.concatenate(each)).tolist()
    with prune(vlm, FasterVLM(), 12, separators="keep") as log:
        logits = vlm.model(**batch).logits
    assert log.kept[0].tolist() == np.sort(np.concatenate([*each, encoded.layouts[0].separators])).tolist()
    assert logits.shape[1] == batch["input_ids"].shape[1] - 70 + 12 + 6


@torch.no_grad()
def test_tiles_together_are_one_picture(vlm: Vlm) -> None:
    batch = NEXT.batch(2)
    encoded = encode_images(vlm, batch["pixel_values"], {"cls"}, image_sizes=batch["image_sizes"])
    scores = np.concatenate([tokens.evidence("cls") for tokens in encoded])
    places = np.concatenate([tile.places for tile in encoded.layouts[0].tiles])
    with prune(vlm, FasterVLM(), 12, tiles="together") as log:
        vlm.model(**batch)
    assert log.kept[0].tolist() == np.sort(places[np.argsort(-scores, kind="stable")[:12]]).tolist()


@torch.no_grad()
@pytest.mark.parametrize("areas", ["squares", "runs"])
def test_hired_divides_its_budget_by_where_the_whole_image_is_looked_at(vlm: Vlm, areas: str) -> None:
    batch = NEXT.batch(2)
    encoded = encode_images(vlm, batch["pixel_values"], {"cls", "first_cls"}, image_sizes=batch["image_sizes"])
    tiles = encoded.layouts[0].tiles
    shares = rules.hired_quotas(
        encoded[0].evidence("first_cls"), (4, 4), (2, 2), 21, sizes=[len(tile) for tile in tiles], areas=areas
    )
    assert len(set(shares[1:].tolist())) > 1  # not the equal shares of other pruners
    chosen = [
        tile.places[rules.hired(tokens.evidence("cls"), share)]
        for tile, tokens, share in zip(tiles, encoded, shares, strict=True)
        if share
    ]
    with prune(vlm, HiRED(areas=areas), 21) as log:
        vlm.model(**batch)
    assert log.kept[0].tolist() == np.sort(np.concatenate(chosen)).tolist()


def test_more_than_the_tiles_hold(vlm: Vlm) -> None:
    refused = pytest.raises(ValueError, match=r"image 0: `keep` must be in \[1, 64\], got 65")
    with prune(vlm, UniformGrid(), 65), refused:  # 64 tokens and six newlines
        vlm.model(**NEXT.batch(2))


# recording, loading, refusals ------------------------------------------------------------


@torch.no_grad()
def test_recorded_attention_is_that_of_each_crop(vlm: Vlm) -> None:
    batch = NEXT.batch(2)
    with record(vlm, cls=ClsRow(), last=LastRow()) as log:
        vlm.model(**batch)
    eager: Any = NEXT.model("eager")
    pictures = torch.stack(vlm.adapter.pictures(vlm.model, batch))
    maps = torch.stack(eager.base_model.vision_tower(pictures, output_attentions=True).attentions, 1)
    torch.testing.assert_close(log.cls, maps[:, :, :, 0, 1:], atol=1e-5, rtol=1e-4)
    image = batch["input_ids"][0] == eager.config.image_token_id
    text = torch.stack(eager(**batch, output_attentions=True).attentions, 1)
    torch.testing.assert_close(log.last, text[:, :, :, -1, image], atol=1e-4, rtol=1e-3)


@pytest.fixture(scope="module")
def with_processor(tiny_vlm: Vlm) -> Vlm:
    """With a processor built in code, whose words are those of `tiny_vlm`."""
    torch.manual_seed(0)
    config, tiny = llava_next(), tiny_vlm.processor
    config.image_token_index = tiny.image_token_id
    model = LlavaNextForConditionalGeneration(config)
    model.generation_config.pad_token_id = 0
    side = {"height": 56, "width": 56}
    pictures = LlavaNextImageProcessorPil(size={"shortest_edge": 56}, crop_size=side, image_grid_pinpoints=PINPOINTS)
    processor = LlavaNextProcessor(
        pictures,
        tiny.tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=tiny.chat_template,
    )
    return wrap(model, processor)


def test_saved_model_answers_as_before(with_processor: Vlm, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in SIZES]
    questions = ["what color is the circle ?"] * 3
    with_processor.model.save_pretrained(tmp_path)
    with_processor.processor.save_pretrained(tmp_path)
    loaded = load(tmp_path)
    assert isinstance(loaded.adapter, LlavaNextAdapter)
    batch = loaded.prepare(images, questions)
    layouts = loaded.adapter.layouts(loaded.model, batch)
    assert (batch["input_ids"] == 3).sum(1).tolist() == [layout.tokens for layout in layouts]
    with prune(with_processor, VisPruner(), 5):
        expected = with_processor.answer(images, questions)
    with prune(loaded, VisPruner(), 5):
        assert loaded.answer(images, questions) == expected


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"vision_feature_select_strategy": "full"},
            "`vision_feature_select_strategy` must be 'default' (CLS dropped), got 'full'",
        ),
        ({"vision_feature_layer": [-2, -3]}, "`vision_feature_layer` must be one layer, got [-2, -3]"),
        (
            {"vision_config": {"model_type": "siglip_vision_model"}},
            "its vision tower must be 'clip_vision_model', got 'siglip_vision_model'",
        ),
    ],
)
def test_checkpoints_that_are_not_supported(change: dict[str, Any], reason: str) -> None:
    assert LlavaNextAdapter().refusal(llava_next().to_dict()) is None
    assert LlavaNextAdapter().refusal(llava_next().to_dict() | change) == reason
