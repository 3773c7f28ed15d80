"""Recorded rows against eager attention maps, bit-identical outputs, and nothing left behind."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace

import pytest
import torch
from PIL import Image
from torch import Tensor
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from analysis.capture import AbstractReducer, ClsRow, FullMap, LastRow, MeanReceived, record
from analysis.models import Vlm

Picture = Callable[[int], Image.Image]
QUESTIONS = ["what color is the circle ?", "is there a red square ?", "how many star is there on the green sign ?"]
TIGHT = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(params=["tiny_vlm", "tiny_gqa_vlm"])
def vlm(request: pytest.FixtureRequest) -> Vlm:
    return request.getfixturevalue(request.param)


@pytest.fixture
def inputs(vlm: Vlm, tiny_image: Picture):
    """Three questions of different lengths, so two rows are padded on the left."""
    batch = vlm.prepare([tiny_image(seed) for seed in range(3)], QUESTIONS)
    assert (batch["attention_mask"] == 0).any()
    return batch


def eager(vlm: Vlm) -> Vlm:
    model = copy.deepcopy(vlm.model)
    model.set_attn_implementation("eager")
    return replace(vlm, model=model.eval())


@torch.no_grad()
def eager_maps(vlm: Vlm, inputs) -> tuple[list[Tensor], list[Tensor]]:
    """Attention maps [image, head, query, key] of every vision layer and every text layer, from the library."""
    model = eager(vlm).model
    vision = model.model.get_image_features(pixel_values=inputs["pixel_values"], output_attentions=True)
    return list(vision.attentions), list(model(**inputs, output_attentions=True, use_cache=False).attentions)


def visual_columns(vlm: Vlm, inputs) -> list[int]:
    """Columns of the visual tokens, equal for all rows of a right-aligned text; here per row."""
    return [row.nonzero()[:, 0].tolist() for row in inputs["input_ids"] == vlm.model.config.image_token_id]


def footprint(vlm: Vlm) -> tuple:
    """Everything a recording might leave behind."""
    hooks = [
        (name, len(module._forward_hooks), len(module._forward_pre_hooks), tuple(module.__dict__))
        for name, module in vlm.model.named_modules()
    ]
    registry = (dict(vars(ALL_ATTENTION_FUNCTIONS)), dict(ALL_ATTENTION_FUNCTIONS))
    return hooks, registry, vlm.model.config.to_json_string(), vlm.model.config._attn_implementation


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@torch.no_grad()
def test_rows_equal_eager_maps(vlm: Vlm, inputs, implementation: str) -> None:
    running = vlm if implementation == "sdpa" else eager(vlm)
    assert running.model.config._attn_implementation == implementation
    vision, text = eager_maps(vlm, inputs)
    with record(running, cls=ClsRow(), last=LastRow()) as log:
        running.model(**inputs)
    columns = visual_columns(vlm, inputs)
    n = vlm.adapter.tokens(vlm.model)
    assert log.cls.shape == (3, 3, 4, n)
    assert log.last.shape == (3, 3, 4, n)
    assert log.cls.dtype == log.last.dtype == torch.float32
    for layer in range(3):
        torch.testing.assert_close(log.cls[:, layer], vision[layer][:, :, 0, 1:], **TIGHT)
        for row in range(3):
            torch.testing.assert_close(log.last[row, layer], text[layer][row, :, -1, columns[row]], **TIGHT)
    assert (log.last.sum(-1) < 1).all()  # other keys hold the rest
    assert log.cls.std(-1).min() > 1e-3  # attention of the fixture is not flat: the comparison means something


@torch.no_grad()
def test_received_attention_and_maps_equal_eager_maps(vlm: Vlm, inputs) -> None:
    vision, _ = eager_maps(vlm, inputs)
    with record(
        vlm,
        received=MeanReceived(layers=(1,), chunk=5),
        by_head=MeanReceived(heads=True),
        map=FullMap(layers=(-2,), chunk=7),
        maps=FullMap(heads=True),
    ) as log:
        vlm.model(**inputs)
    visual = torch.stack(vision, 1)[..., 1:, 1:]
    torch.testing.assert_close(log.maps, visual, **TIGHT)
    torch.testing.assert_close(log.map[:, 0], visual[:, 1].mean(1), **TIGHT)
    torch.testing.assert_close(log.by_head, visual.mean(-2), **TIGHT)
    torch.testing.assert_close(log.received[:, 0], visual[:, 1].mean((1, 2)), **TIGHT)


@torch.no_grad()
def test_layers_and_head_means(vlm: Vlm, inputs) -> None:
    with record(vlm, all=ClsRow(), some=ClsRow(heads=False, layers=(-1, 0)), last=LastRow(heads=False)) as log:
        vlm.model(**inputs)
    assert list(log) == ["all", "some", "last"]
    torch.testing.assert_close(log["some"], log.all[:, [2, 0]].mean(2))
    assert log.last.shape == (3, 3, vlm.adapter.tokens(vlm.model))


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@torch.no_grad()
def test_outputs_are_bit_identical(vlm: Vlm, inputs, implementation: str) -> None:
    running = vlm if implementation == "sdpa" else eager(vlm)
    options = {"max_new_tokens": 4, "do_sample": False, "return_dict_in_generate": True, "output_scores": True}
    logits = running.model(**inputs).logits
    stock = running.model.generate(**inputs, **options)
    with record(running, cls=ClsRow(), last=LastRow(), map=FullMap()):
        recorded = running.model(**inputs).logits
        generated = running.model.generate(**inputs, **options)
    assert torch.equal(recorded, logits)
    assert torch.equal(generated.sequences, stock.sequences)
    assert all(torch.equal(a, b) for a, b in zip(generated.scores, stock.scores, strict=True))


@torch.no_grad()
def test_generate_records_the_prefill_once(vlm: Vlm, inputs, tiny_image: Picture) -> None:
    with record(vlm, cls=ClsRow(), last=LastRow()) as forward:
        vlm.model(**inputs)
    with record(vlm, cls=ClsRow(), last=LastRow()) as log:
        vlm.model.generate(**inputs, max_new_tokens=3, do_sample=False)
        vlm.answer(tiny_image(0), QUESTIONS[0], max_new_tokens=2)
    torch.testing.assert_close(log.cls[:3], forward.cls)
    torch.testing.assert_close(log.last[:3], forward.last)
    assert log.last.shape[0] == log.cls.shape[0] == 4
    torch.testing.assert_close(log.last[3], forward.last[0], **TIGHT)  # alone and without padding


@torch.no_grad()
def test_images_one_by_one(vlm: Vlm, inputs) -> None:
    with record(vlm, cls=ClsRow()) as log:
        vlm.model(**inputs)
    assert len(log.each("cls")) == 3
    for image, rows in zip(log.each("cls"), log.cls, strict=True):
        assert torch.equal(image, rows)


@torch.no_grad()
def test_beams_count_once_each(tiny_vlm: Vlm, tiny_image: Picture) -> None:
    inputs = tiny_vlm.prepare(tiny_image(0), QUESTIONS[0])
    with record(tiny_vlm, cls=ClsRow(), last=LastRow()) as log:
        tiny_vlm.model.generate(**inputs, max_new_tokens=2, num_beams=3, do_sample=False)
    assert (log.cls.shape[0], log.last.shape[0]) == (1, 3)


@torch.no_grad()
def test_a_text_padded_on_the_right_is_read_at_its_last_token(tiny_vlm: Vlm, tiny_image: Picture) -> None:
    alone = tiny_vlm.prepare(tiny_image(0), QUESTIONS[0])
    padded = {
        "pixel_values": alone["pixel_values"],
        "input_ids": torch.nn.functional.pad(alone["input_ids"], (0, 3)),
        "attention_mask": torch.nn.functional.pad(alone["attention_mask"], (0, 3)),
    }
    with record(tiny_vlm, last=LastRow()) as log:
        tiny_vlm.model(**alone)
        tiny_vlm.model(**padded)
    torch.testing.assert_close(log.last[0], log.last[1], **TIGHT)


@torch.no_grad()
def test_positional_arguments_and_a_bare_model(tiny_vlm: Vlm, tiny_image: Picture) -> None:
    inputs = tiny_vlm.prepare(tiny_image(0), QUESTIONS[0])
    with record(tiny_vlm.model, last=LastRow()) as log:
        tiny_vlm.model.model(inputs["input_ids"], inputs["pixel_values"], inputs["attention_mask"])
    assert log.last.shape[0] == 1


@torch.no_grad()
def test_only_this_model_is_recorded(tiny_vlm: Vlm, tiny_gqa_vlm: Vlm, tiny_image: Picture) -> None:
    with record(tiny_vlm, cls=ClsRow()) as one, record(tiny_gqa_vlm, cls=ClsRow()) as two:
        tiny_vlm.answer(tiny_image(0), QUESTIONS[0], max_new_tokens=1)
    assert one.cls.shape == (1, 3, 4, 36)
    with pytest.raises(ValueError, match="`cls` recorded nothing"):
        two.cls  # noqa: B018


def test_gradients_still_flow(tiny_vlm: Vlm, tiny_image: Picture) -> None:
    inputs = tiny_vlm.prepare(tiny_image(0), QUESTIONS[0])
    with record(tiny_vlm, cls=ClsRow(), last=LastRow()) as log:
        logits = tiny_vlm.model(**inputs).logits
    assert logits.requires_grad
    assert not log.last.requires_grad


@torch.no_grad()
def test_nothing_is_left_behind(vlm: Vlm, inputs) -> None:
    before = footprint(vlm)
    with record(vlm, cls=ClsRow(), last=LastRow()):
        vlm.model(**inputs)
        assert footprint(vlm) != before
    assert footprint(vlm) == before


@dataclass(frozen=True)
class Failing(AbstractReducer):
    tower = "text"

    def reduce(self, call, place) -> Tensor:
        raise RuntimeError("reducer failed")


@torch.no_grad()
def test_nothing_is_left_behind_by_an_exception(vlm: Vlm, inputs) -> None:
    before = footprint(vlm)
    logits = vlm.model(**inputs).logits
    with pytest.raises(RuntimeError, match="reducer failed"), record(vlm, bad=Failing(layers=(1,))):
        vlm.model(**inputs)
    with pytest.raises(ZeroDivisionError), record(vlm, cls=ClsRow()):
        raise ZeroDivisionError
    assert footprint(vlm) == before
    assert torch.equal(vlm.model(**inputs).logits, logits)


@torch.no_grad()
def test_a_broken_forward_pass_shows(tiny_vlm: Vlm, tiny_image: Picture) -> None:
    inputs = tiny_vlm.prepare(tiny_image(0), QUESTIONS[0])
    with ExitStack() as stack:
        log = stack.enter_context(record(tiny_vlm, last=LastRow(), bad=Failing(layers=(1,))))
        with pytest.raises(RuntimeError, match="reducer failed"):
            tiny_vlm.model(**inputs)
    with pytest.raises(ValueError, match="`last` is incomplete: a forward pass broke off"):
        log.last  # noqa: B018


@torch.no_grad()
def test_a_prompt_without_image_is_not_recorded(tiny_vlm: Vlm) -> None:
    ids = torch.tensor([[1, 4, 9, 5]])
    with record(tiny_vlm, last=LastRow()) as log:
        tiny_vlm.model(input_ids=ids)
    with pytest.raises(ValueError, match="`last` recorded nothing: no forward pass with an image"):
        log.last  # noqa: B018


@torch.no_grad()
def test_prompts_with_and_without_image_are_refused_together(tiny_vlm: Vlm, tiny_image: Picture) -> None:
    inputs = tiny_vlm.prepare(tiny_image(0), QUESTIONS[0])
    inputs["input_ids"] = torch.cat([inputs["input_ids"], torch.full_like(inputs["input_ids"], 9)])
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    with (
        record(tiny_vlm, last=LastRow()),
        pytest.raises(ValueError, match=r"equally many visual tokens, got \[36, 0\]"),
    ):
        tiny_vlm.model(**inputs)


@pytest.fixture
def shortening(tiny_vlm: Vlm) -> Iterator[None]:
    """The language model sees one token less, as under a pruner."""

    def drop(_, args, options):
        shorter = options | {"inputs_embeds": options["inputs_embeds"][:, 1:], "attention_mask": None}
        return args, shorter

    handle = tiny_vlm.model.model.language_model.register_forward_pre_hook(drop, with_kwargs=True)
    yield
    handle.remove()


@pytest.mark.usefixtures("shortening")
@torch.no_grad()
def test_a_pruned_prompt_is_refused(tiny_vlm: Vlm, tiny_image: Picture) -> None:
    inputs = tiny_vlm.prepare(tiny_image(0), QUESTIONS[0])
    length = inputs["input_ids"].shape[1]
    with record(tiny_vlm, cls=ClsRow()) as log:
        tiny_vlm.model(**inputs)
    assert log.cls.shape[0] == 1  # the encoder is not concerned
    with (
        record(tiny_vlm, last=LastRow()),
        pytest.raises(ValueError, match=f"see the {length} tokens of the prompt .* got {length - 1}: record outside"),
    ):
        tiny_vlm.model(**inputs)


def test_bad_arguments_are_refused(tiny_vlm: Vlm) -> None:
    before = footprint(tiny_vlm)
    for reducers, error, message in (
        ({}, ValueError, "`reducers` must name at least one"),
        ({"cls": "row"}, TypeError, "`cls` must be a reducer such as ClsRow.., got 'row'"),
        ({"cls": ClsRow(layers=(3,))}, ValueError, r"`layers` of `cls` must be in \[-3, 2\], got 3"),
        ({"cls": ClsRow(layers=())}, ValueError, "must name at least one layer and none twice"),
        ({"cls": ClsRow(layers=(0, -3))}, ValueError, "must name at least one layer and none twice"),
    ):
        with pytest.raises(error, match=message), record(tiny_vlm, **reducers):
            pass
    assert footprint(tiny_vlm) == before


def test_unknown_records_are_named(tiny_vlm: Vlm) -> None:
    with record(tiny_vlm, cls=ClsRow(), last=LastRow()) as log:
        pass
    with pytest.raises(AttributeError, match="unknown record 'lats'; did you mean 'last'"):
        log.lats  # noqa: B018
    with pytest.raises(KeyError, match="did you mean 'cls'"):
        log["clss"]
    assert "cls" in dir(log)
    copy.copy(log)
