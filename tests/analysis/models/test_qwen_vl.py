"""Qwen2-VL, Qwen2.5-VL and Qwen3-VL: the adapters against the stock models and attention written out by hand."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn
from transformers import (
    AutoProcessor,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    ProcessorMixin,
    Qwen2VLImageProcessorPil,
    Qwen2VLProcessor,
)
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from analysis.capture import ClsRow, LastRow, MeanReceived, record
from analysis.models import Qwen2VLAdapter, Qwen3VLAdapter, Qwen25VLAdapter, Vlm, adapter_for, load, wrap
from analysis.pruning import encode_images, prune
from analysis.pruning.encode import Encoded, watch
from analysis.pruning.pruners import FasterVLM, UniformGrid

from ..pruning.families import FAMILIES, IMAGE, QWEN_GRIDS, VIDEO, VOCABULARY, Family, image_or_not, patches

CLASSES = {"qwen2_vl": Qwen2VLAdapter, "qwen2_5_vl": Qwen25VLAdapter, "qwen3_vl": Qwen3VLAdapter}
QWEN = {family.name: family for family in FAMILIES if family.name in CLASSES}
ATTENTION = {"cls", "first_cls", "last_cls", "attention_map", "keys", "last_keys"}
GREEDY: dict[str, Any] = {"max_new_tokens": 3, "do_sample": False}


def qwen_of_windows() -> PreTrainedConfig:
    """Its last block attends within windows as well, which that of no published checkpoint does."""
    config = QWEN["qwen2_5_vl"].config()
    config.vision_config.fullatt_block_indexes = [1]
    return config


WINDOWS = Family("windows", qwen_of_windows, patches, image_or_not)


@pytest.fixture(params=CLASSES)
def family(request: pytest.FixtureRequest) -> Family:
    return QWEN[request.param]


@pytest.fixture
def model(family: Family) -> PreTrainedModel:
    return family.model()


@pytest.fixture
def images() -> dict[str, Tensor]:
    """Three pictures of 2 x 3, 3 x 3 and 5 x 4 tokens."""
    return patches([[0, 1, 2]])


def encoded(model: PreTrainedModel, images: dict[str, Tensor], needs: set[str]) -> Encoded:
    caught: list[Encoded] = []
    base: Any = model.base_model
    with torch.no_grad(), watch(model, adapter_for(model), needs, caught.append):
        base.get_image_features(**images)
    return caught[0]


def heard(module: nn.Module, model: PreTrainedModel, images: dict[str, Tensor]) -> dict[str, Any]:
    """What a module gets while the stock model encodes `images`, by name."""
    seen: dict[str, Any] = {}
    hook = module.register_forward_pre_hook(
        lambda _, args, options: seen.update(options | {"hidden_states": args[0]}), with_kwargs=True
    )
    base: Any = model.base_model
    try:
        base.get_image_features(**images)
    finally:
        hook.remove()
    return seen


def patches_of_tokens(model: PreTrainedModel, images: dict[str, Tensor]) -> list[list[list[int]]]:
    """Per picture and token, row-major, the places of its four patches in the encoder's sequence.

    Pixels come square by square of 2 x 2 patches; blocks see them in the order in which the stock model then puts them.
    """
    order, start, found = stock_order(model, images), 0, []
    for _, rows, columns in images["image_grid_thw"].tolist():
        square, inner = np.divmod(np.arange(rows * columns), 4)
        row, column = 2 * (square // (columns // 2)) + inner // 2, 2 * (square % (columns // 2)) + inner % 2
        tokens = [
            [np.flatnonzero((row // 2 == r) & (column // 2 == c)) for c in range(columns // 2)]
            for r in range(rows // 2)
        ]
        found.append([[order.index(start + patch) for patch in token] for line in tokens for token in line])
        start += rows * columns
    return found


def stock_order(model: PreTrainedModel, images: dict[str, Tensor]) -> list[int]:
    """Which patch stands where when the first block of the encoder gets them: matched by content."""
    tower: Any = adapter_for(model).vision_tower(model)
    if model.config.model_type != "qwen2_5_vl":
        return list(range(len(images["pixel_values"])))
    before, after = tower.patch_embed(images["pixel_values"]), heard(tower.blocks[0], model, images)["hidden_states"]
    return [int((before == state).all(1).nonzero()) for state in after]


def attention_by_hand(
    block: Any, model: PreTrainedModel, images: dict[str, Tensor], *, one_head: bool = False
) -> tuple[Tensor, Tensor]:
    """Of all patches in their order: weights [query, key], mean over heads, and keys [patch, head, dim]."""
    seen = heard(block.attn, model, images)
    hidden, (cosine, sine), bounds = seen["hidden_states"], seen["position_embeddings"], seen["cu_seqlens"].tolist()
    query, key, _ = block.attn.qkv(hidden).reshape(len(hidden), 3, block.attn.num_heads, -1).unbind(1)
    rotate = sys.modules[type(block.attn).__module__].apply_rotary_pos_emb_vision
    query, key = rotate(query, key, cosine, sine)
    if one_head:
        query, key = query.flatten(1)[:, None], key.flatten(1)[:, None]
    scores = torch.einsum("qhd,khd->hqk", query, key) * query.shape[-1] ** -0.5
    window = torch.bucketize(torch.arange(len(hidden)), torch.tensor(bounds[1:]), right=True)
    return scores.masked_fill(window[:, None] != window, -torch.inf).softmax(-1).mean(0), key


def test_parts(family: Family, model: PreTrainedModel) -> None:
    adapter = adapter_for(model)
    assert type(adapter) is CLASSES[family.name]
    for part in (model, model.base_model):
        assert adapter_for(part) is adapter
        assert adapter.language_model(part) is model.model.language_model
        assert adapter.vision_tower(part) is model.model.visual
        assert adapter.projector(part) is model.model.visual.merger
        assert len(adapter.vision_layers(part)) == adapter.feature_layer(part) + 1 == model.config.vision_config.depth
        assert len(adapter.text_layers(part)) == 4
        assert adapter.image_token_id(part) == IMAGE
        assert adapter.embedding(part) is model.get_input_embeddings()
        for grid in (adapter.grid, adapter.tokens):
            with pytest.raises(ValueError, match=f"the grid of '{family.name}' depends on the picture"):
                grid(part)


@torch.no_grad()
def test_layouts_count_what_the_stock_model_makes(model: PreTrainedModel, images: dict[str, Tensor]) -> None:
    layouts = adapter_for(model).layouts(model, images)
    stock = model.get_image_features(**images).pooler_output
    assert [layout.tokens for layout in layouts] == [len(rows) for rows in stock]
    assert [layout.tiles[0].grid for layout in layouts] == [(rows // 2, columns // 2) for rows, columns in QWEN_GRIDS]
    assert all(len(layout.tiles) == 1 and not layout.separators.size for layout in layouts)


@torch.no_grad()
def test_features_are_what_the_projector_makes_a_token_of(model: PreTrainedModel, images: dict[str, Tensor]) -> None:
    adapter, stock = adapter_for(model), model.get_image_features(**images)
    found = encoded(model, images, {"features"})
    for picture, places in enumerate(patches_of_tokens(model, images)):
        by_hand = torch.stack([stock.last_hidden_state[patch].flatten() for patch in places])
        assert torch.equal(found.features[picture], by_hand)
        torch.testing.assert_close(adapter.project(model, by_hand), stock.pooler_output[picture])
        assert torch.equal(found.projected[picture], stock.pooler_output[picture])


@torch.no_grad()
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("family", [*QWEN.values(), WINDOWS], ids=lambda family: family.name)
def test_attention_is_that_of_the_patches_of_a_token(family: Family, attention: str, images: dict[str, Tensor]) -> None:
    model = family.model(attention)
    blocks, found = adapter_for(model).vision_layers(model), encoded(model, images, ATTENTION)
    first, _ = attention_by_hand(blocks[0], model, images)
    weights, keys = attention_by_hand(blocks[-1], model, images)
    one_head, long_keys = attention_by_hand(blocks[-1], model, images, one_head=True)
    for picture, places in enumerate(patches_of_tokens(model, images)):
        everything = torch.tensor(sorted(patch for token in places for patch in token))

        def of_tokens(values: Tensor, places: list[list[int]] = places) -> Tensor:
            return torch.stack([values[token].mean(0) for token in places])

        expected = {
            "cls": of_tokens(weights[everything].mean(0)),
            "first_cls": of_tokens(first[everything].mean(0)),
            "last_cls": of_tokens(one_head[everything].mean(0)),
            "attention_map": of_tokens(of_tokens(weights).T).T,
            "keys": of_tokens(keys.mean(1)),
            "last_keys": of_tokens(long_keys[:, 0]),
        }
        for name, values in expected.items():
            np.testing.assert_allclose(found[picture].evidence(name), values, rtol=1e-4, atol=1e-6, err_msg=name)
        assert np.ptp(expected["cls"].numpy()) > 1e-3


@torch.no_grad()
def test_a_picture_is_the_same_in_whatever_batch(model: PreTrainedModel, images: dict[str, Tensor]) -> None:
    together, alone = (encoded(model, pictures, {"features", "cls"}) for pictures in (images, patches([[2]])))
    assert together[2].key == alone[0].key
    assert len({tokens.key for tokens in together}) == 3
    np.testing.assert_allclose(together[2].cls, alone[0].cls, rtol=1e-4, atol=1e-6)


# what is refused ------------------------------------------------------------


def test_videos(family: Family, model: PreTrainedModel) -> None:
    batch = family.batch(2)
    ids = torch.where(batch["input_ids"] == IMAGE, VIDEO, batch["input_ids"])
    video = {"pixel_values_videos": batch["pixel_values"], "video_grid_thw": batch["image_grid_thw"]}
    given = {"input_ids": ids, "mm_token_type_ids": 2 * (ids == VIDEO).int(), **video}
    model.generate(**given, **GREEDY)
    with prune(model, UniformGrid(), 3):
        with pytest.raises(ValueError, match="videos are not supported while pruning"):
            model(**given)
        with pytest.raises(ValueError, match="videos are not supported while pruning"):
            model.generate(**given, **GREEDY)


def test_pictures_of_several_frames(model: PreTrainedModel) -> None:
    frames = {"image_grid_thw": torch.tensor([[2, 4, 6]])}
    with pytest.raises(ValueError, match=r"must hold pictures of one frame, got \[\[2, 4, 6\]\]: videos"):
        adapter_for(model).layouts(model, frames)


def test_one_packed_call_of_flash_attention(
    family: Family, model: PreTrainedModel, images: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All pictures, or windows, in one call of which only the implementation knows the bounds."""
    called: list[int] = []

    def packed(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, **options: Any
    ) -> tuple[Tensor, None]:
        called.append(query.shape[2])
        return value.transpose(1, 2), None

    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS._local_mapping, "flash_attention_here", packed)
    monkeypatch.setattr(model.model.visual.config, "_attn_implementation_internal", "flash_attention_here")
    encoded(model, images, {"features"})
    assert set(called) == {sum(rows * columns for rows, columns in QWEN_GRIDS)}
    with pytest.raises(ValueError, match=r"flash attention that packs several pictures or prompts \(use 'sdpa'\)"):
        encoded(model, images, {"cls"})
    with pytest.raises(ValueError, match=r"flash attention that packs several pictures or prompts \(use 'sdpa'\)"):
        encoded(model, images, {"last_cls"})
    with pytest.raises(
        ValueError, match=r"calls of \[140\] patches must make up pictures of \[24, 36, 80\]: a call that packs"
    ):
        encoded(model, images, {"keys"})


