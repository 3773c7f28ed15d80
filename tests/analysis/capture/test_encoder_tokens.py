"""Encoders whose patches are merged into tokens: recorded attention against the model files' own eager maps.

The oracle takes the weights that the stock `eager_attention_forward` returns, puts the patches of each picture in
order by matching their embeddings, and merges squares of two by two by hand.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from analysis.capture import (
    AbstractReducer,
    ClsRow,
    Entropy,
    FullMap,
    LastRow,
    MeanReceived,
    TopK,
    record,
    source_label,
)
from analysis.models import adapter_for

from ..pruning import beside
from ..pruning.families import FAMILIES, QWEN_GRIDS, Family, noise, patches

QWEN = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
SQUARES = ("internvl", "gemma3", "idefics3", "smolvlm")
MERGING = {family.name: family for family in FAMILIES if family.name in QWEN + SQUARES}
TIGHT = {"rtol": 0, "atol": 1e-5}


@pytest.fixture(params=MERGING)
def family(request: pytest.FixtureRequest) -> Family:
    return MERGING[request.param]


def encode(family: Family, model: PreTrainedModel) -> None:
    """Three images in one call."""
    base: Any = model.base_model
    base.get_image_features(**family.images([[0, 1, 2]]), return_dict=True)


@contextmanager
def eager_weights(model: PreTrainedModel) -> Iterator[dict[nn.Module, list[Tensor]]]:
    """What the stock eager function of the model's file makes of the queries and keys of each attention call.

    Weights [picture or window, head, query, key] by module, in the order of the calls.
    """
    heard: dict[nn.Module, list[Tensor]] = {}
    registry = ALL_ATTENTION_FUNCTIONS
    file = sys.modules[type(adapter_for(model).vision_attention(adapter_for(model).vision_layers(model)[0])).__module__]

    def listened(original: Any) -> Any:
        def attend(module: nn.Module, *args: Any, **options: Any) -> Any:
            weights = eager(module, *args, **options)[1]
            heard.setdefault(module, []).append(weights)
            return original(module, *args, **options)

        return attend

    eager, sdpa = file.eager_attention_forward, registry["sdpa"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(file, "eager_attention_forward", listened(eager))
        patch.setitem(registry._local_mapping, "sdpa", listened(sdpa))
        yield heard


def stock_order(model: PreTrainedModel, images: dict[str, Tensor]) -> list[int]:
    """Which patch stands where when the first block of a Qwen encoder gets them: matched by content."""
    tower: Any = adapter_for(model).vision_tower(model)
    seen: list[Tensor] = []
    hook = tower.blocks[0].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    plain = tower.patch_embed(images["pixel_values"])
    if model.config.model_type == "qwen3_vl":  # adds positions to the patches, and leaves their order alone
        hook.remove()
        return list(range(len(plain)))
    tower(images["pixel_values"], grid_thw=images["image_grid_thw"])
    hook.remove()
    return [int((plain == state).all(1).nonzero()) for state in seen[0]]


def squares_of(rows: int, columns: int) -> list[list[int]]:
    """Row-major patches of each two by two square of a grid of patches, squares row-major."""
    number = np.arange(rows * columns).reshape(rows, columns)
    return [
        number[row : row + 2, column : column + 2].ravel().tolist()
        for row in range(0, rows, 2)
        for column in range(0, columns, 2)
    ]


def pictures_by_hand(family: Family, model: PreTrainedModel, weights: list[Tensor]) -> list[tuple[Tensor, Any]]:
    """Of one block: the map of each picture over its patches [head, query, key], and the patches of each token."""
    if family.name in SQUARES:
        first = int(adapter_for(model).has_cls)
        return [(picture[:, first:, first:], squares_of(6, 6)) for call in weights for picture in call]
    images = family.images([[0, 1, 2]])
    order = stock_order(model, images)
    whole = torch.stack([torch.block_diag(*(call[0, head] for call in weights)) for head in range(4)])
    found, start = [], 0
    for rows, columns in QWEN_GRIDS:
        places = [order.index(start + patch) for patch in range(rows * columns)]
        # pixels come square by square, so four neighbours in the given order are a token
        tokens = np.arange(rows * columns).reshape(-1, 4).tolist()
        found.append((whole[:, places][:, :, places], tokens))
        start += rows * columns
    return found


def merged_by_hand(maps: Tensor, tokens: list[list[int]]) -> Tensor:
    """A map [head, query, key] over patches as one over tokens: keys summed, queries averaged."""
    keys = torch.stack([maps[:, :, token].sum(2) for token in tokens], 2)
    return torch.stack([keys[:, token].mean(1) for token in tokens], 1)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@torch.no_grad()
def test_recorded_tokens_are_merged_patches_of_eager_maps(family: Family, attention: str) -> None:
    model = family.model(attention)
    with (
        eager_weights(model) as heard,
        record(
            model,
            received=MeanReceived(),
            by_head=MeanReceived(heads=True, chunk=7),
            map=FullMap(),
            maps=FullMap(heads=True),
            entropy=Entropy(heads=True),
            entropies=Entropy(),
            top=TopK(MeanReceived(), 3),
        ) as log,
    ):
        encode(family, model)
    adapter = adapter_for(model)
    grids = [layout.tiles[0].grid for layout in adapter.layouts(model, family.images([[0, 1, 2]]))]
    assert [picture.shape[-1] for picture in log.each("received")] == [rows * columns for rows, columns in grids]
    for layer, block in enumerate(adapter.vision_layers(model)):
        weights = heard[adapter.vision_attention(block)]
        for number, (maps, tokens) in enumerate(pictures_by_hand(family, model, weights)):
            got = {name: log.each(name)[number][layer] for name in log}
            expected = merged_by_hand(maps, tokens)
            received = torch.stack([maps[:, :, token].mean(1).sum(1) for token in tokens], 1)
            torch.testing.assert_close(got["maps"], expected, **TIGHT)
            torch.testing.assert_close(got["map"], expected.mean(0), **TIGHT)
            torch.testing.assert_close(got["by_head"], received, **TIGHT)
            torch.testing.assert_close(got["by_head"], expected.mean(1), **TIGHT)
            torch.testing.assert_close(got["received"], received.mean(0), **TIGHT)
            torch.testing.assert_close(got["top_weights"], received.mean(0).sort(descending=True)[0][:3], **TIGHT)
            if not adapter.has_cls:  # else the queries see the CLS token, too
                entropy = torch.special.entr(maps.double()).sum(-1).float()
                of_tokens = torch.stack([entropy[:, token].mean(1) for token in tokens], 1)
                torch.testing.assert_close(got["entropy"], of_tokens, rtol=0, atol=2e-5)
                torch.testing.assert_close(got["entropies"], of_tokens.mean(0), rtol=0, atol=2e-5)
                torch.testing.assert_close(received.sum(1), torch.ones(4), **TIGHT)
            assert float(received.std(1).max()) > 1e-3  # not flat: the comparison means something


@torch.no_grad()
def test_the_cls_row_of_merged_patches() -> None:
    family = MERGING["internvl"]
    eager = family.model("eager")
    with eager_weights(eager) as heard, record(eager, cls=ClsRow()) as log:
        encode(family, eager)
    for layer, block in enumerate(adapter_for(eager).vision_layers(eager)):
        rows = torch.cat(heard[block.attention])[:, :, 0, 1:]
        expected = torch.stack([rows[:, :, token].sum(2) for token in squares_of(6, 6)], 2)
        torch.testing.assert_close(log.cls[:, layer], expected, **TIGHT)
    assert log.cls.shape == (3, 3, 4, 9)


@torch.no_grad()
def test_outputs_are_bit_identical_and_nothing_is_left(family: Family) -> None:
    model, batch = family.model(), family.batch(0)

    def footprint() -> list[tuple[Any, ...]]:
        return [(len(m._forward_hooks), len(m._forward_pre_hooks), tuple(m.__dict__)) for m in model.modules()]

    before, stock = footprint(), model(**batch).logits
    greedy = {"max_new_tokens": 2, "do_sample": False}
    written = model.generate(**batch, **greedy)
    with record(model, received=MeanReceived(), maps=FullMap(heads=True), last=LastRow()) as log:
        assert torch.equal(model(**batch).logits, stock)
        assert torch.equal(model.generate(**batch, **greedy), written)
    assert footprint() == before
    assert not vars(ALL_ATTENTION_FUNCTIONS).get("get_interface")
    received = log.each("received")
    assert len(received) == 4  # two images, encoded twice
    for first, again in zip(received[:2], received[2:], strict=True):
        torch.testing.assert_close(first, again, **TIGHT)


@torch.no_grad()
def test_pictures_of_several_grids_are_taken_one_by_one() -> None:
    family = MERGING["qwen2_5_vl"]
    with record(family.model(), received=MeanReceived()) as log:
        encode(family, family.model())
    with pytest.raises(ValueError, match=r"different numbers of visual tokens: take them one by one, log.each\('recei"):
        log.received  # noqa: B018
    with pytest.raises(KeyError, match="did you mean 'received'"):
        log.each("recived")


@torch.no_grad()
@pytest.mark.parametrize("name", QWEN)
def test_frames_of_a_video_are_pictures_of_their_own(name: str) -> None:
    model = MERGING[name].model()
    base: Any = model.base_model
    frames = {"pixel_values_videos": noise(0, 2 * 24, 3 * 2 * 14 * 14), "video_grid_thw": torch.tensor([[2, 4, 6]])}
    with record(model, received=MeanReceived(), maps=FullMap()) as log:
        base.get_video_features(**frames)
    apart = {"pixel_values": frames["pixel_values_videos"], "image_grid_thw": torch.tensor([[1, 4, 6]] * 2)}
    with record(model, received=MeanReceived(), maps=FullMap()) as alone:
        base.get_image_features(**apart)
    assert log.received.shape[0] == alone.received.shape[0] == 2
    torch.testing.assert_close(log.maps, alone.maps, **TIGHT)
    torch.testing.assert_close(log.received.sum(-1), torch.ones_like(log.received.sum(-1)), **TIGHT)


@torch.no_grad()
@pytest.mark.parametrize("name", QWEN)
def test_one_packed_call_of_flash_attention_is_taken_apart(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows, or pictures, in one call whose bounds it names: here a function that attends within them."""
    called: list[int] = []

    def packed(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Any, **options: Any) -> Any:
        ends = options["cu_seq_lens_q"].tolist()
        called.append(query.shape[2])
        parts = [
            nn.functional.scaled_dot_product_attention(*(part[:, :, a:b] for part in (query, key, value)))
            for a, b in itertools.pairwise(ends)
        ]
        return torch.cat(parts, 2).transpose(1, 2), None

    family = MERGING[name]
    model = family.model()
    reducers: dict[str, AbstractReducer] = {"received": MeanReceived(heads=True), "maps": FullMap()}
    with record(model, **reducers) as stock:
        encode(family, model)
    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS._local_mapping, "flash_attention_here", packed)
    monkeypatch.setattr(model.model.visual.config, "_attn_implementation_internal", "flash_attention_here")
    with record(model, **reducers) as log:
        encode(family, model)
    assert set(called) == {sum(rows * columns for rows, columns in QWEN_GRIDS)}
    for reduced in reducers:
        for one, other in zip(stock.each(reduced), log.each(reduced), strict=True):
            torch.testing.assert_close(one, other, **TIGHT)


