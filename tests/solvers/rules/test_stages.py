"""Schedules of token counts against published tables, a slow search, and what holds for each of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from solvers.rules import (
    Stage,
    average_tokens,
    fastv_schedule,
    feather_schedule,
    pyramiddrop_schedule,
    sparsevlm_schedule,
    tokens_per_layer,
)
from solvers.rules.sparsevlm_schedule import PUBLISHED, recycled
from solvers.rules.stages import scaled_layers

SCHEDULES = {
    "fastv": (fastv_schedule, 1),
    "pyramiddrop": (pyramiddrop_schedule, 3),
    "sparsevlm": (sparsevlm_schedule, 3),
    "feather": (feather_schedule, 2),
}
EVERY_SCHEDULE = pytest.mark.parametrize(("schedule", "stages"), SCHEDULES.values(), ids=SCHEDULES)
THREE_STAGES = (Stage(8, 288), Stage(16, 144), Stage(24, 72))


def pairs(stages):
    return [(stage.layer, stage.keep) for stage in stages]


def test_tokens_per_layer_counts_from_the_stage_on():
    assert tokens_per_layer((Stage(1, 5), Stage(3, 2)), 9, 5).tolist() == [9, 5, 5, 2, 2]
    assert tokens_per_layer((Stage(0, 5),), 9, 3).tolist() == [5, 5, 5]
    assert tokens_per_layer((), 9, 3).dtype == np.int64
    assert average_tokens((), 9, 3) == 9.0
    assert average_tokens(THREE_STAGES, 576, 32) == 270.0


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ((Stage(3, 5),), r"`stages` must have increasing layers below 3, got layer 3"),
        ((Stage(1, 5), Stage(1, 4)), r"`stages` must have increasing layers below 3, got layer 1"),
        ((Stage(2, 5), Stage(1, 4)), r"`stages` must have increasing layers below 3, got layer 1"),
        ((Stage(1, 10),), r"`stages` must not keep more than the 9 tokens left, got 10"),
        ((Stage(1, 5), Stage(2, 6)), r"`stages` must not keep more than the 5 tokens left, got 6"),
    ],
)
def test_refuses_stages_out_of_order(stages, message):
    with pytest.raises(ValueError, match=message):
        tokens_per_layer(stages, 9, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1, 4), "`layer` must be at least 0, got -1"),
        ((2, 0), "`keep` must be at least 1, got 0"),
        ((2, 4, -1), "`merged` must be at least 0, got -1"),
        ((2, 4, 4), "`merged` must be less than `keep`, 4, got 4"),
        ((2, 4.0), "`keep` must be an integer, got 4.0"),
    ],
)
def test_refuses_impossible_stages(arguments, message):
    with pytest.raises(ValueError, match=message):
        Stage(*arguments)


@pytest.mark.parametrize(
    ("keep", "layer", "kept"), [(192, 2, 166), (128, 2, 98), (64, 2, 30), (192, 3, 152), (128, 3, 82), (64, 3, 11)]
)
def test_fastv_keeps_fewer_after_layer_k_than_on_average(keep, layer, kept):
    assert fastv_schedule(576, 32, keep, layer=layer) == (Stage(layer, kept),)
    assert fastv_schedule(576, 32, keep, layer=layer, budget="end") == (Stage(layer, keep),)


def test_pyramiddrop_gives_the_published_stages_back():
    assert pyramiddrop_schedule(576, 32, 72, budget="end") == THREE_STAGES
    assert pyramiddrop_schedule(576, 32, 270) == THREE_STAGES
    assert pairs(pyramiddrop_schedule(2880, 40, 360, budget="end")) == [(10, 1440), (20, 720), (30, 360)]


def test_feather_gives_the_published_stages_back():
    """0.3 of 2000 tokens, then 0.09 of these: (8 * 2000 + 8 * 600 + 16 * 54) / 32 = 677 on average."""
    assert pairs(feather_schedule(2000, 32, 54, budget="end")) == [(8, 600), (16, 54)]
    assert pairs(feather_schedule(2000, 32, 677)) == [(8, 600), (16, 54)]


@pytest.mark.parametrize("version", PUBLISHED)
@pytest.mark.parametrize("keep", [64, 96, 128, 192])
def test_sparsevlm_gives_the_published_tables(keep, version):
    """What is recycled is counted with the tokens, and is what the reference would make of those dropped."""
    stages = sparsevlm_schedule(576, 32, keep, budget="published", version=version)
    assert [stage.layer for stage in stages] == [3, 7, 16]
    assert tuple(stage.keep - stage.merged for stage in stages) == PUBLISHED[version][keep]
    before = 576
    for stage in stages:
        dropped = before - (stage.keep - stage.merged)
        assert stage.merged == (int((int(dropped * 0.3) + 1) / 10) + 1 if version == "1.5" else 0)
        before = stage.keep


def test_sparsevlm_budgets_are_no_averages():
    """By hand for 128: 3 layers of 576, 4 of 303 + 9, 9 of 110 + 7 and 16 of 36 + 3."""
    averages = [average_tokens(sparsevlm_schedule(576, 32, k, budget="published"), 576, 32) for k in (192, 128, 64)]
    assert averages == [206.5, (3 * 576 + 4 * 312 + 9 * 117 + 16 * 39) / 32, 82.25]


def test_sparsevlm_scales_with_tokens_and_layers():
    stages = sparsevlm_schedule(1152, 64, 256, budget="published", version="2.0")
    assert pairs(stages) == [(6, 476), (14, 216), (32, 120)]
    halfway = sparsevlm_schedule(576, 32, 160, budget="published", version="2.0")
    assert pairs(halfway) == [(3, 269), (7, 154), (16, 89)]
    assert pairs(sparsevlm_schedule(576, 32, 576, budget="published")) == [(3, 576), (7, 576), (16, 576)]


@given(tokens=st.integers(1, 700), share=st.floats(0, 1))
def test_recycled_tokens_follow_from_those_dropped(tokens, share):
    keep = max(1, round(share * tokens))
    merged = recycled(tokens, keep)
    dropped = tokens - (keep - merged)
    published = int((int(dropped * 0.3) + 1) / 10) + 1 if dropped else 0
    assert 0 <= merged < keep
    assert merged == published or merged == keep - 1 < published


@EVERY_SCHEDULE
@given(tokens=st.integers(1, 700), layers=st.integers(5, 48), share=st.floats(0, 1))
def test_budgets_are_met(schedule, stages, tokens, layers, share):
    keep = max(1, round(share * tokens))
    at_the_end = schedule(tokens, layers, keep, budget="end")
    assert len(at_the_end) == stages
    assert tokens_per_layer(at_the_end, tokens, layers)[-1] == keep
    first = at_the_end[0].layer
    least = (first * tokens + layers - first) / layers
    if keep < least:
        with pytest.raises(ValueError, match=r"`keep` must be at least .* on average over \d+ layers"):
            schedule(tokens, layers, keep)
    else:
        assert abs(average_tokens(schedule(tokens, layers, keep), tokens, layers) - keep) <= 0.5


@EVERY_SCHEDULE
@pytest.mark.parametrize("budget", ["end", "average"])
@pytest.mark.parametrize(("tokens", "layers"), [(576, 32), (64, 6), (7, 5), (1, 4)])
def test_a_budget_of_all_tokens_drops_none(schedule, stages, budget, tokens, layers):
    assert (
        tokens_per_layer(schedule(tokens, layers, tokens, budget=budget), tokens, layers).tolist() == [tokens] * layers
    )


def test_average_agrees_with_a_search_over_shares():
    """Among all shares on a fine grid, that of the schedule comes as near to the average as any."""
    shares = np.linspace(0.001, 1, 4000)
    counts = np.maximum(100 * shares[:, None] ** np.arange(4), 1.0)
    for keep in (40, 55, 80):
        nearest = counts[np.abs(counts.mean(axis=1) - keep).argmin()]
        kept = tokens_per_layer(pyramiddrop_schedule(100, 8, keep), 100, 8)[::2]
        assert np.abs(kept - nearest).max() <= 1.0


@pytest.mark.parametrize("budget", ["end", "average"])
@EVERY_SCHEDULE
def test_refuses_budgets_outside_the_image(schedule, stages, budget):
    with pytest.raises(ValueError, match=r"`keep` must be in \[1, 576\], got 700"):
        schedule(576, 32, 700, budget=budget)
    with pytest.raises(ValueError, match=r"`keep` must be in \[1, 576\], got 0"):
        schedule(576, 32, 0, budget=budget)
    with pytest.raises(ValueError, match=r"`keep` must be an integer, got 0\.5"):
        schedule(576, 32, 0.5, budget=budget)


@EVERY_SCHEDULE
def test_refuses_other_budgets(schedule, stages):
    with pytest.raises(ValueError, match=r"`budget` must be one of .*'end', 'average', got 'mean'"):
        schedule(576, 32, 64, budget="mean")


def test_names_the_least_average():
    message = r"`keep` must be at least 144\.8 on average over 32 layers, of which 8 run on all 576 tokens, got 144$"
    with pytest.raises(ValueError, match=message):
        pyramiddrop_schedule(576, 32, 144)
    assert pairs(pyramiddrop_schedule(576, 32, 145))[-1] == (24, 1)


@pytest.mark.parametrize(("layer", "layers"), [(0, 32), (32, 32), (2, 2)])
def test_fastv_refuses_layers_without_one_before_or_after(layer, layers):
    with pytest.raises(ValueError, match=rf"`layer` must be in \[1, {layers - 1}\], got {layer}"):
        fastv_schedule(576, layers, 64, layer=layer)


@pytest.mark.parametrize(
    ("published", "layers", "scaled"),
    [
        ((8, 16, 24), 32, (8, 16, 24)),
        ((8, 16, 24), 28, (7, 14, 21)),
        ((8, 16, 24), 6, (2, 3, 4)),
        ((8, 16, 24), 4, (1, 2, 3)),
        ((3, 7, 16), 6, (1, 2, 3)),
        ((3, 7, 16), 40, (4, 9, 20)),
    ],
)
def test_scaled_layers_are_as_deep_and_all_different(published, layers, scaled):
    assert scaled_layers(published, layers) == scaled


@pytest.mark.parametrize("schedule", [pyramiddrop_schedule, sparsevlm_schedule])
def test_refuses_too_few_layers(schedule):
    with pytest.raises(ValueError, match="`layers` must be at least 4 for 3 stages, got 3"):
        schedule(576, 3, 400)


def test_refuses_an_unknown_version():
    with pytest.raises(ValueError, match=r"`version` must be one of '1\.5', '2\.0', got '1\.0'"):
        sparsevlm_schedule(576, 32, 192, version="1.0")
