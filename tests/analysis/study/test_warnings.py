"""Warnings of a report: there when there is something to be warned of, and only then."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest

from analysis.evaluation.gate import Trainings
from analysis.study.settings import DEFAULT, EXPLORED, PRUNERS, Settings
from analysis.study.warnings import warnings


@dataclass
class Studied:
    """As much of a subject as warnings look at."""

    settings: Settings = DEFAULT
    pruners: tuple = PRUNERS
    explored: tuple = EXPLORED
    keeps: tuple = DEFAULT.keeps
    grid: tuple = (24, 24)


def told(
    subject=None, *, images=64, selection=(("Exact", "optimal", 1.0),), commit="abc", embedded=False, trainings=None
):
    raw = {
        "accuracy": pd.DataFrame({"image_id": range(images)}),
        "selection": pd.DataFrame(selection, columns=["solver", "status", "value"]),
    }
    return warnings(subject or Studied(), raw, {"commit": commit}, embedded=embedded, trainings=trainings)


def two_trainings():
    """s leads t by .1 and by .2: a standard deviation of .0707, and 1.96 times the root of 2 of it is .196."""
    rows = [("m", "s", 0.5), ("m", "t", 0.4), ("n", "s", 0.6), ("n", "t", 0.4)]
    accuracy = pd.DataFrame(rows, columns=["model", "pruner", "estimate"]).assign(position_ids="keep", task="mean")
    return Trainings(pd.DataFrame(), pd.concat([accuracy.assign(keep=keep) for keep in (64, 32)]))


def test_a_good_study_has_the_two_that_always_hold():
    first, second = told()
    assert first.startswith("FastV and PyramidDrop work inside the language model")
    assert "position ids of the whole prompt" in second


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"embedded": True}, "the small one that comes with the toolkit"),
        (
            {"trainings": two_trainings()},
            "by what 2 trainings of this model found, a difference between two pruners of less than 19.6 points at 64 "
            "tokens and 19.6 points at 32 tokens may have the other sign in the next one (data/measured/seeds.csv).",
        ),
        ({"images": 4}, "Accuracy rests on 4 images:"),
        ({"images": 1}, "Accuracy rests on 1 image:"),
        (
            {"selection": [("Exact", "optimal", 1.0), ("Exact", "time limit", 1.0), ("Greedy", "feasible", 1.0)]},
            "time limit on 1 of 2 selection problems",
        ),
        ({"selection": [("fopru_rows", "unsupported", np.nan)]}, "without a value there: FoPru rows."),
        ({"subject": Studied(pruners=PRUNERS[:-1])}, "on another grid: Oracle."),
        (
            {"subject": Studied(keeps=(32,), grid=(8, 8), settings=replace(DEFAULT, keeps=(128, 64, 32)))},
            "has 64 visual tokens only: budgets of 128, 64.",
        ),
        ({"subject": Studied(explored=())}, "are not in the token explorer: this model keeps"),
        ({"commit": "abc-dirty"}, "changes that were not committed"),
    ],
)
def test_each_is_told_when_it_holds(options, words):
    subject = options.pop("subject", None)
    found = told(subject, **options)
    assert sum(words in warning for warning in found) == 1
    assert not any(words in warning for warning in told())