@torch.no_grad()
def test_recording_the_vision_encoder(family: Family, model: PreTrainedModel) -> None:
    batch = family.batch(0, 2)
    with record(model, seen=MeanReceived()) as log:
        model(**batch)
    assert [picture.shape[-1] for picture in log.each("seen")] == [6, 9, 20]
    with pytest.raises(ValueError, match="`seen` needs a vision encoder with a CLS token"):
        record(model, seen=ClsRow()).__enter__()


@torch.no_grad()
def test_recording_the_language_model(family: Family, model: PreTrainedModel) -> None:
    batch, image = family.batch(2), family.batch(2)["input_ids"][0] == IMAGE
    with record(model, last=LastRow()) as log:
        model.generate(**batch, **GREEDY)
    eager = family.model("eager")(**batch, output_attentions=True).attentions
    for layer, weights in enumerate(eager):
        torch.testing.assert_close(log.last[0, layer], weights[0, :, -1, image], atol=1e-3, rtol=1e-3)


# with a processor ------------------------------------------------------------


class ImagesOnly(Qwen2VLProcessor):
    """Without the processor of videos, which needs a further library."""

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, chat_template: str | None = None) -> None:
        self.image_token, self.image_token_id = tokenizer.image_token, tokenizer.image_token_id
        self.video_token, self.video_token_id = tokenizer.video_token, tokenizer.video_token_id
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)


