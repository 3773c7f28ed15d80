from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import BatchFeature

from analysis.capture import LastRow, record
from analysis.causes import ARRANGEMENTS, Exam, arranged, last_attention, replayable, visual_positions
from analysis.models import Vlm

IMAGE = 3


def by_hand(vlm: Vlm, arrangement: str, length: int, start: int) -> list[int]:
    """The ids of one prompt as the specification writes them."""
    n = vlm.adapter.tokens(vlm.model)
    before, behind = list(range(start)), list(range(start + n, length))
    if arrangement == "equi":
        return before + [start] * n + [id - n + 1 for id in behind]
    return before + list(range(start + n - 1, start - 1, -1)) + behind


@torch.no_grad()
def logits_at(vlm: Vlm, inputs: BatchFeature, ids: list[int]) -> torch.Tensor:
    """The stock language model on one prompt at given ids, past everything that could intervene."""
    base: Any = vlm.model.model
    n = vlm.adapter.tokens(vlm.model)
    row = inputs["input_ids"][0].tolist()
    start = row.index(IMAGE)
    embeds = base.language_model.embed_tokens(inputs["input_ids"])
    embeds[0, start : start + n] = base.get_image_features(pixel_values=inputs["pixel_values"]).pooler_output[0]
    hidden = base.language_model(
        inputs_embeds=embeds,
        attention_mask=torch.ones(1, len(row), dtype=torch.long),
        position_ids=torch.tensor([ids]),
        use_cache=False,
    ).last_hidden_state
    return vlm.model.lm_head(hidden)[0]


def test_ids_of_every_arrangement() -> None:
    ids = torch.arange(7)
    assert arranged(ids, 2, 3, "true").tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert arranged(ids, 2, 3, "equi").tolist() == [0, 1, 2, 2, 2, 3, 4]
    assert arranged(ids, 2, 3, "reversed").tolist() == [0, 1, 4, 3, 2, 5, 6]
    assert arranged(ids, 2, 3, "unrotated").tolist() == [0] * 7
    with pytest.raises(KeyError, match="reversed"):
        arranged(ids, 2, 3, "revers")


def test_the_published_case() -> None:
    """576 tokens from id 35: they share id 35, and the first word behind them has id 36."""
    ids = arranged(torch.arange(700), 35, 576, "equi")
    assert set(ids[35:611].tolist()) == {35}
    assert ids[34:36].tolist() == [34, 35]
    assert ids[611:613].tolist() == [36, 37]


