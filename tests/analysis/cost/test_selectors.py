"""Products of the rules: against the same rule run under PyTorch's counter, and by hand."""

from __future__ import annotations

import pytest
import torch

from analysis.cost import SELECTORS, Architecture, Block, Encoding, architecture, cost
from analysis.cost.selectors import Choice, cdpruner, divprune, fastervlm, fastv, fopru_rank, greedyprune, vispruner
from solvers import rules

TOKENS, ENCODER, LANGUAGE = 36, 8, 12


def small(views: int = 1, has_cls: bool = True) -> Architecture:
    block = Block(matrices=1, attention_width=ENCODER)
    patches = TOKENS * views
    encoding = Encoding(views, patches, ((TOKENS + has_cls,) * views,), patches, patches, has_cls)
    layers = (Block(matrices=1, attention_width=LANGUAGE),)
    return Architecture("small", encoding, (block,), 0, 0, layers, LANGUAGE, 0)


def vispruner_rounds(features: torch.Tensor, keep: int) -> int:
    """The reference's loop: similarities of the two halves of the pool are computed anew in every round."""
    unit = features / features.norm(dim=1, keepdim=True)
    important = int(keep * 0.5)
    pool, wanted = torch.arange(important, len(unit)), keep - important
    while len(pool) > wanted:
        even, odd = pool[0::2], pool[1::2]
        closest = (unit[even] @ unit[odd].T).max(dim=1).values
        dropped = min(8, len(pool) - wanted, len(even))
        survivors = closest.argsort(descending=True, stable=True)[dropped:]
        pool = torch.cat([even[survivors], odd])
    return len(pool)


@pytest.mark.parametrize("keep", [1, 2, 7, 16, 35])
def test_vispruner_equals_the_flop_counter(counted_flops, keep: int) -> None:
    torch.manual_seed(0)
    features = torch.randn(TOKENS, ENCODER)
    row = (TOKENS + 1) * ENCODER
    assert 2 * (vispruner(Choice(small(), keep, 5)) - row) == counted_flops(lambda: vispruner_rounds(features, keep))


def test_vispruner_of_the_page() -> None:
    # 128 of 576 tokens: about 2.9 GFLOP.
    assert 2 * cost("llava-1.5-7b", 128, rule="vispruner").selector / 1e9 == pytest.approx(2.9, abs=0.05)


@pytest.mark.parametrize("keep", [1, 2, 9, 36])
def test_cdpruner_equals_the_flop_counter(counted_flops, keep: int) -> None:
    """Greedy MAP with an incremental Cholesky factor [step, token], one row per chosen token."""
    torch.manual_seed(0)
    features = torch.randn(TOKENS, LANGUAGE)

    def run() -> None:
        kernel = features @ features.T + torch.eye(TOKENS)
        factor, left = torch.zeros(0, TOKENS), kernel.diagonal().clone()
        for _ in range(keep):
            token = int(left.argmax())
            known = (factor[:, token][None] @ factor)[0] if len(factor) else torch.zeros(TOKENS)
            row = (kernel[token] - known) / left[token].sqrt()
            factor = torch.cat([factor, row[None]])
            left = (left - row**2).index_fill(0, torch.tensor([token]), -torch.inf)

    assert 2 * cdpruner(Choice(small(), keep, 5)) == counted_flops(run)


def test_products_by_hand() -> None:
    choice = Choice(small(), 9, 5)
    assert fastervlm(choice) == 37 * 8
    assert fopru_rank(choice) == 37 * 37 * 8
    assert divprune(choice) == 36 * 36 * 12
    assert greedyprune(choice) == 10 * 36 * 12
    assert fastv(choice) == 41 * 12


def test_without_cls_the_mean_of_all_rows_is_needed() -> None:
    assert fastervlm(Choice(small(has_cls=False), 9, 5)) == 36 * 36 * 8


def test_crops_choose_for_themselves() -> None:
    """Ten tokens of three crops are four, three and three; DivPrune compares tokens of all crops."""
    three = Choice(small(views=3), 10, 5)
    assert three.views == [(36, 4), (36, 3), (36, 3)]
    one = small()
    assert vispruner(three) == sum(vispruner(Choice(one, keep, 5)) for keep in (4, 3, 3))
    assert divprune(three) == 9 * divprune(Choice(one, 4, 5))


def test_every_selector_has_the_name_of_a_rule_and_counts_every_model() -> None:
    assert {entry.__name__ for entry in SELECTORS} <= set(rules.__all__)
    for name in ("llava-1.5-7b", "llava-next-7b", "qwen2.5-vl-7b"):
        shape = architecture(name)
        for entry in SELECTORS:
            assert 0 < entry(Choice(shape, 64, 60)) < 0.1 * cost(shape, 64, 60).macs, entry.__name__
