"""Distances between tokens, shared by the objectives that spread the kept tokens."""

from __future__ import annotations

import numpy as np

from ..arrays import Float64Array, frozen
from ..problem import Problem

DISTANCES = ("cosine", "chord")


def distances(problem: Problem, kind: str) -> Float64Array:
    """Distances [token, token], float64, read-only, cached on the problem; symmetric with a diagonal of zeros.

    Parameters
    ----------
    problem
        The instance.
    kind
        "cosine" for (s_ii + s_jj) / 2 - s_ij, which is 1 - cos for cosines; "chord" for the square root of twice that,
        the Euclidean distance of unit features, a metric wherever the similarity is positive semidefinite.
    """
    matrix: Float64Array = problem.cached(f"distances {kind}", lambda: _distances(problem.similarity, kind))
    return matrix


def _distances(similarity: Float64Array, kind: str) -> Float64Array:
    size = np.diag(similarity)
    half = np.maximum((size[:, None] + size) / 2 - similarity, 0.0)
    np.fill_diagonal(half, 0.0)
    return frozen(half if kind == "cosine" else np.sqrt(2.0 * half))