@pytest.fixture(scope="module")
def processor() -> ProcessorMixin:
    special = {IMAGE: "<|image_pad|>", VIDEO: "<|video_pad|>", 0: "<pad>", 1: "<s>", 2: "</s>", 302: "<|vision_start|>"}
    words = {special.get(index, f"w{index}"): index for index in range(VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    names = {"image_token": special[IMAGE], "video_token": special[VIDEO]}
    marks = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, padding_side="left", extra_special_tokens=names, **marks)
    pictures = Qwen2VLImageProcessorPil(min_pixels=28 * 28 * 4, max_pixels=28 * 28 * 40, patch_size=14, merge_size=2)
    template = (
        "{% for message in messages %}{% for part in message['content'] %}{% if part['type'] == 'image' %}"
        "<|vision_start|> <|image_pad|> {% else %}{{ part['text'] }} {% endif %}{% endfor %}{% endfor %}"
    )
    return ImagesOnly(pictures, fast, chat_template=template)


@pytest.fixture(scope="module")
def photos() -> list[Image.Image]:
    shapes, rng = [(60, 90, 3), (140, 110, 3)], np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)) for shape in shapes]


QUESTIONS = ["w5 w6 w7", "w8"]


def test_questions_about_pictures_of_several_sizes(
    model: PreTrainedModel, processor: ProcessorMixin, photos: list[Image.Image]
) -> None:
    vlm = wrap(model, processor, id="tiny")
    assert repr(vlm) == f"Vlm('tiny', {model.config.model_type}, any number of visual tokens, {vlm.config_hash})"
    inputs = vlm.prepare(photos, QUESTIONS)
    assert inputs["image_grid_thw"].tolist() == [[1, 4, 6], [1, 10, 8]]
    found = encode_images(vlm, inputs["pixel_values"], image_grid_thw=inputs["image_grid_thw"])
    assert [tokens.grid for tokens in found] == [(2, 3), (5, 4)]
    whole = vlm.answer(photos, QUESTIONS, 3)
    with prune(vlm, FasterVLM(), 0.5) as log:
        pruned = vlm.answer(photos, QUESTIONS, 3)
        assert [len(kept) for kept in log.kept] == [3, 10]
    assert log.average.tolist() == [3, 10]
    assert [len(text.split()) for text in whole + pruned] == [3] * 4
    with prune(vlm, FasterVLM(), 7), pytest.raises(ValueError, match=r"image 0: `keep` must be in \[1, 6\], got 7"):
        vlm.answer(photos, QUESTIONS, 3)


def test_loading(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    photos: list[Image.Image],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(AutoProcessor, "from_pretrained", lambda *_, **__: processor)
    model.save_pretrained(tmp_path)
    vlm: Vlm = load(tmp_path)
    vlm.model.generation_config = model.generation_config
    assert type(vlm.adapter) is CLASSES[model.config.model_type]
    assert vlm.answer(photos, QUESTIONS, 3) == wrap(model, processor).answer(photos, QUESTIONS, 3)


def test_a_processor_that_lacks_a_library(
    model: PreTrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: Any, **__: Any) -> Any:
        raise ImportError("\nThe processor of videos requires Torchvision.\n")

    monkeypatch.setattr(importlib.import_module("analysis.models.load").AutoProcessor, "from_pretrained", missing)
    model.save_pretrained(tmp_path)
    with pytest.raises(OSError, match=r"the processor of '.*' cannot be read: The processor of videos requires"):
        load(tmp_path)
