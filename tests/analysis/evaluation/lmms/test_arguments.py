"""Model arguments as lmms-eval hands them over."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from analysis.evaluation.lmms.arguments import Arguments, with_parameters
from analysis.models import Vlm
from analysis.pruning import PRUNERS, pruner
from analysis.pruning.pruners import Dart, DivPrune, PruMerge, SolverPruner, VisPruner
from solvers import LazyGreedy, Saliency


def test_a_checkpoint_alone_is_the_stock_model() -> None:
    read = Arguments.read({"pretrained": "somewhere", "max_batch_size": None, "device": None})
    assert read == Arguments("somewhere")
    assert read.pruner is None
    assert read.batch_size == 1


def test_pruner_budget_and_hyper_parameters() -> None:
    read = Arguments.read(
        {
            "pretrained": 1234,
            "pruner": "vispruner",
            "keep": 64,
            "important_ratio": 1,
            "position_ids": "keep",
            "seed": 3,
            "dtype": "bfloat16",
            "batch_size": "8",
            "device": "cpu",
            "revision": 20240101,
        }
    )
    assert read == Arguments(
        pretrained="1234",
        pruner=VisPruner(important_ratio=1.0),
        keep=64,
        position_ids="keep",
        seed=3,
        dtype="bfloat16",
        batch_size=8,
        device="cpu",
        revision="20240101",
    )


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("dart", {"pivots": "[3,5]", "exact": False, "layer": 1}, Dart(layer=1, pivots=(3, 5), exact=False)),
        ("prumerge", {"plus": True, "neighbours": 8}, PruMerge(plus=True, neighbours=8)),
        (
            "Greedy+FacilityLocation",
            {"solver": "LazyGreedy", "objective": "Saliency", "signal": "cls", "time_limit": 2},
            SolverPruner(solver=LazyGreedy(), objective=Saliency(), signal="cls", time_limit=2.0),
        ),
        ("Greedy+FacilityLocation", {"signal": "none", "time_limit": "None"}, SolverPruner()),
    ],
)
def test_hyper_parameters_of_every_kind(name: str, given: dict[str, Any], expected: Any) -> None:
    assert with_parameters(pruner(name), given) == expected


def test_a_pruner_inside_a_pruner_goes_by_its_name() -> None:
    holders = [entry for entry in PRUNERS if any(isinstance(getattr(entry, f.name), DivPrune) for f in fields(entry))]
    for entry in holders:
        name = next(f.name for f in fields(entry) if isinstance(getattr(entry, f.name), DivPrune))
        assert getattr(with_parameters(entry, {name: "random"}), name) == pruner("random")


@pytest.mark.parametrize("entry", PRUNERS, ids=lambda entry: entry.name)
def test_every_pruner_can_be_said(entry: Any) -> None:
    own = {item.name for item in fields(Arguments)}
    assert own.isdisjoint(item.name for item in fields(entry))
    simple = {
        item.name: value
        for item in fields(entry)
        if isinstance(value := getattr(entry, item.name), bool | int | float | str)
    }
    read = Arguments.read({"pretrained": "x", "pruner": entry.name, "keep": 0.5, **simple})
    assert read.pruner == entry
    assert with_parameters(entry, {}) == entry


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({}, ValueError, "`pretrained` must name the checkpoint"),
        ({"pretrained": "x", "keep": 3}, ValueError, "`keep` needs a pruner, which `pruner` names, got 3"),
        ({"pretrained": "x", "pruner": "random"}, ValueError, "pruner 'random' needs `keep`, got None"),
        ({"pretrained": "x", "pruner": "vispruna", "keep": 3}, KeyError, "did you mean 'vispruner'"),
        (
            {"pretrained": "x", "pruner": "vispruner", "keep": 3, "important_rato": 1},
            KeyError,
            "unknown model argument 'important_rato'; did you mean 'important_ratio'",
        ),
        ({"pretrained": "x", "important_ratio": 1}, KeyError, "unknown model argument 'important_ratio'"),
        ({"pretrained": "x", "max_batch_size": 4}, KeyError, "unknown model argument 'max_batch_size'"),
        ({"pretrained": "x", "dtype": "bfloat"}, KeyError, "unknown dtype 'bfloat'; did you mean 'bfloat16'"),
        ({"pretrained": "x", "batch_size": "auto"}, ValueError, "`batch_size` must be int, got 'auto'"),
        ({"pretrained": "x", "batch_size": 0}, ValueError, "`batch_size` must be at least 1, got 0"),
        ({"pretrained": "x", "seed": True}, ValueError, "`seed` must be int, got True"),
        (
            {"pretrained": "x", "pruner": "vispruner", "keep": 3, "important_ratio": "half"},
            ValueError,
            "`important_ratio` must be float, got 'half'",
        ),
        (
            {"pretrained": "x", "pruner": "dart", "keep": 3, "pivots": 4},
            ValueError,
            r"`pivots` must be 2 entries in brackets, such as \[4,4\], got 4",
        ),
        ({"pretrained": "x", "pruner": "dart", "keep": 3, "pivots": "[4,"}, ValueError, "`pivots` must be 2 entries"),
        ({"pretrained": "x", "pruner": "dart", "keep": 3, "pivots": "[4,4.5]"}, ValueError, "`pivots` must be int"),
        (
            {"pretrained": "x", "pruner": "Greedy+FacilityLocation", "keep": 3, "solver": "Greedi"},
            KeyError,
            "unknown solver 'Greedi'; did you mean 'Greedy'",
        ),
    ],
)
def test_refusals(given: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Arguments.read(given)


def test_the_budget_is_checked_against_the_model(tiny_vlm: Vlm) -> None:
    read = Arguments.read({"pretrained": "x", "pruner": "vispruner", "keep": 37})
    with pytest.raises(ValueError, match=r"`keep` must be in \[1, 36\], got 37"), read.pruning(tiny_vlm):
        pass
    oracle = Arguments.read({"pretrained": "x", "pruner": "oracle", "keep": 3})
    with pytest.raises(ValueError, match="pruner 'oracle' needs `needed`"), oracle.pruning(tiny_vlm):
        pass
