"""OTPrune: tokens whose distribution is close to that of all, by a log-determinant."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..arrays import Float64Array, IntArray, unit_rows
from ..kernels.determinant import greedy_map
from ..objectives.gram_log_det import GramLogDet
from ..problem import Problem
from .checks import budget, choice, token_map, token_vectors
from .ranking import ascending

NORMALISATIONS = ("columns", "rows")


def otprune(
    features: npt.ArrayLike,
    keep: int,
    gamma: float = 0.01,
    normalise: str = "columns",
    *,
    kernel: npt.ArrayLike | None = None,
) -> IntArray:
    """Grow a set S greedily for log det of (I + gamma G G^T) restricted to S, G the Gram matrix of the tokens.

    The authors' relaxation of the 2-Wasserstein distance between all tokens and the kept ones. Monotone and submodular,
    so greedy reaches at least 1 - 1/e of the best value. As an objective for any solver, with G the cosines, it is
    `solvers.GramLogDet`.

    Parameters
    ----------
    features
        Projected visual tokens, as they enter the language model [token, dim].
    keep
        Number of tokens k to keep, in [1, n].
    gamma
        Weight of G G^T, finite and positive.
    normalise
        What is scaled to length one before G: "columns", each dimension over the tokens, as the reference's code does;
        or "rows", each token, which makes G the cosines.
    kernel
        What `otprune_kernel` makes of these features [token, token], for those who have it already because they try
        several budgets; None computes it.

    Returns
    -------
    int64 [keep]
        Kept tokens, ascending. Equal gains go to the lower index.

    Raises
    ------
    ValueError
        For NaN or infinite values, a wrong shape, a zero row under "rows" or nothing but zeros under "columns", a
        budget outside [1, n], a gamma that is not positive or too large for float64, or an unknown normalisation.

    Notes
    -----
    Deviation: each token is taken once. The reference does not exclude the chosen ones and repairs duplicates after the
    selection.

    References
    ----------
    X. Chen et al. (2026), CVPR, arXiv:2602.20205; code xiwenc1/OTPrune@3414730, LLaVA/llava/model/llava_arch.py,
    `OTPrune` and `greedy_select`.
    """
    vectors = token_vectors("features", features)
    tokens = len(vectors)
    count = budget(keep, tokens)
    matrix = otprune_kernel(vectors, gamma, normalise) if kernel is None else token_map("kernel", kernel, tokens)
    return ascending(greedy_map(matrix, np.ones(tokens), count))


def otprune_kernel(features: npt.ArrayLike, gamma: float = 0.01, normalise: str = "columns") -> Float64Array:
    """I + gamma G G^T [token, token], float64, whose determinants `otprune` compares; arguments and errors are its."""
    vectors = token_vectors("features", features)
    objective = GramLogDet(gamma)
    if choice("normalise", normalise, NORMALISATIONS) == "rows":
        problem = Problem.from_features(vectors, 1)
    else:
        problem = Problem.from_features(_unit_columns(vectors), 1, metric="dot")
    reason = objective.supports(problem)
    if reason is not None:
        raise ValueError(f"`gamma` is too large for these features: {reason}")
    return objective.kernel(problem)


def _unit_columns(vectors: Float64Array) -> Float64Array:
    """`vectors` [token, dim] without its zero columns, the others scaled to length one."""
    columns = vectors.T[vectors.any(axis=0)]
    if not columns.size:
        raise ValueError("`features` must not be zero everywhere")
    return np.ascontiguousarray(unit_rows("features", columns).T)
