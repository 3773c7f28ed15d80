"""The bounds: a good model passes, and each bound is named when it is missed."""

import math

import pandas as pd
import pytest

from analysis.evaluation.gate import FLOORS, Check, Trainings, judge, judge_needed, majority_priors, passed, printed
from data.make.vocabulary import TASKS

PRIORS = dict.fromkeys(TASKS, 0.5) | {"text": 0.01, "tiny": 0.13, "attribute": 0.1, "count": 0.22}


def measured(full=0.95, oracle=0.94, random=0.5, correlation=0.95, images=1080, questions=12721):
    """Everything `judge` reads; single values can be replaced by task."""
    names = [*TASKS, "mean"]
    values = {
        name: entry if isinstance(entry, dict) else dict.fromkeys(names, entry)
        for name, entry in {"none": full, "oracle": oracle, "random": random}.items()
    }
    accuracy = pd.DataFrame(
        [
            {"pruner": pruner, "keep": 576 if pruner == "none" else 64, "task": task, "estimate": by_task[task]}
            for pruner, by_task in values.items()
            for task in names
        ]
    ).assign(images=images, questions=questions)
    needed = pd.DataFrame({"task": TASKS, "prior": 0.2, "all": 0.95, "without_needed": 0.05, "needed_alone": 0.94})
    return {
        "accuracy": accuracy,
        "priors": PRIORS,
        "reliability": pd.DataFrame({"keep": [128, 64], "correlation": [0.4, correlation]}),
        "needed": needed,
        "fastv": pd.DataFrame({"keep": [64], "task": ["mean"], "lost": [0.0]}),
        "compact": pd.DataFrame({"keep": 64, "task": names, "lost": 0.01}),
        "packed": pd.DataFrame({"pruner": ["none", "vispruner"], "keep": [576, 64], "questions": 30, "differ": 0}),
        "megabytes": 5.0,
    }


def failing(**inputs):
    return [check.what for check in judge(**inputs) if check.binding and not check.holds]


def test_a_good_model_passes_and_every_bound_is_printed():
    checks = judge(**measured())
    assert passed(checks)
    page = printed(checks)
    assert page.endswith("gate: passed")
    assert len(page.splitlines()) == len(checks) + 1
    assert page.count("told") == 2  # the other budget and FastV


@pytest.mark.parametrize("task", TASKS)
def test_each_task_has_its_bound(task):
    low = dict.fromkeys([*TASKS, "mean"], 0.95) | {task: 0.79}
    assert f"{task}, all tokens" in failing(**measured(full=low, oracle=low))
    between = low | {task: 0.83}
    expected = [] if task == "spatial" else [f"{task}, all tokens"]
    assert failing(**measured(full=between, oracle=between)) == expected


@pytest.mark.parametrize("task", TASKS)
def test_the_oracle_must_not_lose_any_task(task):
    oracle = dict.fromkeys([*TASKS, "mean"], 0.94) | {task: 0.91}
    assert failing(**measured(oracle=oracle)) == [f"{task}, lost by the oracle at 64"]


@pytest.mark.parametrize("task", TASKS)
def test_consecutive_ids_must_not_lose_any_task(task):
    inputs = measured()
    compact = inputs["compact"]
    beside = pd.DataFrame({"keep": [192], "task": [task], "lost": [0.5]})
    assert failing(**inputs | {"compact": pd.concat([compact, beside])}) == []
    worse = compact.assign(lost=compact["lost"].where(compact["task"] != task, 0.031))
    assert failing(**inputs | {"compact": worse}) == [f"{task}, lost by the oracle at 64, compact ids"]
    missing = compact[compact["task"] != task]
    assert failing(**inputs | {"compact": missing}) == [f"{task}, lost by the oracle at 64, compact ids"]


@pytest.mark.parametrize("task", ["text", "tiny"])
def test_chance_must_lose_what_needs_particular_tokens(task):
    random = dict.fromkeys([*TASKS, "mean"], 0.5) | {task: 0.8}
    assert failing(**measured(random=random)) == [f"{task}, lost by random at 64"]


def test_the_instrument_has_its_bounds():
    assert failing(**measured(correlation=0.89)) == ["split-half correlation of the pruners at 64"]
    assert failing(**measured(images=999)) == ["test images"]
    assert failing(**measured(questions=11999)) == ["test questions"]
    assert failing(**measured() | {"megabytes": 16.5}) == ["model folder, megabytes"]
    assert "gate: failed" in printed(judge(**measured(questions=11999)))


def test_packed_answers_must_be_those_of_generate():
    inputs = measured()
    one = inputs["packed"].assign(differ=[0, 1])
    assert failing(**inputs | {"packed": one}) == ["packed answers unlike those of `generate`, of 60"]
    not_packable = inputs["packed"].iloc[:0]
    assert len(judge(**inputs | {"packed": not_packable})) == len(judge(**inputs)) - 1
    assert failing(**inputs | {"packed": not_packable}) == []


@pytest.mark.parametrize(
    ("changed", "missed"),
    [
        ({}, []),
        ({"minutes": 15.01}, ["minutes for it on 2 cores"]),
        ({"processes": 1}, []),
        ({"processes": 3}, ["minutes for it on 2 cores"]),
        ({"pruners": 19}, ["pruners times budgets in the whole table"]),
        ({"pruners": 25, "budgets": 3}, ["pruners times budgets in the whole table"]),
    ],
)
def test_the_whole_table_takes_minutes(changed, missed):
    time = pd.DataFrame([{"pruners": 20, "budgets": 5, "processes": 2, "minutes": 14.9} | changed])
    assert failing(**measured() | {"time": time}) == missed


