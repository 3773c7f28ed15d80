"""Readings of yes and no, each published trap by hand."""

from __future__ import annotations

import pytest

from analysis.evaluation.tasks.yes_no import mme_lmms, mme_official, pope_llava, pope_lmms, rates


@pytest.mark.parametrize(
    ("reply", "llava", "lmms"),
    [
        ("yes", "yes", "yes"),
        ("Yes.", "yes", "yes."),  # the full stop makes it wrong in lmms-eval
        (" No ", "no", "no"),
        ("No, there is not", "no", "no, there is not"),
        ("There is not a dog", "no", "there is not a dog"),
        ("NO", "yes", "no"),  # only No, no and not deny
        ("There isn't. No", "yes", "there isn't. no"),  # after the first full stop nothing is read
        ("no\ndog", "yes", "no\ndog"),  # words end at spaces alone
        ("qwerty", "yes", "qwerty"),
        ("", "yes", ""),
    ],
)
def test_pope(reply: str, llava: str, lmms: str) -> None:
    assert (pope_llava(reply), pope_lmms(reply)) == (llava, lmms)


@pytest.mark.parametrize(
    ("reply", "official", "lmms"),
    [
        ("Yes", "yes", "yes"),
        ("no.", "no", "no"),
        ("y", "other", "yes"),
        ("N.", "other", "no"),
        ("Not sure", "no", "no"),  # its first two letters
        ("I know it", "other", "other"),  # "no" starts at the fourth letter
        ("Know", "no", "no"),
        ("It is no", "other", "other"),
        ("...yes", "other", "yes"),
        ("", "other", "other"),
    ],
)
def test_mme(reply: str, official: str, lmms: str) -> None:
    assert (mme_official(reply), mme_lmms(reply)) == (official, lmms)


def test_always_yes_has_f1_of_two_thirds() -> None:
    found = rates(["yes"] * 10, ["yes", "no"] * 5)
    assert found == pytest.approx({"precision": 50, "recall": 100, "f1": 200 / 3, "yes_ratio": 100})


def test_what_is_neither_enters_neither_rate() -> None:
    found = rates(["yes", "yes.", "no", "no"], ["yes", "yes", "yes", "no"])
    assert found == pytest.approx({"precision": 100, "recall": 50, "f1": 200 / 3, "yes_ratio": 25})


def test_rates_over_nothing_are_zero() -> None:
    assert rates(["no", "no"], ["no", "no"]) == {"precision": 0, "recall": 0, "f1": 0, "yes_ratio": 0}
    assert rates([], []) == {"precision": 0, "recall": 0, "f1": 0, "yes_ratio": 0}
