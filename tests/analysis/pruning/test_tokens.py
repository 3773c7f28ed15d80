"""What the tokens of an image must be."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from analysis.pruning import VisualTokens

Make = Callable[..., VisualTokens]


def test_arrays_are_read_only_copies(visual_tokens: Make) -> None:
    cls = np.full(36, 1 / 36, dtype=np.float32)
    tokens = visual_tokens(cls=cls)
    cls[0] = 9.0
    assert tokens.cls[0] == np.float32(1 / 36)
    with pytest.raises(ValueError, match="read-only"):
        tokens.features[0, 0] = 1.0
    assert len(tokens) == 36


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"features": np.full((36, 4), np.nan, np.float32)}, "`features` must be finite, got 144 NaN"),
        ({"projected": np.full((36, 4), np.inf, np.float32)}, "`projected` must be finite"),
        ({"features": np.zeros((35, 4), np.float32)}, r"`features` must have shape \[36, 4\] on a grid of \(6, 6\)"),
        ({"cls": np.zeros(37, np.float32)}, r"`cls` must have shape \[36\]"),
        ({"attention_map": np.zeros((37, 37), np.float32)}, r"`attention_map` must have shape \[36, 36\]"),
        ({"text": np.zeros((3, 9), np.float32)}, r"`text` must have shape \[3, 10\]"),
        ({"text": np.zeros((0, 10), np.float32)}, r"`text` must have shape \[0, 10\]"),
        ({"needed": np.array([0, 36])}, r"`needed` must lie in \[0, 35\], got \[0, 36\]"),
        ({"needed": np.array([-1])}, r"`needed` must lie in \[0, 35\], got \[-1, -1\]"),
    ],
)
def test_wrong_arrays(visual_tokens: Make, fields: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        visual_tokens(**fields)


def test_question_ground_truth_and_seed_are_added_to_a_copy(visual_tokens: Make) -> None:
    bare = visual_tokens(text=None, needed=None)
    asked = bare.asked(np.ones((2, 10))).with_needed([5, 1, 5]).seeded(3)
    assert (bare.seed, asked.seed) == (0, 3)
    assert bare.text is None
    assert bare.needed is None
    assert asked.text is not None
    assert asked.text.dtype == np.float32
    np.testing.assert_array_equal(asked.needed, [1, 5])
    assert asked.features is bare.features


def test_similarity_is_computed_once_per_image(visual_tokens: Make) -> None:
    tokens = visual_tokens(text=None, needed=None)
    unit = tokens.projected / np.linalg.norm(tokens.projected.astype(np.float64), axis=1, keepdims=True)
    similarity = tokens.asked(np.ones((2, 10))).similarity
    np.testing.assert_allclose(similarity, unit @ unit.T, rtol=0, atol=1e-12)
    assert tokens.similarity is similarity
    assert tokens.with_needed([3]).similarity is similarity
    with pytest.raises(ValueError, match="read-only"):
        similarity[0, 0] = 2.0


def test_what_is_shared_is_computed_once_per_picture(visual_tokens: Make) -> None:
    tokens, calls = visual_tokens(text=None, needed=None), []
    for copy in (tokens, tokens.asked(np.ones((2, 10))), tokens.with_needed([3]), tokens.seeded(2)):
        assert copy.shared("calls", lambda: calls.append(1) or len(calls)) == 1
    assert tokens.shared("others", lambda: 7) == 7
    assert dataclasses.replace(tokens, features=2 * tokens.features).shared("calls", lambda: 9) == 9
    assert calls == [1]


def test_cosines_are_made_for_those_who_choose_again(visual_tokens: Make) -> None:
    tokens = visual_tokens(text=None, needed=None)
    assert tokens.asked(np.ones((2, 10))).similarity_from_second_use() is None
    again = tokens.asked(np.zeros((1, 10))).similarity_from_second_use()
    assert again is tokens.similarity
    other = visual_tokens(1)
    similarity = other.similarity
    assert other.similarity_from_second_use() is similarity


def test_other_features_have_another_similarity(visual_tokens: Make) -> None:
    tokens, other = visual_tokens(0), visual_tokens(1)
    assert tokens.similarity.shape == (36, 36)
    changed = dataclasses.replace(tokens, projected=other.projected)
    np.testing.assert_array_equal(changed.similarity, other.similarity)


def test_a_zero_vector_is_similar_to_nothing(visual_tokens: Make) -> None:
    projected = visual_tokens().projected.copy()
    projected[4] = 0
    similarity = visual_tokens(projected=projected).similarity
    assert not similarity[4].any()
    assert similarity[5, 5] == pytest.approx(1)
