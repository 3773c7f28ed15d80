"""The registry of published rules, and what holds for every rule in it."""

from __future__ import annotations

import inspect
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from solvers import rules
from solvers.rules import RULES, Rule, rule

EVERY_RULE = pytest.mark.parametrize("entry", RULES, ids=lambda entry: entry.name)
INDEX_RULES = tuple(entry for entry in RULES if entry.gives == "indices")
EVERY_INDEX_RULE = pytest.mark.parametrize("entry", INDEX_RULES, ids=lambda entry: entry.name)
TIED_TO_PLACES = {"holov"}
PER_TOKEN = ("features", "attention", "relevance", "keys", "hidden", "first_attention")
TOKENS = 30


def test_names_are_the_public_functions():
    assert len({entry.name for entry in RULES}) == len(RULES)
    assert {entry.name for entry in RULES} <= set(rules.__all__)
    assert all(getattr(rules, entry.name) is entry.function is rule(entry.name).function for entry in RULES)


@EVERY_RULE
def test_needs_are_the_arguments_without_default(entry):
    parameters = inspect.signature(entry.function).parameters.values()
    assert entry.needs == tuple(p.name for p in parameters if p.default is inspect.Parameter.empty)


@EVERY_RULE
def test_says_where_it_comes_from(entry):
    assert re.fullmatch(r".+ \(20\d\d\), arXiv:\d{4}\.\d{5}(v\d)?", entry.citation)
    assert entry.citation.split("arXiv:")[1] in entry.function.__doc__


@EVERY_RULE
def test_the_question_counts_where_it_can_be_seen(entry):
    """Attention or states of the language model hold the question too; nothing before it does but its words."""
    reads_it = bool({"text", "words", "relevance"} & set(entry.needs))
    assert entry.question_aware == (reads_it or entry.where == "inside LM")


def test_unknown_rule_suggests_the_nearest():
    with pytest.raises(KeyError, match="unknown rule 'visprunner'; did you mean 'vispruner'"):
        rule("visprunner")


def test_needs_are_checked():
    with pytest.raises(ValueError, match=r"`needs` of rule 'mine' must be among features, .*, got 'saliency'"):
        Rule("mine", rules.fastervlm, ("saliency", "keep"), "nobody", "before LM", False)


@pytest.mark.parametrize(
    ("kinds", "message"),
    [
        ({"where": "after LM"}, r"`where` of rule 'mine' must be one of 'in encoder', .*'inside LM', got 'after LM'"),
        ({"gives": "scores"}, r"`gives` of rule 'mine' must be one of 'indices', 'assignment', 'quotas', got 'scores'"),
    ],
)
def test_kinds_are_checked(kinds, message):
    with pytest.raises(ValueError, match=message):
        replace(rule("fastervlm"), name="mine", **kinds)


@EVERY_RULE
def test_select_takes_what_the_rule_needs_and_names_what_is_missing(entry, rule_evidence):
    evidence = {**rule_evidence(), "keep": 12}
    expected = entry.function(**{name: evidence[name] for name in entry.needs})
    np.testing.assert_array_equal(entry.select(evidence), expected)
    lacking = {**evidence, entry.needs[0]: None}
    assert entry.missing(lacking) == (entry.needs[0],)
    with pytest.raises(ValueError, match=f"rule '{entry.name}' needs `{entry.needs[0]}`, got .*keep"):
        entry.select(lacking)


def test_select_passes_options_on(rule_evidence):
    evidence = {**rule_evidence(), "keep": 12}
    kept = rule("vispruner").select(evidence, important_ratio=1.0)
    np.testing.assert_array_equal(kept, rules.fastervlm(evidence["attention"], 12))


@EVERY_INDEX_RULE
def test_keeps_the_budget_ascending_and_unique(entry, rule_evidence):
    evidence = rule_evidence(1)
    for keep in range(1, TOKENS + 1):
        kept = entry.select({**evidence, "keep": keep})
        expected = max(1, round(keep / 6)) * 6 if entry.name == "fopru_rows" else keep
        assert (kept.dtype, kept.shape) == (np.int64, (expected,))
        assert kept[0] >= 0
        assert kept[-1] < TOKENS
        assert np.all(np.diff(kept) > 0)


