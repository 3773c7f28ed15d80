"""Texts of the command line as pruners, solvers, objectives and numbers."""

from __future__ import annotations

import pytest

from analysis.commands import arguments
from analysis.pruning import PRUNERS
from analysis.pruning.pruners import Random, VisPruner
from solvers import SOLVERS, FacilityLocation, Greedy, LogDet, NonMaximumSuppression, PublishedRule, TopK


def test_every_name_in_the_registries_can_be_typed() -> None:
    assert arguments.pruners([entry.name for entry in PRUNERS]) == list(PRUNERS)
    named = [kind for kind in SOLVERS if kind is not PublishedRule]
    assert arguments.solvers([",".join(kind.__name__ for kind in named)]) == [kind() for kind in named]


def test_parameters_are_those_of_python() -> None:
    assert arguments.pruners(["vispruner(important_ratio=0.7), random"]) == [VisPruner(0.7), Random()]
    typed = arguments.solvers(["TopK(signal=relevance),vispruner(important_ratio=0.7)", 'TopK(signal="a, b")'])
    assert typed == [TopK("relevance"), PublishedRule("vispruner", {"important_ratio": 0.7}), TopK("a, b")]
    assert arguments.objectives(["FacilityLocation, LogDet(ridge=0.5)"]) == [FacilityLocation(), LogDet(ridge=0.5)]


@pytest.mark.parametrize("entry", [TopK("relevance"), Greedy(), NonMaximumSuppression()])
def test_the_names_that_tables_print_can_be_typed(entry) -> None:
    assert arguments.solvers([entry.name]) == [entry]


def test_one_pruner_twice_is_told_apart_by_its_parameters() -> None:
    typed = arguments.pruners(["vispruner", "vispruner(important_ratio=1.0)"])
    assert typed == {"vispruner": VisPruner(), "vispruner(important_ratio=1.0)": VisPruner(1.0)}


@pytest.mark.parametrize(
    ("read", "texts", "error", "message"),
    [
        (arguments.pruners, ["visprunr"], KeyError, "unknown pruner 'visprunr'; did you mean 'vispruner'"),
        (arguments.pruners, ["vispruner(ratio=1)"], KeyError, "unknown parameter of 'vispruner' 'ratio'"),
        (arguments.pruners, ["vispruner(important_ratio=f())"], ValueError, "`--pruners` must be"),
        (arguments.pruners, ["vispruner(0.5)"], ValueError, "with plain values"),
        (arguments.pruners, ["vispruner(**{})"], ValueError, "with plain values"),
        (arguments.pruners, ["vispruner)("], ValueError, r"names such as name or name\(parameter=value\)"),
        (arguments.pruners, [""], ValueError, "`--pruners` must not be empty"),
        (arguments.solvers, ["greedy"], KeyError, "did you mean 'Greedy'"),
        (arguments.solvers, ["PublishedRule"], KeyError, "unknown solver 'PublishedRule'"),
        (arguments.objectives, ["Facility"], KeyError, "did you mean 'FacilityLocation'"),
    ],
)
def test_mistakes_are_named(read, texts, error, message: str) -> None:
    with pytest.raises(error, match=message):
        read(texts)


def test_numbers() -> None:
    assert arguments.numbers(["64,32", " 8 "], "keeps") == (64, 32, 8)
    assert arguments.numbers(["-1"], "keeps") == (-1,)  # whoever takes it says what it must be
    with pytest.raises(ValueError, match="`--keeps` must be integers such as 64,32, got 'a'"):
        arguments.numbers(["64,a"], "keeps")


def test_budgets_are_numbers_or_shares() -> None:
    assert arguments.budgets(["64,32"], "keeps") == (64, 32)
    assert arguments.budgets(["0.25, .5"], "keeps") == (0.25, 0.5)
    assert arguments.budgets(["64,0.5"], "keeps") == (64, 0.5)  # whoever takes them says that they must be of one kind
    for text in ("0.25,half", "half", "0.2.5"):
        with pytest.raises(ValueError, match="`--keeps` must be integers such as 64,32, got"):
            arguments.budgets([text], "keeps")
