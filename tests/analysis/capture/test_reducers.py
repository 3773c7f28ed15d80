"""Every reducer against the library's own eager attention maps: padding, shared key heads, causal masks."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from analysis.capture import (
    ClsRow,
    Entropy,
    FullMap,
    ImageRows,
    LastRow,
    MeanReceived,
    TextMean,
    TopK,
    default_reducers,
    record,
    streamed,
    vision_reducer,
)
from analysis.capture.attention_call import AttentionCall
from analysis.capture.reducers import Place
from analysis.capture.streamed import stream
from analysis.models import Vlm

QUESTIONS = ["what color is the circle ?", "is there a red square ?", "how many star is there on the green sign ?"]
TIGHT = {"rtol": 0, "atol": 1e-5}


@dataclass
class Eager:
    """Maps [layer][image, head, query, key] of both towers, and the positions of the visual tokens of each prompt."""

    vision: list[Tensor]
    text: list[Tensor]
    visual: list[list[int]]

    def among_visual(self, layer: int, prompt: int) -> Tensor:
        at = self.visual[prompt]
        return self.text[layer][prompt][:, at][:, :, at]


@pytest.fixture(params=["tiny_vlm", "tiny_gqa_vlm", "siglip_vlm"])
def vlm(request: pytest.FixtureRequest) -> Vlm:
    return request.getfixturevalue(request.param)


@pytest.fixture
def inputs(vlm: Vlm, tiny_image):
    batch = vlm.prepare([tiny_image(seed) for seed in range(3)], QUESTIONS)
    assert (batch["attention_mask"] == 0).any()  # padded on the left
    return batch


@pytest.fixture
def eager(vlm: Vlm, inputs) -> Eager:
    model = copy.deepcopy(vlm.model)
    model.set_attn_implementation("eager")
    with torch.no_grad():
        vision = model.model.get_image_features(pixel_values=inputs["pixel_values"], output_attentions=True).attentions
        text = model(**inputs, output_attentions=True, use_cache=False).attentions
    visual = [row.nonzero()[:, 0].tolist() for row in inputs["input_ids"] == model.config.image_token_id]
    return Eager(list(vision), list(text), visual)


def entropy(maps: Tensor) -> Tensor:
    return torch.special.entr(maps.double()).sum(-1).float()


@torch.no_grad()
def test_mean_of_the_text_rows(vlm: Vlm, inputs, eager: Eager) -> None:
    with record(vlm, mean=TextMean(), by_head=TextMean(heads=True), reference=TextMean(divisor="reference")) as log:
        vlm.model(**inputs)
    for layer, maps in enumerate(eager.text):
        for prompt, columns in enumerate(eager.visual):
            rows = maps[prompt][:, columns[-1] + 1 : -1][:, :, columns]
            torch.testing.assert_close(log.by_head[prompt, layer], rows.mean(1), **TIGHT)
            torch.testing.assert_close(log.mean[prompt, layer], rows.mean((0, 1)), **TIGHT)
            scale = rows.shape[1] / (rows.shape[1] + 1)
            torch.testing.assert_close(log.reference[prompt, layer], log.mean[prompt, layer] * scale)
    assert log.mean.std(-1).min() > 1e-3  # the maps of the fixture are not flat: the comparison means something


@torch.no_grad()
def test_image_rows_are_divided_by_the_tokens_that_see_them(vlm: Vlm, inputs, eager: Eager) -> None:
    n = vlm.adapter.tokens(vlm.model)
    with record(vlm, rows=ImageRows(), by_head=ImageRows(heads=True, chunk=7)) as log:
        vlm.model(**inputs)
    for layer in range(len(eager.text)):
        for prompt in range(3):
            maps = eager.among_visual(layer, prompt)
            assert maps.triu(1).abs().max() == 0  # the last token is seen by itself alone, the first by all
            expected = torch.stack([maps[:, j:, j].mean(-1) for j in range(n)], -1)
            torch.testing.assert_close(log.by_head[prompt, layer], expected, **TIGHT)
            torch.testing.assert_close(log.rows[prompt, layer], expected.mean(0), **TIGHT)


@torch.no_grad()
def test_entropy_of_both_towers(vlm: Vlm, inputs, eager: Eager) -> None:
    cls = int(vlm.adapter.has_cls)
    with record(vlm, vision=Entropy(heads=True), mean=Entropy(chunk=5), text=Entropy(heads=True, of="text")) as log:
        vlm.model(**inputs)
    vision = torch.stack([entropy(maps)[:, :, cls:] for maps in eager.vision], 1)
    torch.testing.assert_close(log.vision, vision, **TIGHT)
    torch.testing.assert_close(log.mean, vision.mean(2), **TIGHT)
    for layer, maps in enumerate(eager.text):
        for prompt, columns in enumerate(eager.visual):
            torch.testing.assert_close(log.text[prompt, layer], entropy(maps[prompt][:, columns]), **TIGHT)
    assert log.vision.min() >= 0
    assert log.vision.std() > 0.1


@torch.no_grad()
def test_maps_of_the_language_model(vlm: Vlm, inputs, eager: Eager) -> None:
    with record(vlm, maps=FullMap(heads=True, of="text", chunk=7), mean=FullMap(of="text", layers=(1,))) as log:
        vlm.model(**inputs)
    for prompt in range(3):
        for layer in range(len(eager.text)):
            torch.testing.assert_close(log.maps[prompt, layer], eager.among_visual(layer, prompt), **TIGHT)
        torch.testing.assert_close(log.mean[prompt, 0], eager.among_visual(1, prompt).mean(0), **TIGHT)


@torch.no_grad()
def test_received_attention_of_the_encoder(vlm: Vlm, inputs, eager: Eager) -> None:
    cls = int(vlm.adapter.has_cls)
    with record(vlm, received=MeanReceived(heads=True, chunk=5), map=FullMap(heads=True)) as log:
        vlm.model(**inputs)
    visual = torch.stack(eager.vision, 1)[..., cls:, cls:]
    torch.testing.assert_close(log.received, visual.mean(-2), **TIGHT)
    torch.testing.assert_close(log.map, visual, **TIGHT)


@torch.no_grad()
def test_the_largest_weights_and_where_they_are(vlm: Vlm, inputs) -> None:
    with record(
        vlm,
        last=LastRow(),
        top=TopK(LastRow(), 4),
        received=MeanReceived(),
        most=TopK(MeanReceived(), 3),
        one_layer=TopK(TextMean(layers=(-1,)), 2),
    ) as log:
        vlm.model(**inputs)
    assert {"top_weights", "top_indices", "most_weights", "most_indices"} <= set(log)
    assert log.top_indices.dtype == torch.int64
    assert log.one_layer_weights.shape == (3, 1, 2)
    for row, weights, indices in ((log.last, log.top_weights, log.top_indices),
                                  (log.received, log.most_weights, log.most_indices)):  # fmt: skip
        assert torch.equal(row.gather(-1, indices), weights)
        assert torch.equal(weights, row.sort(dim=-1, descending=True).values[..., : weights.shape[-1]])


def test_ties_go_to_the_lowest_token() -> None:
    weights, indices = TopK(LastRow(), 3).finish(torch.tensor([[0.1, 0.3, 0.1, 0.3, 0.2]]))
    assert indices.tolist() == [[1, 3, 4]]
    torch.testing.assert_close(weights, torch.tensor([[0.3, 0.3, 0.2]]))


@torch.no_grad()
def test_reducers_of_one_tower_share_one_pass(tiny_vlm: Vlm, tiny_image, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    stock = AttentionCall.scores

    def counted(call: AttentionCall, at: Tensor, *space: Tensor) -> Tensor:
        asked.append(at.shape[1])
        return stock(call, at, *space)

    monkeypatch.setattr(AttentionCall, "scores", counted)
    inputs = tiny_vlm.prepare(tiny_image(0), QUESTIONS[0])
    with record(
        tiny_vlm,
        received=MeanReceived(chunk=20),
        entropy=Entropy(chunk=12),
        map=FullMap(),
        top=TopK(MeanReceived(chunk=20), 2),
        last=LastRow(),
        first=TopK(LastRow(), 1),
    ):
        tiny_vlm.model(**inputs)
    assert asked == 3 * [12, 12, 12] + 3 * [1]  # three layers each; equal reducers are computed once


@torch.no_grad()
def test_an_encoder_without_cls_has_a_declared_substitute(siglip_vlm: Vlm, tiny_vlm: Vlm, tiny_image) -> None:
    assert vision_reducer(tiny_vlm.adapter) == ClsRow()
    assert vision_reducer(siglip_vlm.adapter) == MeanReceived(heads=True)
    assert list(default_reducers(siglip_vlm.adapter)) == ["received", "last"]
    for wanted in (ClsRow(), TopK(ClsRow(), 3)):
        with (
            pytest.raises(ValueError, match=r"`cls` needs a vision encoder with a CLS token: use MeanReceived"),
            record(siglip_vlm, cls=wanted),
        ):
            pass
    inputs = siglip_vlm.prepare(tiny_image(0), QUESTIONS[0])
    with record(siglip_vlm, **default_reducers(siglip_vlm.adapter)) as log:
        siglip_vlm.model(**inputs)
    assert log.received.shape == (1, 3, 4, 16)  # every state of the encoder is a token
    torch.testing.assert_close(log.received.sum(-1), torch.ones(1, 3, 4))  # and nothing else is attended to


@torch.no_grad()
def test_additive_masks_of_minus_infinity() -> None:
    torch.manual_seed(0)
    query = torch.randn(1, 2, 6, 4)
    blocked = torch.zeros(1, 1, 6, 6).masked_fill(torch.ones(6, 6).triu(1).bool(), -torch.inf)
    place = Place(visual=torch.arange(1, 6)[None], asking=torch.tensor([[5]]))
    additive = AttentionCall(query, query, blocked, scaling=0.5, causal=True)
    plain = AttentionCall(query, query, None, scaling=0.5, causal=True)
    reducers = [Entropy(of="text"), ImageRows()]
    for one, other in zip(stream(reducers, additive, place), stream(reducers, plain, place), strict=True):
        torch.testing.assert_close(one, other)
        assert one.isfinite().all()


@torch.no_grad()
def test_large_scores_keep_the_entropy_exact() -> None:
    torch.manual_seed(0)
    query, key = 30 * torch.randn(2, 1, 2, 9, 16)
    call = AttentionCall(query, key, None, scaling=1.0, causal=False)
    scores = query.double() @ key.double().transpose(-1, -2)
    assert scores.abs().max() > 5000
    place = Place(visual=torch.arange(9)[None], asking=torch.tensor([[0]]))
    expected = torch.special.entr(call.rows(place.visual).double()).sum(-1)
    torch.testing.assert_close(Entropy(heads=True).reduce(call, place).double(), expected, rtol=0, atol=1e-5)


def masked_calls() -> dict[str, AttentionCall]:
    """Calls of three images, four heads on two key heads, and twelve keys, one for each way to be masked."""
    torch.manual_seed(0)
    query, key = 2 * torch.randn(3, 4, 12, 8), torch.randn(3, 2, 12, 8)
    call = AttentionCall(query, key, None, scaling=0.5, causal=True)
    lower = torch.ones(12, 12, dtype=torch.bool).tril().repeat(3, 1, 1, 1)
    lower[1, :, 2:, :2] = False
    prefix = lower.clone()
    prefix[2, :, 2:9, 2:9] = True  # an image whose tokens see each other, in one prompt of the batch
    slope = torch.linspace(-3, 0, 12).expand(12, 12).masked_fill(~lower, torch.finfo(torch.float32).min)
    padding = torch.ones(3, 12, dtype=torch.long)
    padding[0, :2] = 0
    return {
        "none": replace(call, causal=False),
        "causal": call,
        "padding": replace(call, mask=padding, causal=False),
        "padding and causal": replace(call, mask=padding),
        "boolean": replace(call, mask=lower),
        "one for all images": replace(call, mask=lower[:1]),
        "image tokens see each other": replace(call, mask=prefix),
        "the same, additive": replace(call, mask=(~prefix).float() * torch.finfo(torch.float32).min),
        "additive, with a slope": replace(call, mask=slope),
        "additive, in half precision": replace(call, mask=(~lower).half() * torch.finfo(torch.float16).min),
        "soft cap": replace(call, softcap=1.5, mask=lower),
        "half precision": replace(call, query=query.bfloat16(), key=key.bfloat16()),
    }


@pytest.mark.parametrize("cached", [1, 500, streamed.CACHED])  # one image at a time, two, all
@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("name", masked_calls())
@torch.no_grad()
def test_streamed_reducers_see_the_rows_of_the_call(
    name: str, own: bool, cached: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streamed, "CACHED", cached)
    call = masked_calls()[name]
    visual = torch.arange(2, 9)[None]
    if own:
        visual = visual + torch.tensor([[0], [1], [0]])
    place = Place(visual=visual, asking=torch.tensor([[11]]))
    kinds = (MeanReceived, ImageRows, lambda **options: Entropy(of="text", **options), FullMap)
    by_head = stream([kind(heads=True, chunk=5) for kind in kinds], call, place)
    means = stream([kind(heads=False, chunk=5) for kind in kinds], call, place)
    rows = call.rows(visual).double()
    among = rows.gather(3, visual[:, None, None].expand(3, 4, 7, 7))
    columns = among.sum(2)
    expected = [columns / 7, columns / torch.arange(7, 0, -1), torch.special.entr(rows).sum(-1), among]
    for found, mean, exact in zip(by_head, means, expected, strict=True):
        torch.testing.assert_close(found.double(), exact, rtol=0, atol=1e-6)
        torch.testing.assert_close(mean.double(), exact.mean(1), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: TextMean(divisor="other"), ValueError, "`divisor` must be 'exact' or 'reference', got 'other'"),
        (lambda: Entropy(of="audio"), ValueError, "`of` must be 'vision' or 'text', got 'audio'"),
        (lambda: MeanReceived(chunk=0), ValueError, "`chunk` must be at least 1, got 0"),
        (lambda: TopK(ClsRow(), 0), ValueError, "`k` must be at least 1, got 0"),
        (lambda: TopK(TopK(ClsRow(), 2), 1), TypeError, "`of` must be a reducer that keeps a number per token"),
        (lambda: TopK(FullMap(), 1), TypeError, "`of` must be a reducer that keeps a number per token"),
        (lambda: TopK("cls", 1), TypeError, "`of` must be a reducer that keeps a number per token, got 'cls'"),
    ],
)
def test_bad_parameters_are_refused(make, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


@torch.no_grad()
def test_what_a_forward_pass_cannot_give_is_refused(tiny_vlm: Vlm, tiny_image) -> None:
    inputs = tiny_vlm.prepare(tiny_image(0), QUESTIONS[0])
    with (
        pytest.raises(ValueError, match=r"`k` must be in \[1, 36\], got 37"),
        record(tiny_vlm, top=TopK(LastRow(), 37)),
    ):
        tiny_vlm.model(**inputs)
    end = int((inputs["input_ids"][0] == tiny_vlm.model.config.image_token_id).nonzero()[-1]) + 2
    short = {"pixel_values": inputs["pixel_values"], "input_ids": inputs["input_ids"][:, :end]}
    with (
        pytest.raises(ValueError, match="text must stand between the image and the last prompt token"),
        record(tiny_vlm, text=TextMean()),
    ):
        tiny_vlm.model(**short)
    with (
        pytest.raises(ValueError, match="two reducers would both be shown as 'top_weights': rename one"),
        record(tiny_vlm, top=TopK(LastRow(), 2), top_weights=ClsRow()),
    ):
        pass