@torch.no_grad()
def test_a_pass_that_breaks_off_leaves_nothing_in_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    family = MERGING["qwen2_5_vl"]
    model = family.model()

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("broken block")

    with record(model, received=MeanReceived()) as log:
        with monkeypatch.context() as patch:
            patch.setattr(model.model.visual.blocks[2].attn, "forward", broken)
            with pytest.raises(RuntimeError, match="broken block"):
                encode(family, model)
        encode(family, model)
    assert len(log.each("received")) == 3


# tiles that attend to each other ------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_tiles_receive_from_all_tiles_of_their_image(attention: str) -> None:
    """Mllama: one row of attention holds all tiles of an image, a CLS token before each and padding behind."""
    model: Any = beside.model(attention)
    inputs = beside.pixels([beside.PROMPTS[0], beside.PROMPTS[1]])  # two images and one, so one place is empty
    reducers = {"received": MeanReceived(heads=True), "mean": MeanReceived(), "maps": FullMap(heads=True)}
    with eager_weights(model) as heard, record(model, entropy=Entropy(), **reducers) as log:
        model.model.vision_model(**inputs)
    adapter = adapter_for(model)
    padded = 24  # a multiple of eight
    for layer, block in enumerate(adapter.vision_layers(model)):
        weights = heard[block.self_attn][0]  # [place of an image, head, query, key]
        found = 0
        for place, image in ((0, 0), (1, 1), (2, 2)):
            tiles = [torch.arange(1, beside.STATES) + padded * tile for tile in range(beside.tiles_of(image))]
            among = weights[place][:, torch.cat(tiles)]
            for own in tiles:
                received = among[:, :, own].mean(1)
                torch.testing.assert_close(log.received[found, layer], received, **TIGHT)
                torch.testing.assert_close(log.mean[found, layer], received.mean(0), **TIGHT)
                torch.testing.assert_close(log.maps[found, layer], weights[place][:, own][:, :, own], **TIGHT)
                entropy = torch.special.entr(weights[place][:, own].double()).sum(-1).mean(0).float()
                torch.testing.assert_close(log.entropy[found, layer], entropy, rtol=0, atol=2e-5)
                found += 1
        assert found == len(log.received) == 7
        assert float(log.received[:, layer].std(-1).max()) > 1e-4


