"""Choosing straight from the features, without the similarity of all pairs."""

from __future__ import annotations

import numpy as np

from .arrays import Float64Array, FloatArray, unit_rows
from .problem import Problem


def lacks_directions(problem: Problem) -> str | None:
    """Sentence saying why `directions` is not defined on `problem`, or None if it is."""
    if problem.features is None or problem.metric != "cosine":
        return "`from_features` needs features under metric='cosine'"
    return None


def directions(problem: Problem) -> tuple[FloatArray, Float64Array]:
    """Rows [token, dim] with the cosines of the problem, read-only, and the factor [token] that makes each unit length.

    float32 features are taken as they are: half the memory to read, and their squares stay in the range of float64.
    """
    assert problem.features is not None
    features = problem.features
    if features.dtype == np.float32:
        return features, 1.0 / np.sqrt(np.einsum("ij,ij->i", features, features, dtype=np.float64))
    unit = unit_rows("features", features.astype(np.float64, copy=False))
    unit.setflags(write=False)
    return unit, np.ones(problem.tokens)