# The rows of an image and the chunks of a sequence do not move with its tokens.
@pytest.mark.parametrize(
    "entry",
    [entry for entry in INDEX_RULES if "grid" not in entry.needs and entry.name not in TIED_TO_PLACES],
    ids=lambda entry: entry.name,
)
def test_follows_the_tokens_when_they_are_permuted(entry, rule_evidence):
    evidence = rule_evidence(2)
    order = np.random.default_rng(9).permutation(TOKENS)
    shuffled = {name: value[order] if name in PER_TOKEN else value for name, value in evidence.items()}
    shuffled["attention_map"] = evidence["attention_map"][np.ix_(order, order)]
    for keep in (1, 2, 7, 16, 29):
        kept = entry.select({**evidence, "keep": keep})
        np.testing.assert_array_equal(np.sort(order[entry.select({**shuffled, "keep": keep})]), kept)


@EVERY_RULE
def test_accepts_lists_and_torch_tensors_and_leaves_them_alone(entry, rule_evidence):
    evidence = {**rule_evidence(3), "keep": np.int32(12)}
    expected = entry.select(evidence)
    before = {name: np.copy(value) for name, value in evidence.items()}
    tensors = {name: torch.tensor(v) if isinstance(v, np.ndarray) else v for name, v in evidence.items()}
    lists = {name: v.tolist() if isinstance(v, np.ndarray) else v for name, v in evidence.items()}
    np.testing.assert_array_equal(entry.select(tensors), expected)
    np.testing.assert_array_equal(entry.select(lists), expected)
    for name, value in before.items():
        np.testing.assert_array_equal(evidence[name], value)


@EVERY_INDEX_RULE
@pytest.mark.parametrize(
    ("keep", "message"),
    [
        (0, r"`keep` must be in \[1, 30\], got 0"),
        (-3, r"`keep` must be in \[1, 30\], got -3"),
        (31, r"`keep` must be in \[1, 30\], got 31"),
        (0.5, r"`keep` must be an integer, got 0\.5"),
        (12.0, r"`keep` must be an integer, got 12\.0"),
        (True, r"`keep` must be an integer, got True"),
    ],
)
def test_refuses_a_budget_it_cannot_keep(entry, keep, message, rule_evidence):
    with pytest.raises(ValueError, match=message):
        entry.select({**rule_evidence(), "keep": keep})


ARRAYS = [(entry, name) for entry in RULES for name in entry.needs if name not in ("keep", "grid", "tiles")]


@pytest.mark.parametrize(("entry", "name"), ARRAYS, ids=lambda value: getattr(value, "name", value))
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_refuses_values_that_are_not_finite(entry, name, bad, rule_evidence):
    evidence = {**rule_evidence(), "keep": 4}
    evidence[name] = evidence[name].copy()
    evidence[name].flat[3] = bad
    with pytest.raises(ValueError, match=f"`{name}` must be finite, got 1 NaN or infinite"):
        entry.select(evidence)


@pytest.mark.parametrize(("entry", "name"), ARRAYS, ids=lambda value: getattr(value, "name", value))
@pytest.mark.parametrize("wrong", [np.float64(1.0), np.ones((3, 2, 2)), np.ones((0,)), np.ones((0, 0))])
def test_refuses_other_shapes(entry, name, wrong, rule_evidence):
    with pytest.raises(ValueError, match=rf"`{name}` must have shape \[.*got {re.escape(str(wrong.shape))}"):
        entry.select({**rule_evidence(), "keep": 4, name: wrong})


@pytest.mark.parametrize(("entry", "name"), ARRAYS, ids=lambda value: getattr(value, "name", value))
def test_refuses_what_is_not_numeric(entry, name, rule_evidence):
    with pytest.raises(ValueError, match=f"`{name}` must be an array of real numbers, got dtype"):
        entry.select({**rule_evidence(), "keep": 4, name: ["a", "b"]})
