"""Rows of one attention call against the whole map written out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from analysis.capture.attention_call import AttentionCall, listening

IMAGES, HEADS, KEY_HEADS, LENGTH, WIDTH = 2, 4, 2, 7, 8


def by_hand(call: AttentionCall, visible: torch.Tensor) -> torch.Tensor:
    """The whole map, head by head and query by query, in float64."""
    weights = torch.zeros(IMAGES, HEADS, LENGTH, LENGTH, dtype=torch.float64)
    for image in range(IMAGES):
        for head in range(HEADS):
            for query in range(LENGTH):
                keys = visible[image, query].nonzero()[:, 0].tolist()
                vector = call.query[image, head, query].double()
                exponents = [
                    math.exp(call.scaling * float(vector @ call.key[image, head // 2, key].double())) for key in keys
                ]
                for key, exponent in zip(keys, exponents, strict=True):
                    weights[image, head, query, key] = exponent / sum(exponents)
    return weights


def cases() -> dict[str, tuple[torch.Tensor | None, bool, torch.Tensor]]:
    """Mask, causal flag and what is visible [image, query, key] for each way in which masks arrive."""
    everything = torch.ones(IMAGES, LENGTH, LENGTH, dtype=torch.bool)
    lower = everything.tril()
    padding = torch.ones(IMAGES, LENGTH, dtype=torch.bool)
    padding[1, :3] = False
    padded = lower & padding[:, None]
    padded |= torch.eye(LENGTH, dtype=torch.bool)  # no query may be blind
    additive = torch.zeros(IMAGES, 1, LENGTH, LENGTH).masked_fill(~padded[:, None], torch.finfo(torch.float32).min)
    one_key = everything.clone()
    one_key[1, :, 3:] = False
    return {
        "none": (None, False, everything),
        "causal": (None, True, lower),
        "boolean": (padded[:, None], True, padded),
        "additive": (additive, True, padded),
        "one row for all": (one_key[:, None, :1], False, one_key),
        "padding": (one_key[:, 0].long(), False, one_key),
        "padding and causal": (one_key[:, 0], True, one_key & lower),
        "longer than the keys": (nn.functional.pad(padded, (0, 4))[:, None], True, padded),
    }


@pytest.mark.parametrize("name", cases())
def test_rows_of_the_map(name: str) -> None:
    mask, causal, visible = cases()[name]
    torch.manual_seed(0)
    query, key = torch.randn(IMAGES, HEADS, LENGTH, WIDTH), torch.randn(IMAGES, KEY_HEADS, LENGTH, WIDTH)
    call = AttentionCall(query, key, mask, scaling=0.7, causal=causal)
    expected = by_hand(call, visible)
    shared = torch.tensor([[0, 6, 3]])
    torch.testing.assert_close(call.rows(shared).double(), expected[:, :, [0, 6, 3]], rtol=1e-5, atol=1e-6)
    own = torch.tensor([[5, 1], [2, 6]])
    each = torch.stack([expected[0][:, [5, 1]], expected[1][:, [2, 6]]])
    torch.testing.assert_close(call.rows(own).double(), each, rtol=1e-5, atol=1e-6)


def test_a_soft_cap_bounds_the_scores_before_the_mask() -> None:
    torch.manual_seed(0)
    query, key = 4 * torch.randn(2, 1, 2, 5, 8)
    call = AttentionCall(query, key, None, scaling=1.0, causal=True, softcap=3.0)
    hidden = torch.ones(5, 5, dtype=torch.bool).triu(1)
    capped = 3 * ((query.double() @ key.double().transpose(-1, -2)) / 3).tanh()
    expected = capped.masked_fill(hidden, -torch.inf).softmax(-1)
    torch.testing.assert_close(call.rows(torch.arange(5)[None]).double(), expected, rtol=1e-5, atol=1e-6)


def test_half_precision_is_computed_in_float32() -> None:
    torch.manual_seed(0)
    query, key = torch.randn(2, 1, 1, 5, 8).bfloat16()
    rows = AttentionCall(query, key, None, scaling=1.0, causal=False).rows(torch.tensor([[4]]))
    assert rows.dtype == torch.float32
    expected = (query[:, :, 4:].float() @ key.float().transpose(-1, -2)).softmax(-1)
    torch.testing.assert_close(rows, expected)


@pytest.mark.parametrize("name", cases())
def test_keys_that_nobody_sees_have_the_lowest_score(name: str) -> None:
    mask, causal, visible = cases()[name]
    torch.manual_seed(0)
    query, key = torch.randn(IMAGES, HEADS, LENGTH, WIDTH), torch.randn(IMAGES, KEY_HEADS, LENGTH, WIDTH)
    call = AttentionCall(query, key, mask, scaling=0.7, causal=causal)
    at = torch.arange(LENGTH)[None]
    hidden = ~visible[:, None].expand(-1, HEADS, -1, -1)
    lowest = torch.finfo(torch.float32).min
    for scores, factor in ((call.scores(at), 1.0), (call.in_bits().scores(at), math.log2(math.e))):
        assert torch.equal(scores == lowest, hidden)
        product = factor * 0.7 * (query @ key.repeat_interleave(HEADS // KEY_HEADS, 1).transpose(-1, -2))
        torch.testing.assert_close(scores[~hidden], product[~hidden], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", cases())
def test_keys_behind_all_queries_are_left_out_only_if_none_sees_them(name: str) -> None:
    mask, causal, visible = cases()[name]
    torch.manual_seed(0)
    query, key = torch.randn(IMAGES, HEADS, LENGTH, WIDTH), torch.randn(IMAGES, KEY_HEADS, LENGTH, WIDTH)
    call = AttentionCall(query, key, mask, scaling=0.7, causal=causal)
    at = torch.tensor([[1, 3], [2, 0]])
    narrow = call.seen_by(at)
    ahead = bool(visible[:, :4, 4:].any())
    assert narrow.key.shape[2] == (LENGTH if ahead else 4)
    torch.testing.assert_close(narrow.rows(at), call.rows(at)[..., : narrow.key.shape[2]])
    assert call.seen_by(torch.tensor([[0, 6]])) is call


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"s_aux": torch.zeros(1)}, "s_aux"),
        ({"position_bias": torch.zeros(1)}, "position_bias"),
        ({"sliding_window": 3}, "sliding_window"),
    ],
)
def test_what_cannot_be_followed_is_refused(options: dict, named: str) -> None:
    heard: list[AttentionCall] = []
    query = torch.randn(1, 1, 5, 8)

    def stock(*_: object, **__: object) -> tuple[torch.Tensor, None]:
        return query, None

    with listening(lambda _, call: heard.append(call)):
        attend = ALL_ATTENTION_FUNCTIONS.get_interface("eager", stock)
        attend(nn.Identity(), query, query, query, None, **options)
    with pytest.raises(ValueError, match=f"attention weights under {named} cannot be recomputed"):
        heard[0].rows(torch.tensor([[0]]))


def test_autocast_ends_where_listening_begins() -> None:
    torch.manual_seed(0)
    query, last = torch.randn(1, 2, 5, 16), torch.tensor([[4]])
    heard: list[torch.Tensor] = []
    with torch.autocast("cpu", torch.bfloat16), listening(lambda _, call: heard.append(call.rows(last))):
        attend = ALL_ATTENTION_FUNCTIONS.get_interface("eager", lambda _, *qkv, **__: (qkv[0] @ qkv[1].mT, None))
        output, _ = attend(nn.Identity(), query, query, query, None)
    assert output.dtype == torch.bfloat16  # the model's own products are still cast
    assert heard[0].dtype == torch.float32
    torch.testing.assert_close(heard[0], (query[:, :, 4:] @ query.transpose(-1, -2) / 4).softmax(-1))


def test_the_defaults_of_a_call() -> None:
    heard: list[AttentionCall] = []
    query = torch.randn(1, 1, 5, 16)
    both_ways = nn.Identity()
    both_ways.is_causal = False  # type: ignore[assignment]
    with listening(lambda _, call: heard.append(call)):
        attend = ALL_ATTENTION_FUNCTIONS.get_interface("eager", lambda *_, **__: (query, None))
        attend(nn.Identity(), query, query, query, None)
        attend(both_ways, query, query, query, None, scaling=0.5)
        attend(both_ways, query, query, query, None, is_causal=True)
    assert [(call.scaling, call.causal) for call in heard] == [(0.25, True), (0.5, False), (0.25, True)]


def test_the_registry_is_as_before_in_any_order_of_leaving() -> None:
    before = dict(vars(ALL_ATTENTION_FUNCTIONS))
    first, second = listening(lambda *_: None), listening(lambda *_: None)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert "get_interface" in vars(ALL_ATTENTION_FUNCTIONS)
    second.__exit__(None, None, None)
    assert vars(ALL_ATTENTION_FUNCTIONS) == before
