"""Each pruner inside the language model on given evidence: the rule it calls, its schedule, what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

from analysis.pruning import PRUNERS, VisualTokens
from analysis.pruning.inside import AbstractInnerPruner, Stage, StageEvidence
from analysis.pruning.pruners import (
    Dart,
    FastV,
    Feather,
    GreedyPruneInside,
    PyramidDrop,
    SparseVLM,
    SparseVLMPlus,
)
from solvers import rules
from solvers.arrays import IntArray

INSIDE = [entry for entry in PRUNERS if isinstance(entry, AbstractInnerPruner)]
every_inner_pruner = pytest.mark.parametrize("entry", INSIDE, ids=lambda entry: entry.name)
STAGE = Stage(2, 9)


def arrays(draw: int = 0, tokens: int = 36, words: int = 5) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(draw)
    made = {
        "text_attention": rng.dirichlet(np.ones(tokens), (4, words)),
        "rotary": rng.uniform(0.5, 2.0, (words, tokens)),
    }
    made |= {name: rng.dirichlet(np.ones(tokens)) for name in ("attention", "upcoming", "unrotated")}
    for name in ("hidden", "normed", "keys", "embeddings"):
        made |= {name: rng.normal(size=(tokens, 8)), f"text_{name}": rng.normal(size=(words, 8))}
    return made


def evidence(made: dict[str, np.ndarray], needs: frozenset[str], **more: Any) -> StageEvidence:
    def maker(name: str) -> Callable[[], np.ndarray]:
        return lambda: made[name]

    options = {"grid": (6, 6)} | more
    return StageEvidence(36, 5, {name: maker(name) for name in needs}, **options)


def test_the_registry_holds_each_method_once() -> None:
    names = [entry.name for entry in INSIDE]
    assert names == [
        "fastv",
        "pyramiddrop",
        "sparsevlm",
        "sparsevlm_plus",
        "dart",
        "feather",
        "greedyprune_inside",
    ]
    assert {entry.name for entry in PRUNERS if entry.inside} == set(names)


@every_inner_pruner
def test_kept_tokens_are_as_many_as_asked(entry: AbstractInnerPruner) -> None:
    kept = entry.choose(evidence(arrays(), entry.needs), STAGE)
    assert kept.dtype == np.int64
    assert len(kept) == 9
    assert (np.diff(kept) > 0).all()
    assert entry.question_aware
    assert entry.checked_needs() == entry.needs


@every_inner_pruner
@pytest.mark.parametrize("budget", ["end", "average"])
@pytest.mark.parametrize(("tokens", "layers", "keep"), [(576, 32, 192), (144, 6, 64), (36, 4, 30)])
def test_budgets_are_met(entry: AbstractInnerPruner, budget: str, tokens: int, layers: int, keep: int) -> None:
    stages = type(entry)(budget=budget).stages(tokens, layers, keep)  # type: ignore[call-arg]
    counts = rules.tokens_per_layer(stages, tokens, layers)
    assert counts[0] == tokens
    if budget == "end":
        assert counts[-1] == keep
    else:
        assert abs(counts.mean() - keep) <= 0.5


def test_published_schedules() -> None:
    assert FastV().stages(576, 32, 288) == (Stage(2, 288),)
    assert PyramidDrop().stages(576, 32, 72) == (Stage(8, 288), Stage(16, 144), Stage(24, 72))
    kept = [stage.keep - stage.merged for stage in SparseVLM(budget="published").stages(576, 32, 192)]
    assert kept == [300, 200, 110]
    plus = SparseVLMPlus(budget="published").stages(576, 32, 192)
    assert [(stage.keep, stage.merged) for stage in plus] == [(300, 0), (200, 0), (118, 0)]
    assert [stage.layer for stage in plus] == [3, 7, 16]


def test_rules_get_the_arrays_they_are_specified_on() -> None:
    made = arrays()
    raters = rules.sparsevlm_raters(made["embeddings"], made["text_embeddings"])
    rated = made["text_attention"][:, raters]
    corrected = rules.sparsevlm_corrected(rated, made["rotary"][raters])
    assert 0 < raters.sum() < 5
    states = {"states": made["normed"], "text_states": made["text_normed"]}
    expected = {
        FastV(): rules.fastv(made["attention"], 9),
        PyramidDrop(): rules.fastv(made["upcoming"], 9),
        SparseVLM(): rules.sparsevlm(rated.mean(0), 9),
        SparseVLMPlus(): rules.sparsevlm(corrected, 9),
        SparseVLMPlus(heads=1): rules.sparsevlm(rules.sparsevlm_corrected(rated, made["rotary"][raters], 1), 9),
        Dart(): rules.dart(made["keys"], made["text_keys"], 9, **states),
        Dart(pivots=(1, 0)): rules.dart(made["keys"], made["text_keys"], 9, (1, 0), **states),
        Feather(): rules.feather(made["unrotated"], 9, (6, 6)),
        Feather(stride=2): rules.feather(made["unrotated"], 9, (6, 6), 2),
        GreedyPruneInside(): rules.greedyprune(made["hidden"], made["text_hidden"][-1], 9),
        GreedyPruneInside(text="mean"): rules.greedyprune(made["hidden"], made["text_hidden"].mean(0), 9),
        GreedyPruneInside(representation="key"): rules.greedyprune(made["keys"], made["text_keys"][-1], 9),
        GreedyPruneInside(representation="embedding", threshold=0.1): rules.greedyprune(
            made["embeddings"], made["text_embeddings"][-1], 9, 0.1
        ),
    }
    for entry, kept in expected.items():
        np.testing.assert_array_equal(entry.choose(evidence(made, entry.needs), STAGE), kept, err_msg=repr(entry))
    assert len({tuple(kept) for kept in expected.values()}) == len(expected)


def test_feather_samples_the_row_where_there_is_no_grid_and_only_at_first() -> None:
    made, needs = arrays(), Feather().needs
    row = Feather().choose(evidence(made, needs, grid=None), STAGE)
    np.testing.assert_array_equal(row, rules.feather(made["unrotated"], 9, (1, 36)))
    later = Feather().choose(evidence(made, needs, first=False), STAGE)
    np.testing.assert_array_equal(later, rules.fastv(made["unrotated"], 9))
    assert len(Feather(exact=False).choose(evidence(made, needs), STAGE)) > 9


def test_sparsevlm_merges_the_best_of_what_it_drops() -> None:
    made, entry = arrays(), SparseVLM()
    given, stage = evidence(made, entry.needs), Stage(2, 11, merged=2)
    kept = entry.choose(given, stage)
    labels = entry.clusters(given, stage, kept)
    dropped = np.setdiff1d(np.arange(36), kept)
    raters = rules.sparsevlm_raters(made["embeddings"], made["text_embeddings"])
    scores = made["text_attention"][:, raters].mean((0, 1))
    assert len(kept) == 9
    np.testing.assert_array_equal(labels, rules.sparsevlm_recycle(made["hidden"][dropped], scores[dropped], 2))
    assert set(labels) == {-1, 0, 1}


@every_inner_pruner
def test_missing_evidence_is_named(entry: AbstractInnerPruner) -> None:
    with pytest.raises(ValueError, match=r"this stage has no `.*`: put it into the `needs` of the pruner"):
        entry.choose(evidence(arrays(), frozenset()), STAGE)


@every_inner_pruner
def test_arrays_of_an_image_do_not_suffice(
    visual_tokens: Callable[..., VisualTokens], entry: AbstractInnerPruner
) -> None:
    with pytest.raises(ValueError, match=f"pruner '{entry.name}' works inside the language model.*use `prune`"):
        entry.select(visual_tokens(), 5)


@every_inner_pruner
@pytest.mark.parametrize("keep", [0, 37, 2.0, True])
def test_wrong_budgets(entry: AbstractInnerPruner, keep: Any) -> None:
    with pytest.raises(ValueError, match=r"`keep` must be (an integer )?in \[1, 36\], got"):
        entry.stages(36, 8, keep)


@every_inner_pruner
def test_unknown_kinds_of_budget(entry: AbstractInnerPruner) -> None:
    with pytest.raises(KeyError, match="unknown budget 'averge'; did you mean 'average'"):
        type(entry)(budget="averge")  # type: ignore[call-arg]


def test_other_unknown_options() -> None:
    with pytest.raises(KeyError, match="unknown representation 'keys'; did you mean 'key'"):
        GreedyPruneInside(representation="keys")
    with pytest.raises(KeyError, match="unknown text 'lst'; did you mean 'last'"):
        GreedyPruneInside(text="lst")


def test_averages_that_cannot_be_met_name_the_least() -> None:
    with pytest.raises(ValueError, match=r"`keep` must be at least 12\.67 on average over 6 layers"):
        FastV(budget="average").stages(36, 6, 5)


# defects of a pruner ------------------------------------------------------------


@dataclass(frozen=True)
class Returning(AbstractInnerPruner):
    """What the test says."""

    plan: tuple[Stage, ...] = (STAGE,)
    answer: Any = ()
    labels: Any = ()
    name: ClassVar[str] = "returning"
    needs: ClassVar[frozenset[str]] = frozenset()
    cite: ClassVar[str] = "test"

    def _stages(self, tokens: int, layers: int, keep: int) -> tuple[Stage, ...]:
        return self.plan

    def _choose(self, evidence: StageEvidence, stage: Stage) -> IntArray:
        return np.asarray(self.answer)

    def _clusters(self, evidence: StageEvidence, stage: Stage, kept: IntArray) -> IntArray:
        return np.asarray(self.labels)


@pytest.mark.parametrize(
    ("plan", "match"),
    [
        ((Stage(0, 5),), "must shorten between two layers, got a stage ahead of the first"),
        ((Stage(4, 5),), "gives stages that do not fit: `stages` must have increasing layers below 4, got layer 4"),
        ((Stage(2, 5), Stage(1, 3)), "gives stages that do not fit: `stages` must have increasing layers"),
        ((Stage(1, 37),), "gives stages that do not fit: `stages` must not keep more than the 36 tokens left, got 37"),
    ],
)
def test_stages_that_do_not_fit(plan: tuple[Stage, ...], match: str) -> None:
    with pytest.raises(RuntimeError, match=f"pruner 'returning' {match}"):
        Returning(plan).stages(36, 4, 5)


@pytest.mark.parametrize("answer", [(), (1.0, 2.0), ((1, 2),)])
def test_choices_that_are_no_indices(answer: Any) -> None:
    with pytest.raises(RuntimeError, match="pruner 'returning' must return indices"):
        Returning(answer=answer).choose(evidence({}, frozenset()), STAGE)


@pytest.mark.parametrize("answer", [(1, 1), (2, 1), (0, 36), (-1, 0)])
def test_choices_out_of_order_or_range(answer: Any) -> None:
    with pytest.raises(RuntimeError, match="pruner 'returning' must return ascending tokens below 36"):
        Returning(answer=answer).choose(evidence({}, frozenset()), STAGE)


@pytest.mark.parametrize("labels", [(0,) * 5, (0,) * 26 + (2,), (-1,) * 27])
def test_clusters_that_are_not_as_many(labels: Any) -> None:
    kept = np.arange(9)
    with pytest.raises(RuntimeError, match="pruner 'returning' must give 1 clusters of 27 dropped tokens"):
        Returning(labels=labels).clusters(evidence({}, frozenset()), Stage(2, 10, merged=1), kept)


def test_merged_stages_of_a_pruner_that_does_not_merge() -> None:
    with pytest.raises(RuntimeError, match="pruner 'fastv' gives a stage with merged tokens, but does not merge"):
        FastV().clusters(evidence({}, frozenset()), Stage(2, 10, merged=1), np.arange(9))