def test_shuffled_is_a_permutation_by_seed_and_prompts_may_start_apart() -> None:
    ids = torch.stack([torch.arange(9), torch.arange(9) + 2])
    first = torch.tensor([[2], [4]])
    one, again, other = (arranged(ids, first, 5, "shuffled", seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert torch.equal(one.sort(1).values, ids)
    assert torch.equal(one[0] + 2, one[1])
    assert one[0, [0, 1, 7, 8]].tolist() == [0, 1, 7, 8]


def test_ids_of_dropped_tokens_are_skipped() -> None:
    kept = torch.tensor([0, 1, 3, 5, 6, 7])  # of visual tokens 2..5 the ids 3 and 5 are left
    assert arranged(kept, 2, 4, "reversed").tolist() == [0, 1, 4, 2, 6, 7]
    assert arranged(kept, 2, 4, "equi").tolist() == [0, 1, 2, 2, 3, 4]


@pytest.mark.parametrize("arrangement", ["equi", "reversed"])
def test_a_full_pass_equals_the_language_model_at_those_ids(
    causes_vlm: Vlm, tiny_image: Callable[[int], Image.Image], arrangement: str
) -> None:
    inputs = causes_vlm.prepare(tiny_image(0), "what color is the circle ?")
    length, start = inputs["input_ids"].shape[1], inputs["input_ids"][0].tolist().index(IMAGE)
    expected = logits_at(causes_vlm, inputs, by_hand(causes_vlm, arrangement, length, start))
    with torch.no_grad(), visual_positions(causes_vlm, arrangement):
        found = causes_vlm.model(**inputs).logits[0]
        without_mask = causes_vlm.model(input_ids=inputs["input_ids"], pixel_values=inputs["pixel_values"]).logits[0]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(without_mask, expected, atol=1e-5, rtol=0)
    with torch.no_grad():
        assert (causes_vlm.model(**inputs).logits[0] - found).abs().max() > 1e-3


@pytest.mark.parametrize("arrangement", ["equi", "shuffled"])
def test_decoding_goes_on_at_the_arranged_ids(causes_vlm: Vlm, prompts: BatchFeature, arrangement: str) -> None:
    """With a cache and without one, left padding included."""
    with torch.no_grad(), visual_positions(causes_vlm, arrangement, seed=3):
        cached, plain = (
            causes_vlm.model.generate(**prompts, max_new_tokens=4, do_sample=False, use_cache=use, output_logits=True,
                                      return_dict_in_generate=True)
            for use in (True, False)
        )  # fmt: skip
    for one, other in zip(cached.logits, plain.logits, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=0)


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_packed_answers_equal_those_of_the_whole_model(exam: Exam, arrangement: str) -> None:
    with visual_positions(exam.vlm, arrangement, seed=5, start=exam.start):
        packed = exam.answered(max_new_tokens=4)["prediction"].tolist()
    with visual_positions(exam.vlm, arrangement, seed=5):
        alone = [
            exam.vlm.answer(sample.image, question.question, max_new_tokens=4)
            for sample in exam.samples
            for question in sample.questions
        ]
    assert packed == alone


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_replayed_rows_equal_an_eager_layer_written_by_hand(
    causes_vlm: Vlm,
    tiny_image: Callable[[int], Image.Image],
    eager_layer: Callable[..., Any],
    layer_states: Callable[..., list[torch.Tensor]],
    arrangement: str,
) -> None:
    inputs = causes_vlm.prepare(tiny_image(1), "is there a red square ?")
    length, start = inputs["input_ids"].shape[1], inputs["input_ids"][0].tolist().index(IMAGE)
    n = causes_vlm.adapter.tokens(causes_vlm.model)
    found = last_attention(causes_vlm, inputs, arrangement, seed=2)[0]
    ids = arranged(torch.arange(length), start, n, arrangement, seed=2)
    for layer, hidden in enumerate(layer_states(causes_vlm, inputs)[:-1]):
        weights, _ = eager_layer(causes_vlm, layer, hidden, ids)
        torch.testing.assert_close(found[layer], weights[:, -1, start : start + n], atol=1e-5, rtol=0)


def test_true_ids_give_the_recorded_rows_with_left_padding(causes_vlm: Vlm, prompts: BatchFeature) -> None:
    with torch.no_grad(), record(causes_vlm, last=LastRow()) as log:
        causes_vlm.model(**prompts)
    torch.testing.assert_close(last_attention(causes_vlm, prompts, "true"), log.last, atol=1e-5, rtol=0)


def test_equi_takes_position_out_of_equal_tokens(tiny_vlm: Vlm) -> None:
    """Equal patches have equal keys in the first layer, so only ids can tell the tokens apart."""
    inputs = tiny_vlm.prepare(Image.new("RGB", (24, 24), "red"), "what color is the circle ?")
    tower: Any = tiny_vlm.adapter.vision_tower(tiny_vlm.model)
    table = tower.embeddings.position_embedding.weight
    saved = table.detach().clone()
    try:
        with torch.no_grad():
            table[1:] = table[1]
        rows = {name: last_attention(tiny_vlm, inputs, name)[0, 0] for name in ("true", "equi")}
    finally:
        with torch.no_grad():
            table.copy_(saved)
    assert float(rows["equi"].std(-1).max()) < 1e-6
    assert float(rows["true"].std(-1).max()) > 1e-4


def test_packed_rows_equal_those_of_single_prompts(exam: Exam) -> None:
    for image, sample in enumerate(exam.samples):
        packed = exam.attention(exam.asked(image), "equi")
        for number, question in enumerate(sample.questions):
            alone = last_attention(exam.vlm, exam.vlm.prepare(sample.image, question.question), "equi")[0]
            torch.testing.assert_close(packed[number], alone, atol=1e-5, rtol=0)


def test_text_rows_are_the_mean_over_the_words_without_the_last(
    exam: Exam, eager_layer: Callable[..., Any], layer_states: Callable[..., list[torch.Tensor]]
) -> None:
    inputs = exam.vlm.prepare(exam.samples[0].image, exam.samples[0].questions[1].question)
    stop = exam.start + exam.tokens
    found = exam.attention(exam.asked(0), asking="text")[1]
    for layer, hidden in enumerate(layer_states(exam.vlm, inputs)[:-1]):
        weights, _ = eager_layer(exam.vlm, layer, hidden, torch.arange(len(hidden)))
        expected = weights[:, stop:-1, exam.start : stop].mean(1)
        torch.testing.assert_close(found[layer], expected, atol=1e-5, rtol=0)


def test_the_model_is_as_before_also_after_an_exception(causes_vlm: Vlm, prompts: BatchFeature) -> None:
    with torch.no_grad():
        logits = causes_vlm.model(**prompts).logits
    with pytest.raises(RuntimeError, match="inside"), visual_positions(causes_vlm, "reversed"):
        raise RuntimeError("inside")
    with pytest.raises(RuntimeError, match="inside"), replayable(causes_vlm):
        raise RuntimeError("inside")
    with torch.no_grad():
        assert torch.equal(causes_vlm.model(**prompts).logits, logits)
    assert not any(m._forward_pre_hooks for m in causes_vlm.model.modules())


def test_recording_beside_a_replay_is_exact(causes_vlm: Vlm, prompts: BatchFeature) -> None:
    with torch.no_grad():
        logits = causes_vlm.model(**prompts).logits
        with replayable(causes_vlm):
            assert torch.equal(causes_vlm.model(**prompts).logits, logits)


def test_refusals(causes_vlm: Vlm, prompts: BatchFeature) -> None:
    with pytest.raises(KeyError, match="equi"), visual_positions(causes_vlm, "eqi"):
        pass
    with replayable(causes_vlm) as replay, pytest.raises(ValueError, match="no forward pass of the language model"):
        replay.call(0)
    short = prompts["input_ids"].clone()
    short[0, int((short[0] == IMAGE).nonzero()[0])] = 1  # a placeholder too few
    with visual_positions(causes_vlm, "equi"), pytest.raises(ValueError, match="exactly one image"):
        causes_vlm.model(input_ids=short, pixel_values=prompts["pixel_values"])
