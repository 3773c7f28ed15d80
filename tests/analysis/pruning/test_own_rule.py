"""A function as a pruner, without editing the package."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BatchFeature

from analysis.models import Vlm
from analysis.pruning import VisualTokens, encode_images, prune, pruners
from analysis.pruning.pruners import as_pruner, own_rule
from solvers.names import identity


def brightest(features, keep):
    """The tokens of largest norm."""
    return np.sort(np.argsort(-np.linalg.norm(features, axis=1), kind="stable")[:keep])


def test_ten_lines_prune_a_model(any_vlm: Vlm, left_padded: BatchFeature) -> None:
    with prune(any_vlm, brightest, keep=5) as log, torch.no_grad():
        any_vlm.model(**left_padded)
    tokens = encode_images(any_vlm, left_padded["pixel_values"])
    for kept, own in zip(log.kept, tokens, strict=True):
        np.testing.assert_array_equal(kept, brightest(own.features, 5))
    assert (log.visual_tokens == 5).all()


def test_evidence_comes_by_the_names_of_the_parameters(visual_tokens: Callable[..., VisualTokens]) -> None:
    seen: dict[str, Any] = {}

    def rule(cls, text, keep, power=2):
        seen.update(cls=cls, text=text, keep=keep, power=power)
        return range(keep)

    tokens, entry = visual_tokens(), as_pruner(rule)
    assert entry.select(tokens, 4).tolist() == [0, 1, 2, 3]
    assert (entry.name, entry.needs, entry.question_aware) == ("rule", {"cls", "text"}, True)
    assert seen["cls"] is tokens.cls
    assert (seen["keep"], seen["power"]) == (4, 2)
    assert as_pruner(brightest).cite == "The tokens of largest norm."


def versions(offset: int) -> Callable[..., Any]:
    def rule(keep):
        return np.arange(offset, offset + keep)

    return rule


def test_what_results_are_known_by_depends_on_the_code() -> None:
    one, other = (own_rule(versions(offset)) for offset in (0, 20))
    assert identity(one) != identity(other)
    assert identity(one) == identity(own_rule(versions(0)))


@pytest.mark.parametrize(
    ("returned", "text"),
    [
        ([3, 1, 2], "pruner 'rule' must return ascending tokens below 36"),
        ([1, 1, 2], "must return ascending tokens below 36"),
        ([1, 2, 36], "must return ascending tokens below 36"),
        ([-1, 2, 3], "must return ascending tokens below 36"),
        ([0.5, 1.0], r"must return indices \(integers\), got float64"),
        ([], r"must return indices \(integers\)"),
        ([[0, 1]], r"must return indices \(integers\), got int64 \(1, 2\)"),
    ],
)
def test_what_a_rule_must_not_return(tiny_vlm: Vlm, tiny_image: Any, returned: Any, text: str) -> None:
    def rule(keep):
        return returned

    inputs = tiny_vlm.prepare(tiny_image(0), "is there a red square ?")
    with torch.no_grad():
        before = tiny_vlm.model(**inputs).logits
        with pytest.raises(RuntimeError, match=text), prune(tiny_vlm, rule, 3):
            tiny_vlm.model(**inputs)
        assert torch.equal(tiny_vlm.model(**inputs).logits, before)


def test_functions_that_are_no_rules() -> None:
    with pytest.raises(KeyError, match="unknown evidence 'feature'; did you mean 'features'"):
        as_pruner(lambda feature, keep: feature)
    with pytest.raises(TypeError, match="must have a parameter `keep`, got features"):
        as_pruner(lambda features: features)
    with pytest.raises(TypeError, match=r"must be a pruner or its name, got <class .*Random'>: write Random\(\)"):
        as_pruner(pruners.Random)  # type: ignore[arg-type]
