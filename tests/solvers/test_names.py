"""Names: suggestions and provenance."""

from __future__ import annotations

import platform
from importlib import metadata

import pytest

from solvers import provenance
from solvers.names import nearest, unknown


def test_nearest():
    assert nearest("greedy", ["greedy", "exact"]) == "greedy"
    with pytest.raises(KeyError, match="unknown solver 'greeedy'; did you mean 'greedy'\\? known: exact, greedy"):
        nearest("greeedy", ["greedy", "exact"], "solver")


def test_nothing_near_is_not_suggested():
    assert unknown("zzz", ["greedy"], "solver") == "unknown solver 'zzz'; known: greedy"
    assert unknown("zzz", [], "solver") == "unknown solver 'zzz'; known: none"


def test_provenance_is_text_about_this_environment():
    facts = provenance()
    assert facts["python"] == platform.python_version()
    assert facts["numpy"] == metadata.version("numpy")
    assert {"prunescope", "torch", "ortools", "transformers", "platform", "cpu", "commit"} <= set(facts)
    assert all(isinstance(value, str) and value for value in facts.values())
    facts["python"] = "changed"
    assert provenance()["python"] == platform.python_version()
