"""Letters found in replies, each published trap by hand."""

from __future__ import annotations

import pytest

from analysis.evaluation.tasks.option_letter import (
    mmbench_heuristic,
    mmbench_static,
    scienceqa_llava,
    scienceqa_lmms,
)

ANIMALS = {"A": "cat", "B": "dog", "C": "cow"}


@pytest.mark.parametrize(
    ("reply", "llava", "lmms"),
    [
        ("B", "B", "B"),
        ("b", "", "B"),
        ("B.", "", "B"),  # LLaVA wants a space behind the full stop
        ("B. Ohio", "B", "B"),
        ("B.Ohio", "", "B"),
        ("The answer is B.", "B", ""),
        ("The answer is B", "", ""),  # a character must follow the letter
        ("The answer is B. The answer is A.", "", ""),
        ("the answer is B.", "", ""),
        ("Ohio", "", ""),
        ("", "", ""),
    ],
)
def test_scienceqa(reply: str, llava: str, lmms: str) -> None:
    assert (scienceqa_llava(reply, 4), scienceqa_lmms(reply)) == (llava, lmms)


def test_scienceqa_letters_end_with_the_options() -> None:
    assert scienceqa_llava("D", 4) == "D"
    assert scienceqa_llava("D", 3) == ""
    assert scienceqa_llava("F. x", 5) == ""


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("B", "B"),
        ("B.", "B"),
        ("(C)", "C"),
        (": A", "A"),
        ("It is B", "B"),
        ("a dog", "B"),
        ("A dog", "A"),  # three words at most: the letter is no article
        ("A small dog runs", "B"),  # more than three: it is
        ("A or B", ""),
        ("A cat and dog", ""),
        ("b", ""),
        ("E", "E"),  # a letter that no option has is still read, and wrong
        ("", ""),
    ],
)
def test_mmbench_heuristic(reply: str, letter: str) -> None:
    assert mmbench_heuristic(reply, ANIMALS) == letter


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("A or B", "A"),  # both at an edge; in front counts more
        ("Take B or maybe C here", "C"),  # of equal signs the last
        ("I choose C because A and B are wrong", "B"),  # and so the last letter behind the phrase
        ("**C**", "C"),
        ("none of these", ""),
        ("", ""),
    ],
)
def test_mmbench_static_reads_what_the_heuristic_does_not(reply: str, letter: str) -> None:
    assert mmbench_heuristic(reply, ANIMALS) == ""
    assert mmbench_static(reply, ANIMALS) == letter
