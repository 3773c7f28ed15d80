"""Builders shared by the tests of more than one folder."""

# ruff: noqa: E402 - the environment has to be set before the imports

from __future__ import annotations

import os
from collections.abc import Callable

# There is a process per core already; numpy and torch read these once, when they are imported.
for _library in ("OMP", "OPENBLAS", "MKL"):
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")

import numpy as np
import pytest
from hypothesis import settings

from solvers import Problem

# The same examples in every run, and no time limit on one: a slow machine or an unlucky draw is not a failure.
settings.register_profile("repository", derandomize=True, deadline=None)
settings.load_profile("repository")

MakeProblem = Callable[..., Problem]


@pytest.fixture(scope="session")
def make_problem() -> MakeProblem:
    """Factory of seeded problems with every kind of evidence: clustered features, signals, map, text, grid."""

    def make(rows: int = 3, columns: int = 4, budget: int = 3, seed: int = 0, dim: int = 8, id: str = "") -> Problem:
        rng = np.random.default_rng(seed)
        n = rows * columns
        centres = rng.normal(size=(4, dim))
        features = centres[rng.integers(0, 4, n)] + 0.7 * rng.normal(size=(n, dim))
        attention_map = rng.dirichlet(np.ones(n), size=n)
        return Problem.from_features(
            features,
            budget,
            signals={
                "cls": rng.dirichlet(np.ones(n)),
                "relevance": rng.random(n) + 0.1,
                "attention_map": attention_map,
                "text": rng.normal(size=(5, dim)),
            },
            grid=(rows, columns),
            id=id,
        )

    return make