# reducers and what is refused ------------------------------------------------------------


class PerHead(AbstractReducer):
    tower = "vision"
    dims: ClassVar[tuple[str, ...]] = ()

    def reduce(self, call: Any, place: Any) -> Tensor:
        return call.query.mean((2, 3))


@dataclass(frozen=True)
class Largest(AbstractReducer):
    """The largest weight on each patch: no mean over queries, and so not rescaled by window."""

    tower = "vision"

    def reduce(self, call: Any, place: Any) -> Tensor:
        return call.rows(place.visual).amax(2)


@torch.no_grad()
def test_own_reducers() -> None:
    family = MERGING["qwen2_5_vl"]
    model = family.model("eager")
    with eager_weights(model) as heard, record(model, largest=Largest()) as log:
        encode(family, model)
    block: Any = adapter_for(model).vision_layers(model)[0]
    for number, (maps, tokens) in enumerate(pictures_by_hand(family, model, heard[block.attn])):
        expected = torch.stack([maps.amax(1)[:, token].sum(1) for token in tokens], 1)
        torch.testing.assert_close(log.each("largest")[number][0], expected, **TIGHT)
    with (
        pytest.raises(ValueError, match=r"`own` must keep numbers per token, query or both to be told .* none"),
        record(model, own=PerHead()),
    ):
        pass


