"""Columns that are left between layers, merged tokens, and masks in every form an attention takes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from analysis.pruning.inside.packing import Choice, Packing, in_form, prefill_mask, step_mask, visible_keys

IMAGE = torch.tensor([[0, 0, 1, 1, 1, 1, 0, 0], [0, 1, 1, 0, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0, 0, 0]]).bool()
VALID = torch.tensor([[0, 1, 1, 1, 1, 1, 1, 1], [1] * 8, [0, 0, 1, 1, 1, 1, 1, 1]]).bool()
STATES = torch.arange(3 * 8.0).reshape(3, 8, 1)


def kept(*tokens: int, clusters: list[int] | None = None) -> Choice:
    return Choice(np.array(tokens, dtype=np.int64), None if clusters is None else np.array(clusters))


def test_what_stays_is_packed_to_the_right() -> None:
    states, packing = Packing.whole(IMAGE, VALID).shortened(STATES, [kept(1, 3), kept(0), None])
    assert packing.sources[0, 1:].tolist() == [1, 3, 5, 6, 7]
    assert packing.sources[1, 1:].tolist() == [0, 1, 3, 6, 7]
    assert packing.sources[2].tolist() == [2, 3, 4, 5, 6, 7]
    assert packing.shown.tolist() == [[False] + [True] * 5, [False] + [True] * 5, [True] * 6]
    assert packing.visual.sum(1).tolist() == [2, 1, 0]
    assert not packing.merged.any()
    assert torch.equal(packing.columns, packing.sources)
    for row in range(3):
        shown = packing.shown[row]
        assert torch.equal(states[row, shown], STATES[row, packing.sources[row, shown]])


def test_stages_compose() -> None:
    first = Packing.whole(IMAGE, VALID).shortened(STATES, [kept(0, 1, 3), None, None])
    states, packing = first[1].shortened(first[0], [kept(0, 2), kept(1, 2), None])
    assert packing.sources[0, packing.shown[0]].tolist() == [1, 2, 5, 6, 7]
    assert packing.sources[1, packing.shown[1]].tolist() == [0, 2, 3, 4, 6, 7]
    assert states[1, packing.shown[1], 0].tolist() == [8, 10, 11, 12, 14, 15]


def test_merged_tokens_stand_behind_the_visual_ones() -> None:
    choice = kept(0, clusters=[1, 0, 1])  # tokens 1 and 3 become one, token 2 another
    states, packing = Packing.whole(IMAGE, VALID).shortened(STATES, [choice, kept(0, 1, 2, 3), None])
    row = packing.shown[0]
    assert states[0, row, 0].tolist() == [1.0, 2.0, 4.0, (3.0 + 5.0) / 2, 6.0, 7.0]
    assert packing.sources[0, row].tolist() == [1, 2, 4, 3, 6, 7]  # the first of each cluster
    assert packing.columns[0, row].tolist() == [1, 2, 5, 5, 6, 7]  # seen as the last visual token
    assert packing.merged[0, row].tolist() == [False, False, True, True, False, False]
    assert packing.visual[0, row].tolist() == [False, True, True, True, False, False]
    assert packing.columns.diff(dim=1)[packing.shown[:, :-1]].min() >= 0


def test_discarded_tokens_are_in_no_cluster() -> None:
    states, packing = Packing.whole(IMAGE, VALID).shortened(STATES, [kept(0, clusters=[-1, 0, -1]), None, None])
    assert states[0, packing.shown[0], 0].tolist() == [1, 2, 4, 6, 7]


# masks ------------------------------------------------------------


@pytest.mark.parametrize(("steps", "window"), list(itertools.product([1, 3, 6], [None, 1, 4])))
def test_visible_keys(steps: int, window: int | None) -> None:
    shown = torch.tensor([[False, True, True, False, True, True], [True] * 6])
    seen = visible_keys(shown, steps, window)
    assert seen.shape == (2, 1, steps, 6)
    for row, query, key in itertools.product(range(2), range(steps), range(6)):
        at = 6 - steps + query
        expected = bool(shown[row, key]) and key <= at and (window is None or at - key < window)
        assert bool(seen[row, 0, query, key]) == expected


def test_a_mask_is_taken_at_the_columns_that_are_left() -> None:
    _, packing = Packing.whole(IMAGE, VALID).shortened(STATES, [kept(1, 3), kept(0), None])
    whole = visible_keys(VALID, 8)
    taken = prefill_mask(whole, packing, torch.float32, "sdpa", causal=True)
    for row in range(3):
        own = packing.sources[row, packing.shown[row]]
        part = taken[row, 0][packing.shown[row]][:, packing.shown[row]]
        assert torch.equal(part, whole[row, 0][own][:, own])
        assert not taken[row, 0][:, ~packing.shown[row]].any()
    additive = prefill_mask(in_form(whole, torch.float32, "eager"), packing, torch.float32, "eager", causal=True)
    assert torch.equal(additive == 0, taken)
    assert float(additive.min()) == torch.finfo(torch.float32).min


def test_no_mask_is_a_causal_one() -> None:
    rows = [kept(1, 3), kept(0), None]
    whole = Packing.whole(IMAGE, torch.ones_like(VALID))
    _, ragged = whole.shortened(STATES, rows)
    made = prefill_mask(None, ragged, torch.float32, "sdpa", causal=True)
    expected = prefill_mask(visible_keys(whole.shown, 8), ragged, torch.float32, "sdpa", causal=True)
    queries = ragged.shown[:, None, :, None]  # what padding sees does not matter
    assert torch.equal(made & queries, expected & queries)
    _, full = Packing.whole(IMAGE[:1], torch.ones_like(VALID[:1])).shortened(STATES[:1], rows[:1])
    assert prefill_mask(None, full, torch.float32, "sdpa", causal=True) is None


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_merged_tokens_see_no_later_one_unless_the_mask_is_from_outside(implementation: str) -> None:
    choice = [kept(0, clusters=[1, 0, 1]), None, None]
    _, packing = Packing.whole(IMAGE, VALID).shortened(STATES, choice)
    whole = in_form(visible_keys(VALID, 8), torch.float32, implementation)
    lowest = False if implementation == "sdpa" else torch.finfo(torch.float32).min
    causal = prefill_mask(whole, packing, torch.float32, implementation, causal=True)[0, 0]
    assert torch.equal(causal != lowest, visible_keys(packing.shown, packing.shown.shape[1])[0, 0])
    both = prefill_mask(whole, packing, torch.float32, implementation, causal=False)[0, 0]
    first, second = packing.merged[0].nonzero()[:, 0].tolist()
    assert bool((both != lowest)[first, second])


def test_flash_attention_gets_padding_only_and_always() -> None:
    _, packing = Packing.whole(IMAGE, VALID).shortened(STATES, [kept(1, 3), kept(0), None])
    assert torch.equal(
        prefill_mask(None, packing, torch.float16, "flash_attention_2", causal=True), packing.shown.long()
    )
    given = prefill_mask(VALID.int(), packing, torch.float16, "flash_attention_2", causal=True)
    assert torch.equal(given, packing.shown.int())
    step = step_mask(packing.shown, 1, window=None, length=6, dtype=torch.float16, implementation="flash_attention_2")
    assert torch.equal(step, packing.shown.long())


def test_masks_of_flex_attention_are_refused() -> None:
    packing = Packing.whole(IMAGE, VALID)
    with pytest.raises(ValueError, match="attention masks must be tensors while pruning inside the model, got object"):
        prefill_mask(object(), packing, torch.float32, "flex_attention", causal=True)


def test_steps() -> None:
    options = {"dtype": torch.float32, "implementation": "sdpa"}
    shown = torch.ones(2, 7, dtype=torch.bool)
    assert step_mask(shown, 1, window=None, length=7, **options) is None
    assert step_mask(shown, 1, window=7, length=7, **options) is None
    assert torch.equal(step_mask(shown, 1, window=4, length=4, **options), torch.ones(2, 1, 1, 4, dtype=torch.bool))
    assert step_mask(shown, 1, window=4, length=5, **options)[0, 0, 0].tolist() == [False, True, True, True, True]
    assert torch.equal(step_mask(shown, 3, window=None, length=7, **options), visible_keys(shown, 3))
    shown[0, 0] = False
    assert torch.equal(step_mask(shown, 1, window=None, length=7, **options), shown[:, None, None])
