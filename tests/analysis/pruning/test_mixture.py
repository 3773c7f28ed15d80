"""VisPruner's split with another second stage, against the rules put together by hand."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

from analysis.pruning import AbstractPruner, VisualTokens, pruner
from analysis.pruning.pruners import (
    CDPruner,
    DivPrune,
    FasterVLM,
    FastV,
    FoPruRank,
    FoPruRows,
    ImportantAndDiverse,
    Oracle,
    Pooling,
    Random,
    SolverPruner,
    ToMe,
    UniformGrid,
    VisionZip,
    VisPruner,
)
from solvers import rules

Make = Callable[..., VisualTokens]


@pytest.mark.parametrize("ratio", [0.0, 0.29, 0.5, 1.0])
@pytest.mark.parametrize("keep", [1, 2, 13, 35, 36])
def test_with_its_own_second_stage_it_is_vispruner(visual_tokens: Make, ratio: float, keep: int) -> None:
    for draw in range(3):
        mixture = ImportantAndDiverse(ratio, VisPruner(important_ratio=0.0))
        expected = rules.vispruner(visual_tokens(draw).features, visual_tokens(draw).evidence("cls"), keep, ratio)
        np.testing.assert_array_equal(mixture.select(visual_tokens(draw), keep), expected)


def test_second_stage_gets_what_is_left(visual_tokens: Make) -> None:
    tokens = visual_tokens()
    taken = np.sort(np.argsort(-tokens.evidence("cls"), kind="stable")[:6])
    left = np.setdiff1d(np.arange(36), taken)
    text = tokens.evidence("text")
    asked = VisualTokens(tokens.features[left], tokens.projected[left], (1, 30), text=text)
    expected: dict[AbstractPruner, np.ndarray] = {
        DivPrune(): rules.divprune(tokens.projected[left], 7),
        FasterVLM(): rules.fastervlm(tokens.evidence("cls")[left], 7),
        FoPruRank(): rules.fopru_rank(tokens.evidence("attention_map")[np.ix_(left, left)], 7),
        CDPruner(): CDPruner().select(asked, 7),
    }
    for diverse, kept in expected.items():
        whole = np.sort(np.concatenate([taken, left[kept]]))
        np.testing.assert_array_equal(ImportantAndDiverse(0.5, diverse).select(tokens, 13), whole, err_msg=diverse.name)


def test_any_solver_and_chance_can_be_the_second_stage(visual_tokens: Make) -> None:
    tokens = visual_tokens()
    taken = set(rules.fastervlm(tokens.evidence("cls"), 6).tolist())
    for diverse in (SolverPruner(), Random()):
        kept = ImportantAndDiverse(0.5, diverse).select(tokens, 12).tolist()
        assert len(set(kept)) == 12
        assert taken < set(kept)
    np.testing.assert_array_equal(ImportantAndDiverse(1.0).select(tokens, 9), FasterVLM().select(tokens, 9))
    np.testing.assert_array_equal(ImportantAndDiverse(0.0).select(tokens, 9), DivPrune().select(tokens, 9))


def test_what_it_is_called_and_reads() -> None:
    assert pruner("important+divprune") == ImportantAndDiverse()
    mixture = ImportantAndDiverse(0.25, CDPruner())
    assert mixture.name == "important[0.25]+cdpruner"
    assert mixture.question_aware
    assert mixture.needs == {"cls", "projected", "text"}
    assert "2412.01818" in mixture.cite
    assert CDPruner().cite in mixture.cite
    assert ImportantAndDiverse(diverse=SolverPruner()).name == "important+Greedy+FacilityLocation"


@pytest.mark.parametrize(
    "diverse", [UniformGrid(), FoPruRows(), Oracle(), Pooling(), VisionZip(), ToMe(), FastV()], ids=lambda one: one.name
)
def test_stages_that_need_a_whole_picture_or_a_model_are_refused(diverse: AbstractPruner) -> None:
    with pytest.raises(TypeError, match=re.escape(f"without their grid or ground truth, got {diverse.name!r}")):
        ImportantAndDiverse(diverse=diverse)


def test_wrong_parameters() -> None:
    with pytest.raises(TypeError, match="`diverse` must be a pruner, got 'divprune'"):
        ImportantAndDiverse(diverse="divprune")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"`important_ratio` must be in \[0, 1\], got 1.5"):
        ImportantAndDiverse(1.5)