@torch.no_grad()
def test_what_is_refused() -> None:
    model = MERGING["qwen2_vl"].model()
    with (
        pytest.raises(ValueError, match="`seen` needs a vision encoder with a CLS token"),
        record(model, seen=ClsRow()),
    ):
        pass
    tower: Any = adapter_for(model).vision_tower(model)
    images = patches([[0]])
    seen: dict[str, Any] = {}
    hook = tower.blocks[0].register_forward_pre_hook(
        lambda _, args, options: seen.update(options | {"hidden_states": args[0]}), with_kwargs=True
    )
    tower(images["pixel_values"], grid_thw=images["image_grid_thw"])
    hook.remove()
    with record(model, seen=MeanReceived()), pytest.raises(ValueError, match="must be run as a whole to be recorded"):
        tower.blocks[0](**seen)


@pytest.mark.parametrize(
    ("name", "reducer", "words"),
    [
        ("qwen2_5_vl", MeanReceived(), "vision mean received, windows un-permuted, merged 2 x 2 by sum"),
        ("qwen2_vl", MeanReceived(), "vision mean received, merged 2 x 2 by sum"),
        ("qwen3_vl", Entropy(), "vision entropy, merged 2 x 2 by mean"),
        ("internvl", ClsRow(), "vision CLS, merged 2 x 2 by sum"),
        ("gemma3", FullMap(), "vision map, merged 2 x 2 by sum, its queries by mean"),
        ("idefics3", TopK(MeanReceived(), 2), "vision mean received, 2 largest, merged 2 x 2 by sum"),
        ("mllama", MeanReceived(), "vision mean received, over all tiles of the image"),
        ("qwen2_5_vl", LastRow(), "text last token"),
        ("qwen2_5_vl", Entropy(of="text"), "text entropy"),
    ],
)
def test_the_source_says_what_was_done(name: str, reducer: AbstractReducer, words: str) -> None:
    model = beside.model() if name == "mllama" else MERGING[name].model()
    assert source_label(reducer, adapter_for(model), model) == words
