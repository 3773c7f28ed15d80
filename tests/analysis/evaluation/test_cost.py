"""The cost model against torch's own counter and against the published conventions on LLaVA-1.5-7B."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from analysis.evaluation import cost, cost_table
from analysis.models import Vlm, wrap

TERA = 1e12


@pytest.fixture(scope="module")
def llava_7b() -> Vlm:
    """LLaVA-1.5-7B without memory for its weights, half precision."""
    vision = CLIPVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        image_size=336,
        patch_size=14,
    )
    text = LlamaConfig(vocab_size=32064, max_position_embeddings=4096)  # the other defaults are those of LLaMA-7B
    config = LlavaConfig(vision_config=vision, text_config=text, vision_feature_layer=-2)
    with torch.device("meta"):
        model = LlavaForConditionalGeneration(config).half()
    return wrap(model, None)  # type: ignore[arg-type]  # counting asks no processor


@pytest.mark.parametrize("which", ["tiny_vlm", "tiny_gqa_vlm"])
@pytest.mark.parametrize(("n_visual", "n_text"), [(0, 3), (7, 1), (16, 20)])
def test_language_and_vision_equal_the_flop_counter(
    request: pytest.FixtureRequest, which: str, n_visual: int, n_text: int
) -> None:
    vlm: Vlm = request.getfixturevalue(which)
    model = copy.deepcopy(vlm.model)
    model.set_attn_implementation("eager")  # the counter knows plain matrix products, not the fused kernel of a CPU
    width = model.config.text_config.hidden_size
    side = model.config.vision_config.image_size
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        vlm.adapter.language_model(model)(inputs_embeds=torch.randn(1, n_visual + n_text, width))
    assert cost(vlm, n_visual, n_text).language_flops == counter.get_total_flops()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.base_model.get_image_features(pixel_values=torch.randn(1, 3, side, side))
    counted = cost(vlm, n_visual, n_text)
    assert counted.vision_flops + counted.projector_flops == counter.get_total_flops()


def test_the_cache_is_as_large_as_the_one_generation_fills(tiny_gqa_vlm: Vlm) -> None:
    embeds = torch.randn(1, 9, tiny_gqa_vlm.model.config.text_config.hidden_size)
    with torch.no_grad():
        cache = tiny_gqa_vlm.adapter.language_model(tiny_gqa_vlm.model)(inputs_embeds=embeds).past_key_values
    held = sum(part.numel() * part.itemsize for layer in cache.layers for part in (layer.keys, layer.values))
    assert cost(tiny_gqa_vlm, 4, 5).kv_bytes == held


@pytest.mark.parametrize(
    ("n_visual", "n_text", "tflop"),
    [(576, 60, 8.450), (192, 60, 3.297), (64, 60, 1.614), (0, 60, 0.779), (576, 0, 7.635), (64, 0, 0.831)],
)
def test_llava_7b_prefill_as_counted_by_others(llava_7b: Vlm, n_visual: int, n_text: int, tflop: float) -> None:
    head = 2 * 4096 * 32064  # they count the logits of the last position too
    assert (cost(llava_7b, n_visual, n_text).language_flops + head) / TERA == pytest.approx(tflop, abs=5.1e-4)


def test_llava_7b_tower_projector_and_cache(llava_7b: Vlm) -> None:
    whole = cost(llava_7b, 576, 0)
    assert whole.vision_flops / TERA == pytest.approx(0.3819, abs=1e-4)
    assert whole.projector_flops / TERA == pytest.approx(0.0242, abs=1e-4)
    assert whole.flops == whole.vision_flops + whole.projector_flops + whole.language_flops
    assert whole.kv_bytes == 576 * 524288
    assert whole.language_flops_2ndm / 2 / TERA == pytest.approx(2.99, abs=5e-3)  # multiply-accumulates


def test_llava_7b_savings(llava_7b: Vlm) -> None:
    """Shares saved by the two published definitions, without text."""
    table = cost_table(llava_7b, (192, 128, 64, 32), n_text=0).set_index("keep")
    assert table.index.tolist() == [576, 192, 128, 64, 32]
    percent = (100 * table.drop(index=576)).round(2)
    assert percent["language_reduction"].tolist() == [67.17, 78.17, 89.11, 94.56]
    assert percent["language_reduction_2ndm"].tolist() == [67.31, 78.28, 89.18, 94.60]
    assert percent["kv_reduction"].tolist() == [66.67, 77.78, 88.89, 94.44]
    with_text = cost_table(llava_7b, (64,), n_text=60).set_index("keep")
    assert 100 * with_text.loc[64, "reduction"] == pytest.approx(77.2, abs=0.05)  # vision tower and projector counted
    assert table.loc[576, ["reduction", "language_reduction", "kv_reduction"]].eq(0).all()


def test_cost_refuses_impossible_numbers(tiny_vlm: Vlm) -> None:
    with pytest.raises(ValueError, match=r"`n_visual` must be in \[0, 36\], got 37"):
        cost(tiny_vlm, 37, 1)
    with pytest.raises(ValueError, match="`n_text` must not be negative, got -1"):
        cost(tiny_vlm, 1, -1)
