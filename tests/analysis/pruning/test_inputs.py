"""Shortened inputs, checked on sequences small enough to write down."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from analysis.pruning.inputs import (
    assemble,
    checked_policy,
    first_position_after,
    image_columns,
    question_mask,
    shorten,
    split_prompt,
)

IMAGE = 3


def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two prompts with three visual tokens, the first padded by two; each embedding is its own column number."""
    ids = torch.tensor([[0, 0, 1, 3, 3, 3, 7], [1, 5, 3, 3, 3, 8, 9]])
    embeds = torch.arange(14.0).reshape(2, 7, 1)
    return ids, ids == IMAGE, embeds


def test_shorten_packs_to_the_right() -> None:
    ids, image, embeds = batch()
    short = shorten(embeds, image, [np.array([1]), np.array([0, 2])], policy="keep", mask=ids != 0)
    assert short.columns[1].tolist() == [0, 1, 2, 4, 5, 6]
    assert short.mask.tolist() == [[False] * 3 + [True] * 3, [True] * 6]
    assert short.columns[0, 3:].tolist() == [2, 4, 6]
    assert short.embeds[0, 3:, 0].tolist() == [2.0, 4.0, 6.0]
    assert short.embeds[1, :, 0].tolist() == [7.0, 8.0, 9.0, 11.0, 12.0, 13.0]
    assert short.position_ids[0, 3:].tolist() == [2, 4, 6]
    assert short.position_ids[1].tolist() == [0, 1, 2, 4, 5, 6]
    assert short.removed.tolist() == [2, 1]


def test_compact_ids_start_where_the_prompt_starts() -> None:
    ids, image, embeds = batch()
    kept = [np.array([1]), np.array([0, 2])]
    counted = shorten(embeds, image, kept, policy="compact", mask=ids != 0)
    assert counted.position_ids[0, 3:].tolist() == [2, 3, 4]
    assert counted.position_ids[1].tolist() == [0, 1, 2, 3, 4, 5]
    own = torch.tensor([[0, 0, 0, 1, 2, 3, 4], [0, 1, 2, 3, 4, 5, 6]])
    given_ids = shorten(embeds, image, kept, policy="compact", mask=ids != 0, position_ids=own)
    assert given_ids.position_ids[0, 3:].tolist() == [0, 1, 2]


def test_rows_of_equal_padding_lose_none_of_it() -> None:
    ids, image, embeds = batch()
    short = shorten(embeds, image, [np.array([0]), np.array([0])], policy="keep", mask=ids != 0)
    assert short.mask.sum(1).tolist() == [3, 5]
    assert short.embeds.shape == (2, 5, 1)


@given(
    before=st.integers(0, 4),
    after=st.integers(0, 4),
    tokens=st.integers(1, 9),
    padding=st.integers(0, 3),
    data=st.data(),
)
def test_what_stays_is_what_was_kept_in_order(
    before: int, after: int, tokens: int, padding: int, data: st.DataObject
) -> None:
    kept = sorted(data.draw(st.sets(st.integers(0, tokens - 1), min_size=1)))
    ids = torch.tensor([[0] * padding + [7] * before + [IMAGE] * tokens + [8] * after])
    embeds = torch.arange(float(ids.shape[1])).reshape(1, -1, 1)
    short = shorten(embeds, ids == IMAGE, [np.array(kept)], policy="keep", mask=ids != 0)
    start = padding + before
    expected = [*range(padding, start), *(start + k for k in kept), *range(start + tokens, start + tokens + after)]
    assert short.mask.all()
    assert short.columns[0].tolist() == expected
    assert short.position_ids[0].tolist() == expected
    assert short.embeds[0, :, 0].tolist() == expected
    assert short.removed.item() == tokens - len(kept)


@pytest.mark.parametrize("policy", ["keep", "compact"])
def test_assemble_writes_out_one_prompt(policy: str) -> None:
    torch.manual_seed(0)
    embedding = nn.Embedding(20, 4)
    before, after, projected = torch.tensor([1, 4]), torch.tensor([9, 8, 7]), torch.randn(6, 4)
    short = assemble(embedding, before, projected, after, [1, 2, 5], checked_policy(policy))
    expected = torch.cat([embedding(before), projected[[1, 2, 5]], embedding(after)])
    assert torch.equal(short.embeds[0], expected)
    ids = {"keep": [0, 1, 3, 4, 7, 8, 9, 10], "compact": [*range(8)]}
    assert short.position_ids[0].tolist() == ids[policy]
    assert first_position_after(2, 6, 3, checked_policy(policy)) == ids[policy][5]
    assert short.mask.all()


def test_assemble_without_words_after_is_the_shared_prefix() -> None:
    embedding = nn.Embedding(20, 4)
    projected, nothing = torch.randn(6, 4), torch.tensor([], dtype=torch.long)
    prefix = assemble(embedding, torch.tensor([1, 4]), projected, nothing, [0, 3])
    whole = assemble(embedding, torch.tensor([1, 4]), projected, torch.tensor([9, 9]), [0, 3])
    assert torch.equal(whole.embeds[:, :4], prefix.embeds)
    assert torch.equal(whole.position_ids[:, :4], prefix.position_ids)


def test_split_prompt() -> None:
    before, after = split_prompt(torch.tensor([1, 4, 3, 3, 3, 8]), IMAGE, 3)
    assert (before.tolist(), after.tolist()) == ([1, 4], [8])


@pytest.mark.parametrize(
    ("ids", "text"),
    [
        ([1, 3, 3, 8], "exactly one image of 3 visual tokens, got 2 placeholders in prompt 0"),
        ([1, 8], "got 0 placeholders"),
        ([3, 3, 3, 8, 3, 3, 3], "got 6 placeholders"),
        ([3, 3, 8, 3], "must stand side by side"),
    ],
)
def test_prompts_that_cannot_be_split(ids: list[int], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        split_prompt(torch.tensor(ids), IMAGE, 3)


def test_image_columns_names_the_prompt() -> None:
    _, image, _ = batch()
    assert image_columns(image, 3).tolist() == [[3, 4, 5], [2, 3, 4]]
    image[1, 2] = False
    with pytest.raises(ValueError, match="got 2 placeholders in prompt 1"):
        image_columns(image, 3)


def test_question_is_what_follows_the_image() -> None:
    ids, _, _ = batch()
    assert question_mask(ids, IMAGE, ids != 0).nonzero().tolist() == [[0, 6], [1, 5], [1, 6]]


def test_question_before_the_image_if_nothing_follows() -> None:
    ids = torch.tensor([[0, 1, 5, 3, 3]])
    assert question_mask(ids, IMAGE, ids != 0)[0].tolist() == [False, True, True, False, False]


def test_unknown_policy() -> None:
    with pytest.raises(KeyError, match=r"unknown position_ids policy 'compct'; did you mean 'compact'\?"):
        checked_policy("compct")
