"""The shipped models against what others counted and against the sizes that are known of them."""

from __future__ import annotations

import math
import re

import pytest
import torch
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from analysis.cost import SHIPPED, architecture, configuration, cost, cost_table
from analysis.cost.models import _on_meta
from analysis.models import adapter_for

TERA = 1e12


@pytest.mark.parametrize("name", SHIPPED)
def test_every_file_says_where_its_numbers_come_from(name: str) -> None:
    content = configuration(name)
    assert content["name"] == name
    assert re.fullmatch(r"[\w-]+/[\w.-]+", content["checkpoint"])
    assert {"vision_config", "text_config", "image"} <= set(content["sources"])
    assert all(source.strip() for source in content["sources"].values())


@pytest.mark.parametrize(
    ("name", "billions"),
    [("llava-1.5-7b", 7.063), ("llava-1.5-13b", 13.351), ("llava-next-7b", 7.063), ("qwen2.5-vl-7b", 8.292)],
)
def test_parameters_without_weights(name: str, billions: float) -> None:
    model = _on_meta(name)
    assert all(parameter.is_meta for parameter in model.parameters())
    assert sum(parameter.numel() for parameter in model.parameters()) / 1e9 == pytest.approx(billions, abs=6e-4)


def test_language_model_of_llava_has_the_size_of_llama() -> None:
    shape, width = architecture("llava-1.5-7b"), 4096
    norms = (2 * len(shape.layers) + 1) * width
    parameters = sum(block.matrices for block in shape.layers) + 2 * shape.head + norms
    assert parameters / 1e9 == pytest.approx(6.739, abs=5e-4)


@pytest.mark.parametrize(
    ("visual", "text", "tflop"),
    [
        (576, 60, 8.450),
        (192, 60, 3.297),
        (128, 60, 2.454),
        (64, 60, 1.614),
        (32, 60, 1.196),
        (16, 60, 0.9876),
        (0, 60, 0.779),
        (576, 0, 7.635),
        (64, 0, 0.831),
        (8, 0, 0.1039),
    ],
)
def test_prefill_of_llava_7b_as_counted_by_others(visual: int, text: int, tflop: float) -> None:
    counted = cost("llava-1.5-7b", visual, text, new=1)  # they count the logits of the last position too
    assert 2 * (counted.prefill + counted.head) / TERA == pytest.approx(tflop, abs=5.1e-4)


@pytest.mark.parametrize("name", SHIPPED)
def test_answer_of_a_shipped_model_equals_the_flop_counter(name: str, counted_flops) -> None:
    """Prefill and two more tokens on the meta device, through the language model and its head as they are."""
    model, shape = _on_meta(name), architecture(name)

    def states(tokens: int) -> torch.Tensor:
        return torch.empty(1, tokens, shape.width, device="meta", dtype=torch.bfloat16)

    def answer() -> None:
        language, cache = adapter_for(model).language_model(model), None
        for tokens in (124, 1, 1):
            out = language(inputs_embeds=states(tokens), past_key_values=cache, use_cache=True)
            model.get_output_embeddings()(out.last_hidden_state[:, -1:])
            cache = out.past_key_values

    counted = cost(shape, 64, 60, new=3)
    assert 2 * (counted.prefill + counted.decode + counted.head) == counted_flops(answer)


def test_tower_of_a_shipped_model_equals_the_flop_counter(counted_flops) -> None:
    model, counted = _on_meta("llava-next-7b"), cost("llava-next-7b")
    crops = torch.empty(5, 3, 336, 336, device="meta", dtype=torch.bfloat16)

    def encode() -> None:
        seen = model.base_model.vision_tower(crops, output_hidden_states=True).hidden_states[-2]
        model.base_model.multi_modal_projector(seen[:, 1:])

    assert 2 * (counted.encoder + counted.projector) == counted_flops(encode)


