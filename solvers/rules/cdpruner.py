"""CDPruner: diverse tokens weighted by relevance, by greedy MAP of a determinantal point process."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..arrays import Float64Array, IntArray, unit_rows
from .checks import budget, per_token, token_map, token_vectors
from .ranking import ascending, strongest_first

RELEVANCE_FLOOR = 1e-6
"""Added to the shifted relevance, as in the reference: the least relevant token keeps a positive weight."""
DEPENDENT = 1e-10
"""A unit vector at most this far (squared distance) from the span of the chosen counts as lying in it."""
TIE = 1e-12
"""Gains that agree to this relative difference are tied: below it lies only the rounding of the update."""


def cdpruner(
    features: npt.ArrayLike,
    relevance: npt.ArrayLike,
    keep: int,
    *,
    normalise: bool = True,
    similarity: npt.ArrayLike | None = None,
) -> IntArray:
    """Grow a set S greedily for log det(L_S), L = diag(r) C diag(r), C the cosines and r the relevance.

    Each step adds the token of largest r_i^2 d_i, where d_i is the squared distance of the unit vector i to
    the span of the chosen ones, kept up to date by an incremental Cholesky factor.

    Parameters
    ----------
    features
        Projected visual tokens, as they enter the language model [token, dim]; only directions count.
    relevance
        Relevance of each token to the question [token], larger is more relevant. The reference takes CLIP:
        **minus** the cosine of patch and question embeddings, mean over the question's chunks (the sign is on
        purpose).
    keep
        Number of tokens k to keep, in [1, n].
    normalise
        Rescale the relevance to [0, 1] by its minimum and maximum, as the reference does (over a whole batch
        of tiles; here over the tokens given). False takes the relevance as r itself, which must then be
        positive: for a scale shared by several tiles, or for another transform such as exp(alpha * r).
    similarity
        The cosines of `features` [token, token], for those who have them already because they ask several questions
        about one image; None computes the rows of the kept tokens.

    Returns
    -------
    int64 [keep]
        Kept tokens, ascending. Equal gains go to the lower index.

    Raises
    ------
    ValueError
        For NaN or infinite values, wrong shapes, a zero feature row, a budget outside [1, n], or a relevance
        that is not positive where `normalise` is False.

    Notes
    -----
    Two cases the reference divides by zero in: a constant relevance counts as 1 everywhere; and once every
    token left lies in the span of the chosen ones (more tokens asked for than the features have dimensions),
    the most relevant tokens left fill the budget. With r <= 1 no gain of log det is positive, so the objective
    is not monotone and the factor 1 - 1/e does not apply.

    References
    ----------
    Q. Zhang et al. (2025), NeurIPS, arXiv:2506.10967; code Theia-4869/CDPruner@9541616, `encode_images`.
    """
    vectors = token_vectors("features", features)
    relevant = per_token("relevance", relevance, tokens=len(vectors))
    count = budget(keep, len(vectors))
    quality = _rescaled(relevant) if normalise else _positive(relevant)
    # A common factor changes no pick; dividing by the largest keeps the squares in the float range.
    weight = np.square(quality / quality.max())
    unit = unit_rows("features", vectors)
    cosines = None if similarity is None else token_map("similarity", similarity, len(vectors))
    chosen = _greedy_map(unit, weight, count, cosines)
    order = strongest_first(weight)
    left = order[~np.isin(order, chosen)]
    return ascending(chosen + left[: count - len(chosen)].tolist())


def _greedy_map(unit: Float64Array, weight: Float64Array, keep: int, cosines: Float64Array | None) -> list[int]:
    """Greedy picks for unit vectors [token, dim] and weights r^2 [token]; fewer if the rank runs out.

    Without `cosines` [token, token] the rows of the picks are made: for few picks that is less than the whole matrix.
    """
    factor: Float64Array = np.empty((keep, len(unit)))
    residual = np.ones(len(unit))
    chosen: list[int] = []
    for step in range(keep):
        gain = np.where(residual > DEPENDENT, weight * residual, 0.0)
        best = gain.max()
        if best <= 0.0:
            break
        token = int(np.argmax(gain >= best * (1.0 - TIE)))
        own = unit @ unit[token] if cosines is None else cosines[token]
        row = own - factor[:step, token] @ factor[:step]
        factor[step] = row / np.sqrt(residual[token])
        residual -= np.square(factor[step])
        residual[token] = 0.0
        chosen.append(token)
    return chosen


def _rescaled(relevance: Float64Array) -> Float64Array:
    low, high = relevance.min(), relevance.max()
    if low == high:
        return np.ones_like(relevance)
    rescaled: Float64Array = (relevance - low + RELEVANCE_FLOOR) / (high - low)
    return rescaled


def _positive(relevance: Float64Array) -> Float64Array:
    if relevance.min() <= 0.0:
        raise ValueError(f"`relevance` must be positive where `normalise` is False, got {relevance.min():g}")
    return relevance