def test_the_mean_is_bound():
    low = dict.fromkeys(TASKS, 0.91) | {"mean": 0.91}
    assert failing(**measured(full=low, oracle=low)) == ["mean of all tasks, all tokens"]


def test_required_tokens_fail_where_the_answer_survives_or_is_lost():
    inputs = measured()
    needed = inputs["needed"]
    assert judge_needed(needed) == []
    leaking = needed.assign(without_needed=[0.15] + [0.05] * 7)
    assert judge_needed(leaking) == ["exist_random without its needed tokens must be at most 0.100, got 0.150"]
    at_prior = needed.assign(without_needed=[0.05] * 7 + [0.29])
    assert judge_needed(at_prior) == []
    in_palette = needed.assign(prior=0.1, without_needed=[0.05] * 3 + [0.34] + [0.05] * 4)
    assert judge_needed(in_palette) == []
    lacking = needed.assign(needed_alone=[0.94] * 7 + [0.89])
    assert judge_needed(lacking) == ["tiny with its needed tokens alone must be at least 0.900, got 0.890"]
    assert failing(**inputs | {"needed": lacking}) == ["tasks whose required tokens do not hold"]


def test_every_task_of_the_benchmark_has_a_floor():
    assert tuple(FLOORS) == TASKS


def trainings_with(which=(None, None, None), means=(0.95, 0.96, 0.941)):
    rows = [("a", "b", 64, 0.9), ("a", "c", 64, 0.7), ("a", "b", 32, 0.1)]
    agreement = pd.DataFrame(rows, columns=["model", "other", "keep", "tau"]).assign(which=which, level=0.95)
    corrected = agreement.assign(which=[None, "u > w", None], level=0.999, tau=0.0)
    agreement = pd.concat([agreement, corrected])
    rows = [("none", "count", 0.5), ("s", "mean", 0.5), ("t", "mean", 0.4), ("u", "mean", 0.1)]
    rows = [(model, *row) for model in "abc" for row in rows]
    rows += [(model, "none", "mean", mean) for model, mean in zip("abc", means, strict=True)]
    rows[0], rows[2] = ("a", "none", "count", 0.7), ("a", "t", "mean", 0.43)
    accuracy = pd.DataFrame(rows, columns=["model", "pruner", "task", "estimate"])
    return Trainings(agreement, accuracy.assign(keep=64, position_ids="keep"))


def test_trainings_must_not_contradict_each_other():
    trainings = trainings_with([None, "", "u > v"])  # None as read from a file
    checks = {check.what: check for check in judge(**measured(), trainings=trainings)}
    assert checks["least Kendall tau between 3 trainings at 64"].value == 0.7
    what = "pairs of pruners that 3 trainings rank oppositely at 64"
    assert (checks[what].value, checks[what].verdict) == (0, "passed")
    told = checks[f"{what}, corrected"]
    assert (told.value, told.verdict, told.note) == (1, "told", "u > w")
    limit = checks["difference at 64 below which 3 trainings may disagree"]
    # t is .03 nearer to s, and farther from u, in one of three
    assert (limit.value, limit.verdict) == (pytest.approx(1.96 * 2**0.5 * (2 * 0.0003 / 3) ** 0.5, rel=1e-4), "told")
    assert checks["pairs beyond it that they rank oppositely, of 3"].value == 0
    worse = judge(**measured(), trainings=trainings_with(["s > t", "t > s; s > u", None]))
    assert [(check.what, check.value) for check in worse if check.binding and not check.holds] == [(what, 2)]
    assert "FAILED (t > s; s > u)" in printed(worse)
    assert not any("trainings" in check.what for check in judge(**measured()))


def test_another_training_must_be_as_good():
    checks = {check.what: check for check in judge(**measured(), trainings=trainings_with())}
    what = "mean of all tasks, how far 3 trainings are apart"
    assert (round(checks[what].value, 6), checks[what].verdict) == (0.019, "passed")
    told = checks["count, how far 3 trainings are apart (most of all tasks)"]
    assert (round(told.value, 6), told.verdict) == (0.2, "told")
    assert failing(**measured(), trainings=trainings_with(means=(0.95, 0.955, 0.934))) == [what]


def test_what_was_not_measured_never_passes():
    assert not Check("x", math.nan, least=0.1).holds
    assert not Check("x", math.nan, most=0.1).holds
    inputs = measured()
    asked = inputs["accuracy"][inputs["accuracy"]["task"] != "tiny"]
    expected = ["tiny, all tokens", "tiny, lost by the oracle at 64", "tiny, lost by random at 64"]
    assert failing(**inputs | {"accuracy": asked}) == expected
    shown = inputs["needed"][inputs["needed"]["task"] != "count"]
    assert failing(**inputs | {"needed": shown}) == ["tasks whose required tokens do not hold"]
    assert "(count has no question with evidence)" in printed(judge(**inputs | {"needed": shown}))


def test_a_quick_look_and_an_unranked_table_fail_with_their_reason():
    inputs = measured()
    assert failing(**inputs, left_out=30) == ["images left out by a quick look"]
    unranked = inputs | {"reliability": pd.DataFrame()}
    assert failing(**unranked, unranked="too few") == ["split-half correlation of the pruners at 64"]
    assert "FAILED (too few)" in printed(judge(**unranked, unranked="too few"))


def test_majority_prior_counts_the_stock_rows_only():
    rows = pd.DataFrame(
        {"pruner": ["none"] * 4 + ["random"] * 4, "task": ["count"] * 8, "answer": list("1121") + list("2222")}
    )
    assert majority_priors(rows) == {"count": 0.75}
