"""The count against PyTorch's own counter on the real classes, step by step."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import PreTrainedModel

from analysis.cost import FAMILIES, Architecture, cost, cost_table, dropped_after, of_vlm
from analysis.cost.modules import of_model
from analysis.models import Vlm, adapter_for, wrap

SIZES = [(100, 60), (56, 112), (90, 110), (50, 120)]


def family_of(model: PreTrainedModel):
    return next(family for family in FAMILIES if family.model_type == model.config.model_type)


def shape_of(model: PreTrainedModel, size: tuple[int, int] = (112, 112), unpad: bool = True) -> Architecture:
    family = family_of(model)
    return of_model("tiny", model, adapter_for(model), family.encoding(model.config, size, unpad))


def seen_by_the_counter(vlm: Vlm) -> PreTrainedModel:
    """A copy whose attention runs as plain matrix products."""
    model = copy.deepcopy(vlm.model)
    model.set_attn_implementation("eager")
    return model


@pytest.fixture(params=["tiny_vlm", "tiny_gqa_vlm", "llava_next", "qwen"])
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    """Models of every family, with attention that the counter sees."""
    found = request.getfixturevalue(request.param)
    return seen_by_the_counter(found) if isinstance(found, Vlm) else found


@pytest.fixture
def shape(model: PreTrainedModel) -> Architecture:
    return shape_of(model)


def embeddings(model: PreTrainedModel, tokens: int) -> torch.Tensor:
    return torch.randn(1, tokens, model.config.get_text_config().hidden_size)


@pytest.mark.parametrize(("visual", "text"), [(0, 3), (7, 1), (4, 20)])
def test_prefill_equals_the_flop_counter(model, shape, counted_flops, visual, text) -> None:
    language = adapter_for(model).language_model(model)
    prompt = embeddings(model, visual + text)
    assert 2 * cost(shape, visual, text).prefill == counted_flops(lambda: language(inputs_embeds=prompt))


def test_layers_of_different_length_equal_the_flop_counter(model, shape, counted_flops) -> None:
    """Layers run by hand, each on a shorter state than the one before."""
    language = adapter_for(model).language_model(model)
    text, visual = 5, [12, 7, 3][: len(shape.layers)]
    state = embeddings(model, visual[0] + text)
    axes = 3 if model.config.model_type == "qwen2_5_vl" else 1
    positions = torch.arange(state.shape[1]).expand(axes, 1, -1)

    def run() -> None:
        shorter = state
        for layer, tokens in zip(language.layers, visual, strict=True):
            shorter = shorter[:, : tokens + text]
            places = positions[..., : tokens + text]
            turned = language.rotary_emb(shorter, places if axes > 1 else places[0])
            out = layer(shorter, position_embeddings=turned, attention_mask=None)
            shorter = out[0] if isinstance(out, tuple) else out

    assert 2 * cost(shape, visual, text).prefill == counted_flops(run)


@pytest.mark.parametrize("new", [1, 2, 5])
def test_answering_equals_the_flop_counter_and_fills_the_cache(model, shape, counted_flops, new) -> None:
    prompt, caches = embeddings(model, 4 + 6), []

    def answer() -> None:
        out = model(inputs_embeds=prompt, logits_to_keep=1, use_cache=True)
        for _ in range(new - 1):
            step = {"inputs_embeds": embeddings(model, 1), "past_key_values": out.past_key_values}
            out = model(**step, logits_to_keep=1, use_cache=True)
        caches.append(out.past_key_values)

    counted = cost(shape, 4, 6, new=new)
    assert 2 * (counted.prefill + counted.decode + counted.head) == counted_flops(answer)
    held = [part for layer in caches[0].layers for part in (layer.keys, layer.values)]
    assert counted.kv_bytes == sum(part.numel() * part.itemsize for part in held)
    assert cost(shape, 4, 6, new=new, dtype="bfloat16").kv_bytes == counted.kv_bytes // 2


@pytest.mark.parametrize("which", ["tiny_vlm", "tiny_gqa_vlm", "siglip_vlm"])
def test_encoder_and_projector_equal_the_flop_counter(request, counted_flops, which: str) -> None:
    vlm: Vlm = request.getfixturevalue(which)
    model = seen_by_the_counter(vlm)
    for module in model.modules():
        if hasattr(module, "use_head"):
            module.use_head = False  # nothing reads what SigLIP pools, and it is not counted
    side = model.config.vision_config.image_size
    pixels, counted = torch.randn(1, 3, side, side), cost(vlm)
    assert 2 * (counted.encoder + counted.projector) == counted_flops(
        lambda: model.base_model.get_image_features(pixel_values=pixels)
    )


def test_families_of_tiles_equal_the_flop_counter(tiled, counted_flops) -> None:
    """Encoders with several patches to a token, and projectors of all kinds."""
    adapter, counted = adapter_for(tiled), cost(wrap(tiled, None), 3, 6)  # type: ignore[arg-type]
    side = 84
    shape = (1, 1, 3, side, side) if tiled.config.model_type == "idefics3" else (1, 3, side, side)
    pixels, prompt = torch.randn(shape), embeddings(tiled, 9)
    assert 2 * (counted.encoder + counted.projector) == counted_flops(
        lambda: tiled.base_model.get_image_features(pixel_values=pixels)
    )
    assert 2 * counted.prefill == counted_flops(lambda: adapter.language_model(tiled)(inputs_embeds=prompt))


@pytest.mark.parametrize("size", SIZES)
def test_llava_next_equals_the_flop_counter_and_gets_as_many_tokens(llava_next, counted_flops, size) -> None:
    unpadded, whole = shape_of(llava_next, size), shape_of(llava_next, size, unpad=False)
    crops, got = torch.randn(1, whole.encoding.views, 3, 56, 56), []

    def encode() -> None:
        out = llava_next.base_model.get_image_features(pixel_values=crops, image_sizes=torch.tensor([size]))
        got.append(getattr(out, "pooler_output", out))

    assert 2 * (whole.encoder_macs + whole.projector_macs) == counted_flops(encode)
    assert whole.encoder_macs == unpadded.encoder_macs
    assert unpadded.visual == len(got[0][0])
    assert whole.visual == 16 * whole.encoding.views


@pytest.mark.parametrize("size", [(84, 84), (56, 168), (196, 84), (112, 112), (85, 110)])
def test_qwen_equals_the_flop_counter_window_by_window(qwen, counted_flops, size) -> None:
    shape = shape_of(qwen, size)
    rows, columns = round(size[0] / 28), round(size[1] / 28)
    patches = torch.randn(4 * rows * columns, 3 * 2 * 14 * 14)
    grid = torch.tensor([[1, 2 * rows, 2 * columns]])
    assert shape.visual == rows * columns
    assert 2 * (shape.encoder_macs + shape.projector_macs) == counted_flops(
        lambda: qwen.base_model.get_image_features(pixel_values=patches, image_grid_thw=grid)
    )


def test_two_matrices_leave_the_gate_out(tiny_gqa_vlm: Vlm) -> None:
    text = tiny_gqa_vlm.model.config.text_config
    counted = cost(tiny_gqa_vlm, 4, 5)
    gates = text.num_hidden_layers * 9 * text.hidden_size * text.intermediate_size
    assert counted.prefill - counted.prefill_2ndm == gates


def test_all_parts_add_up(tiny_vlm: Vlm) -> None:
    counted = cost(tiny_vlm, 8, 6, new=3, rule="vispruner")
    parts = (counted.encoder, counted.projector, counted.selector, counted.prefill, counted.decode, counted.head)
    assert all(part > 0 for part in parts)
    assert counted.flops == 2 * counted.macs == 2 * sum(parts)
    assert cost(tiny_vlm, 36, 6, rule="vispruner").selector == 0  # nothing to choose
    assert cost(tiny_vlm, 8, 6).head == cost(tiny_vlm, 8, 6, new=1).decode == 0


def test_one_number_is_every_layer_and_none_is_everything(tiny_vlm: Vlm) -> None:
    assert cost(tiny_vlm, 8, 6) == cost(tiny_vlm, [8, 8, 8], 6)
    assert cost(tiny_vlm, text=6).visual == (36, 36, 36)
    between = cost(tiny_vlm, dropped_after(36, 8, 1, 3), 6)
    assert between.visual == (36, 8, 8)
    assert cost(tiny_vlm, 8, 6).prefill < between.prefill < cost(tiny_vlm, None, 6).prefill


def test_table_has_a_row_per_budget_and_what_it_saves(tiny_vlm: Vlm) -> None:
    table = cost_table(tiny_vlm, (4, 16), 6, new=2, rule="divprune").set_index("keep")
    assert table.index.tolist() == [36, 16, 4]
    assert table.loc[36, ["reduction", "prefill_reduction", "prefill_reduction_2ndm", "kv_reduction"]].eq(0).all()
    pruned, stock = cost(tiny_vlm, 4, 6, new=2, rule="divprune"), cost(tiny_vlm, None, 6, new=2)
    assert table.loc[4, "flops"] == pruned.flops
    assert table.loc[4, "reduction"] == pytest.approx(1 - pruned.flops / stock.flops)
    assert table.loc[4, "kv_reduction"] == pytest.approx(1 - 11 / 43)


def test_loaded_model_of_pictures_of_any_size(qwen: PreTrainedModel, llava_next: PreTrainedModel) -> None:
    vlm = wrap(qwen, None)  # type: ignore[arg-type]  # counting asks no processor
    assert of_vlm(vlm, (84, 140)).visual == 15
    # Two rows of crops fill 112 x 112 pixels, 8 x 8 tokens, and each row of tokens ends in a newline.
    assert of_vlm(wrap(llava_next, None), (112, 112)).visual == 16 + 8 * 9  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="depend on the image: `image` must be its height and width"):
        cost(vlm, 3, 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"visual": 37}, r"`visual` must be in \[0, 36\], got 37"),
        ({"visual": -1}, r"`visual` must be in \[0, 36\], got -1"),
        ({"visual": 2.5}, r"`visual` must be in \[0, 36\], got 2.5"),
        ({"visual": [9, 8]}, "`visual` must have 3 numbers, one per layer, got 2"),
        ({"visual": [9, 8, 9]}, r"`visual` must not grow from layer to layer, got \[9, 8, 9\]"),
        ({"text": -1}, "`text` must be a whole number of at least 0, got -1"),
        ({"new": 0.5}, "`new` must be a whole number of at least 0, got 0.5"),
    ],
)
def test_impossible_numbers_are_refused(tiny_vlm: Vlm, arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cost(tiny_vlm, **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dtype": "bfloat"}, "unknown number format 'bfloat'; did you mean 'bfloat16'"),
        ({"rule": "visprunr"}, "unknown selector 'visprunr'; did you mean 'vispruner'"),
    ],
)
def test_unknown_names_suggest_the_nearest(tiny_vlm: Vlm, arguments: dict, message: str) -> None:
    with pytest.raises(KeyError, match=message):
        cost(tiny_vlm, 4, 4, **arguments)


def test_layers_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ValueError, match=r"`after` must be in \[0, 2\], got 3"):
        dropped_after(36, 8, 3, 3)
    with pytest.raises(ValueError, match=r"`keep` must be in \[0, 36\], got 40"):
        dropped_after(36, 40, 1, 3)