def test_tower_projector_and_cache_of_llava_7b() -> None:
    whole = cost("llava-1.5-7b", 576, 0)
    assert 2 * whole.encoder / TERA == pytest.approx(0.3819, abs=5e-5)
    assert 2 * whole.projector / TERA == pytest.approx(0.0242, abs=5e-5)
    assert whole.prefill_2ndm / TERA == pytest.approx(2.99, abs=5e-3)
    assert whole.prefill / TERA == pytest.approx(3.82, abs=5e-3)
    assert whole.kv_bytes == 576 * 524288 == 288 * 2**20
    assert cost("llava-1.5-7b", 64, 0, dtype="float32").kv_bytes == 64 * 2**20


def test_savings_of_llava_7b() -> None:
    """Shares saved by both definitions, without text; and with text, tower and projector."""
    table = cost_table("llava-1.5-7b", (192, 128, 64, 32), 0).set_index("keep")
    percent = (100 * table.drop(index=576)).round(2)
    assert percent["prefill_reduction"].tolist() == [67.17, 78.17, 89.11, 94.56]
    assert percent["prefill_reduction_2ndm"].tolist() == [67.31, 78.28, 89.18, 94.60]
    assert percent["kv_reduction"].tolist() == [66.67, 77.78, 88.89, 94.44]
    with_text = cost_table("llava-1.5-7b", (192, 128, 64, 32), 60).set_index("keep").drop(index=576)
    assert (100 * with_text["reduction"]).round(1).tolist() == [58.2, 67.7, 77.2, 81.9]


def test_crops_of_llava_next() -> None:
    one, five = architecture("llava-1.5-7b"), architecture("llava-next-7b")
    assert (five.encoding.views, five.visual) == (5, 2880)
    assert five.encoder_macs == 5 * one.encoder_macs
    assert five.projector_macs == 5 * one.projector_macs
    assert architecture("llava-next-7b", image=(336, 1008)).encoding.views == 4
    counted = cost(five, None, 60)
    assert counted.prefill / TERA == pytest.approx(21.3, abs=0.05)
    assert counted.prefill_2ndm / TERA == pytest.approx(17.1, abs=0.05)


def test_newlines_of_llava_next() -> None:
    square = architecture("llava-next-7b", unpad=True)
    assert square.visual == 576 + 48 * 49
    wide = architecture("llava-next-7b", image=(300, 600), unpad=True)  # fills 336 x 672 but for nothing
    assert wide.visual == 576 + 24 * 49


def test_images_do_not_matter_to_llava() -> None:
    assert architecture("llava-1.5-7b", image=(10, 2000)) == architecture("llava-1.5-7b")


@pytest.mark.parametrize("size", [(672, 672), (300, 500), (3000, 2000), (20, 30)])
def test_qwen_follows_the_size_of_the_image(size: tuple[int, int]) -> None:
    shape = architecture("qwen2.5-vl-7b", image=size)
    height, width = smart_resize(*size, factor=28)
    assert shape.visual == height * width // 784
    assert shape.encoding.patches == 4 * shape.visual
    windows, everything = shape.encoding.segments[0], shape.encoding.segments[7]
    assert everything == (shape.encoding.patches,)
    assert sum(windows) == shape.encoding.patches
    assert max(windows) <= 64
    assert len(windows) == math.ceil(height / 112) * math.ceil(width / 112)


def test_cache_of_qwen_is_small() -> None:
    # 4 of 28 heads have keys and values of their own: 2 x 28 x 4 x 128 values per token.
    assert cost("qwen2.5-vl-7b", 64, 0).kv_bytes == 64 * 57344


def test_unknown_model_suggests_the_nearest() -> None:
    with pytest.raises(KeyError, match=r"unknown model 'lava-1.5-7b'; did you mean 'llava-1.5-7b'"):
        architecture("lava-1.5-7b")


@pytest.mark.parametrize("size", [(0, 10), (10,), (1, 2, 3)])
def test_images_without_area_are_refused(size: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="`image` must be a height and a width of at least 1 pixel, got"):
        architecture("qwen2.5-vl-7b", image=size)  # type: ignore[arg-type]
