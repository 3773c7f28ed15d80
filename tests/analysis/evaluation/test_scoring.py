"""When two answers are the same."""

from __future__ import annotations

import pytest

from analysis.evaluation.scoring import exact_match, normalise


@pytest.mark.parametrize(
    ("prediction", "answer"),
    [("yes", "yes"), ("Yes.", "yes"), (" 4  2 ", "4 2"), ("RED .", "red"), ("blue\n", "Blue")],
)
def test_case_space_and_a_final_stop_do_not_matter(prediction: str, answer: str) -> None:
    assert exact_match(prediction, answer)


@pytest.mark.parametrize(
    ("prediction", "answer"),
    [("42", "4 2"), ("yes it is", "yes"), ("", "yes"), ("yess", "yes"), ("3.5", "35"), ("no, yes", "yes")],
)
def test_everything_else_does(prediction: str, answer: str) -> None:
    assert not exact_match(prediction, answer)


def test_normalising_twice_changes_nothing() -> None:
    for text in ("Yes . .", "  A. b.", "...", "4 . 2"):
        assert normalise(normalise(text)) == normalise(text)
