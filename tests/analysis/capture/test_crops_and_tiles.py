"""Dumps of images that are read as several pictures: crops put together, tiles, interpolated areas."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    LlavaNextImageProcessorPil,
    LlavaNextProcessor,
    LlavaOnevisionImageProcessorPil,
    LlavaOnevisionProcessor,
    ProcessorMixin,
)

from analysis.capture import (
    AbstractReducer,
    ClsRow,
    Entropy,
    FullMap,
    LastRow,
    MeanReceived,
    TextMean,
    TopK,
    capture_dataset,
    default_reducers,
    open_dumps,
    record,
)
from analysis.metrics import measure
from analysis.models import Vlm, wrap

from ..models.processors import IMAGE, idefics3, mllama, template, tokenizer
from ..pruning import beside
from ..pruning.families import FAMILIES, PINPOINTS
from .several_grids import same, unmark

FAMILY = {family.name: family for family in FAMILIES}


EVERY: dict[str, AbstractReducer] = {
    "last": LastRow(),
    "text_mean": TextMean(),
    "text_entropy": Entropy(of="text"),
    "text_map": FullMap(of="text"),
    "top": TopK(LastRow(heads=False), 3),
}


def pictures(*sizes: tuple[int, int]) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in sizes]


@pytest.fixture(scope="module")
def next_vlm() -> Vlm:
    """LLaVA-NeXT: crops of 4 x 4 tokens, put together to the shape of the image, a newline after each row."""
    words = tokenizer(IMAGE, "<image>")
    side = {"height": 56, "width": 56}
    images = LlavaNextImageProcessorPil(size={"shortest_edge": 56}, crop_size=side, image_grid_pinpoints=PINPOINTS)
    more = {"patch_size": 14, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
    processor = LlavaNextProcessor(images, words, chat_template=template("<image>"), **more)
    return wrap(FAMILY["llava_next"].model(), processor, id="tiny next")


@torch.no_grad()
def test_crops_are_put_together(next_vlm: Vlm, tmp_path: Path) -> None:
    images = pictures((90, 110), (100, 60), (90, 110), (56, 112))
    samples = [(str(number), image, f"w{number + 9} w8 w6") for number, image in enumerate(images)]
    reducers = EVERY | {"cls": ClsRow(), "map": FullMap(), "entropy": Entropy(heads=True), "best": TopK(ClsRow(), 3)}
    tree = capture_dataset(next_vlm, samples, tmp_path / "dump.zarr", reducers=reducers, batch_size=2, progress=False)
    assert tuple(tree.children) == (
        "4x4+6x8-whole", "4x4+6x8-crops", "4x4+8x4-whole", "4x4+8x4-crops", "4x4+4x8-whole", "4x4+4x8-crops",
    )  # fmt: skip
    assert tree["layout"].values.tolist() == ["4x4+6x8", "4x4+8x4", "4x4+6x8", "4x4+4x8"]
    whole, crops = (tree[f"4x4+6x8-{area}"].to_dataset().load() for area in ("whole", "crops"))
    assert whole.attrs["grid"] == [4, 4]
    assert crops.attrs["grid"] == [6, 8]
    assert whole["cls"].attrs["source"] == "vision CLS"
    assert crops["cls"].attrs["source"] == "vision CLS, crop by crop"
    assert crops["last"].attrs["source"] == "text last token"
    # of the image of 90 x 110, two by two crops of four by four tokens, the first and the last row are padding
    for row, number in enumerate((0, 2)):
        inputs = next_vlm.prepare(*samples[number][1:])
        with record(next_vlm, **reducers) as log:
            next_vlm.model(**inputs)
        at = (inputs["input_ids"][0] == IMAGE).nonzero()[:, 0]
        newline = np.arange(6) * 9 + 8
        shown = np.setdiff1d(np.arange(54), newline) + 16
        assert len(at) == 16 + 54
        assert whole["position"][row].values.tolist() == at[:16].tolist()
        assert crops["position"][row].values.tolist() == at[shown].tolist()
        mosaic = log.cls[1:].reshape(2, 2, 4, 4, 4, 4).permute(2, 3, 0, 4, 1, 5).reshape(4, 4, 8, 8)
        np.testing.assert_allclose(whole["cls"][row], log.cls[0], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(crops["cls"][row], mosaic[:, :, 1:7].flatten(2), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(whole["last"][row], log.last[0][..., :16], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(crops["last"][row], log.last[0][..., shown], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(crops["text_entropy"][row], log.text_entropy[0][..., shown], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(crops["text_map"][row], log.text_map[0][:, shown][:, :, shown], rtol=1e-4, atol=1e-6)
        last = crops["last"][row].mean("head").values
        assert crops["top_indices"][row].values.tolist() == np.argsort(-last, axis=-1, kind="stable")[:, :3].tolist()
        among = crops["map"][row].values.reshape(4, 6, 8, 6, 8)
        assert not among[:, :3, :4, 3:].any()  # the upper left crop does not attend to the lower ones
        expected = log.map[1].reshape(4, 4, 4, 4, 4)[:, 1:, :, 1:]
        np.testing.assert_allclose(among[:, :3, :4, :3, :4], expected, rtol=1e-4, atol=1e-6)
    measure(crops, ["entropy", "centroid_row"])


def test_an_image_is_complete_in_all_its_areas_or_not_at_all(next_vlm: Vlm, tmp_path: Path) -> None:
    samples = [(number, image, "w8 w6") for number, image in enumerate(pictures((90, 110), (90, 110), (56, 112)))]
    store = tmp_path / "dump.zarr"
    capture_dataset(next_vlm, samples, store, batch_size=2, progress=False)
    whole = Path(shutil.copytree(store, tmp_path / "whole.zarr"))
    unmark(store, "4x4+6x8-crops", [1])  # as if killed between the two
    assert open_dumps(store, partial=True)["captured"].values.tolist() == [True, False, True]
    with pytest.raises(ValueError, match="holds 2 of 3 images"):
        open_dumps(store)
    same(capture_dataset(next_vlm, samples, store, progress=False), whole)


class ImagesOnly(LlavaOnevisionProcessor):
    """Without the processor of videos, which needs a further library."""

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, chat_template: str | None = None) -> None:
        self.image_token, self.image_token_id = tokenizer.image_token, tokenizer.image_token_id
        self.video_token, self.video_token_id = tokenizer.video_token, tokenizer.video_token_id
        self.num_image_tokens, self.vision_feature_select_strategy = 16, "full"
        self.vision_aspect_ratio = "anyres_max_2"
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)


@torch.no_grad()
def test_interpolated_crops_say_so(tmp_path: Path) -> None:
    """LLaVA-OneVision shrinks the crops of an image together where they have too many tokens."""
    model = FAMILY["llava_onevision"].model()
    images = LlavaOnevisionImageProcessorPil(size={"height": 56, "width": 56}, image_grid_pinpoints=PINPOINTS)
    words = tokenizer(IMAGE, "<image>", video_token=("<video>", 301))
    processor = ImagesOnly(images, words, chat_template=template("<image>"))
    limit, model.config.vision_aspect_ratio = model.config.vision_aspect_ratio, "anyres_max_2"
    try:
        vlm = wrap(model, processor, id="tiny onevision")
        samples = [(0, pictures((112, 112))[0], "w5 w6")]
        tree = capture_dataset(vlm, samples, tmp_path / "dump.zarr", progress=False)
        name = tree["layout"].values[0]
        assert name.startswith("4x4+~")
        crops = tree[f"{name}-crops"].to_dataset()
        source = "vision mean received, interpolated as the tokens are"
        assert crops["received"].attrs["source"] == source
        inputs = vlm.prepare(*samples[0][1:])
        with record(vlm, received=MeanReceived(heads=True)) as log:
            vlm.model(**inputs)
        columns = [picture.movedim(-1, 0) for picture in log.received]
        expected = vlm.adapter.tokens_of_patches(model, columns, inputs)[1].movedim(0, -1)
        np.testing.assert_allclose(crops["received"][0], expected, rtol=1e-4, atol=1e-6)
        with pytest.raises(ValueError, match="shrinks the crops of an image to a coarser grid: 'vision map' cannot be"):
            capture_dataset(vlm, samples, tmp_path / "b.zarr", reducers={"map": FullMap()}, progress=False)
    finally:
        model.config.vision_aspect_ratio = limit


@torch.no_grad()
def test_tiles_that_count_as_images(tmp_path: Path) -> None:
    """Idefics3 cuts an image into tiles of one size and adds the whole one."""
    processor: Any = idefics3()
    processor.image_processor.do_image_splitting = True
    processor.image_processor.size = {"longest_edge": 168}
    vlm = wrap(FAMILY["idefics3"].model(), processor, id="tiny idefics3")
    samples = [(number, image, "w5 w6") for number, image in enumerate(pictures((168, 84), (84, 168), (168, 84)))]
    tree = capture_dataset(vlm, samples, tmp_path / "dump.zarr", batch_size=2, progress=False)
    tiles = len(tree.children)
    assert tiles >= 3
    assert tree["layout"].values[0] == f"{tiles}_of_3x3"
    assert tuple(tree.children) == tuple(f"{tiles}_of_3x3-{number + 1}" for number in range(tiles))
    inputs = vlm.prepare(*samples[2][1:])
    with record(vlm, received=MeanReceived(heads=True), last=LastRow()) as log:
        vlm.model(**inputs)
    for number, child in enumerate(tree.children.values()):
        dump = child.to_dataset()
        assert dump.attrs["grid"] == [3, 3]
        np.testing.assert_allclose(dump["received"][2], log.received[number], rtol=1e-4, atol=1e-6)
        own = slice(9 * number, 9 * number + 9)
        np.testing.assert_allclose(dump["last"][2], log.last[0][..., own], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_tiles_beside_the_prompt(tmp_path: Path) -> None:
    """Mllama: up to four tiles, which are put together; no word stands for a token, so there are no positions."""
    vlm = wrap(beside.model(), mllama(), id="tiny mllama")
    samples = [(number, image, "w5 w6") for number, image in enumerate(pictures((56, 56), (56, 112), (60, 56)))]
    reducers = {"received": MeanReceived(heads=True), "maps": FullMap()}
    assert list(default_reducers(vlm.adapter)) == ["received"]
    tree = capture_dataset(vlm, samples, tmp_path / "dump.zarr", reducers=reducers, batch_size=2, progress=False)
    assert tree["layout"].values.tolist()[:2] == ["4x4", "4x8"]
    wide = tree["4x8"].to_dataset().load()
    assert wide["received"].attrs["source"] == "vision mean received, over all tiles of the image"
    assert "position" not in wide.coords
    with record(vlm, **reducers) as log:
        vlm.model(**vlm.prepare(*samples[1][1:]))
    mosaic = log.received.reshape(2, 3, 4, 4, 4).permute(1, 2, 3, 0, 4).flatten(2)
    np.testing.assert_allclose(wide["received"][0], mosaic, rtol=1e-4, atol=1e-6)
    among = wide["maps"][0].values.reshape(3, 4, 8, 4, 8)
    assert not among[:, :, :4, :, 4:].any()
    np.testing.assert_allclose(among[:, :, 4:, :, 4:].reshape(3, 16, 16), log.maps[1], rtol=1e-4, atol=1e-6)
    measure(wide, ["entropy", "centroid_row"])
